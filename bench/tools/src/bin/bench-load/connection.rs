//! One connection: sends a request and reads its response.

use std::io;
use std::net::TcpStream;
use std::time::Instant;

use evenkeel_bench_tools::events::Events;
use evenkeel_bench_tools::head;

use crate::channel::{Channel, not_ready};
use crate::target::Target;

/// The result of an event on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No result yet.
    Waiting,
    /// A response ended, with this status.
    Answered { status: u16, closed: bool },
    /// The connection ended in the middle of a request, or was never established.
    Cut,
    /// The connection ended without a request in progress.
    Closed,
}

#[derive(Debug)]
enum State {
    Idle,
    /// Bytes sent so far.
    Sending(usize),
    Head,
    Body {
        status: u16,
        left: u64,
        close: bool,
    },
    /// The response is complete, and the announced end of the connection is pending.
    End(u16),
    Ended,
}

/// A connection, which may still be opening.
#[derive(Debug)]
pub(crate) struct Connection {
    channel: Channel,
    state: State,
    /// The beginning of an incomplete head.
    partial: Vec<u8>,
    /// The index of the request it sends.
    pub(crate) request: usize,
    /// When that request was due.
    pub(crate) due: Instant,
}

impl Connection {
    /// Opens a connection and waits until it is established; a TLS handshake takes place with the first request.
    pub(crate) fn connect(target: &Target, events: &Events, key: usize, due: Instant) -> io::Result<Self> {
        let stream = TcpStream::connect(target.address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        events.add(&stream, key)?;
        Ok(Self::new(Channel::new(stream, target.session()?), due))
    }

    /// Starts to open a connection.
    pub(crate) fn open(target: &Target, events: &Events, key: usize, due: Instant) -> io::Result<Self> {
        let stream = target.open()?;
        events.add(&stream, key)?;
        Ok(Self::new(Channel::new(stream, target.session()?), due))
    }

    fn new(channel: Channel, due: Instant) -> Self {
        Self {
            channel,
            state: State::Idle,
            partial: Vec::new(),
            request: 0,
            due,
        }
    }

    /// Starts to send a request; bytes that the socket does not accept now are sent later.
    pub(crate) fn begin(&mut self, bytes: &[u8]) -> Progress {
        self.state = State::Sending(0);
        self.send(bytes)
    }

    /// Continues after an event on the socket. `bytes` is the request last begun, `buffer` is for reading.
    pub(crate) fn advance(&mut self, bytes: &[u8], buffer: &mut [u8]) -> Progress {
        // A write error appears again when reading, where its meaning is known.
        let _ = self.channel.flush();
        if self.send(bytes) == Progress::Cut {
            return Progress::Cut;
        }
        loop {
            let count = match self.channel.read(buffer) {
                Ok(0) => return self.end(),
                Ok(count) => count,
                Err(error) if not_ready(&error) => return Progress::Waiting,
                Err(_) => return self.end(),
            };
            match self.take(&buffer[..count]) {
                // The announced end may have arrived already.
                Progress::Waiting if self.channel.is_drained() && !matches!(self.state, State::End(_)) => {
                    return Progress::Waiting;
                }
                Progress::Waiting => {}
                progress => return progress,
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Progress {
        let State::Sending(mut sent) = self.state else {
            return Progress::Waiting;
        };
        while sent < bytes.len() {
            match self.channel.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if not_ready(&error) => {
                    self.state = State::Sending(sent);
                    return Progress::Waiting;
                }
                Err(_) => return Progress::Cut,
            }
        }
        self.state = State::Head;
        Progress::Waiting
    }

    fn take(&mut self, bytes: &[u8]) -> Progress {
        let count = bytes.len() as u64;
        match &mut self.state {
            State::Body { left, status, close } => {
                *left = left.saturating_sub(count);
                let (left, status, close) = (*left, *status, *close);
                self.read_so_far(status, left, close)
            }
            State::Head if self.partial.is_empty() => self.read_head(bytes),
            State::Head => {
                let mut joined = std::mem::take(&mut self.partial);
                joined.extend_from_slice(bytes);
                self.read_head(&joined)
            }
            // A response before the request was sent completely, or unsolicited bytes.
            State::Idle | State::Sending(_) | State::End(_) | State::Ended => Progress::Cut,
        }
    }

    fn read_head(&mut self, bytes: &[u8]) -> Progress {
        let Some(head) = head::read(bytes) else {
            self.partial = bytes.to_vec();
            return Progress::Waiting;
        };
        if head.encoded {
            return Progress::Cut;
        }
        let left = head.body.saturating_sub((bytes.len() - head.length) as u64);
        self.read_so_far(head.status(), left, head.close)
    }

    fn read_so_far(&mut self, status: u16, left: u64, close: bool) -> Progress {
        if left > 0 {
            self.state = State::Body { status, left, close };
            return Progress::Waiting;
        }
        if close {
            self.state = State::End(status);
            return Progress::Waiting;
        }
        self.state = State::Idle;
        Progress::Answered {
            status,
            closed: false,
        }
    }

    /// The meaning of the connection's end; returned once.
    fn end(&mut self) -> Progress {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::End(status) => Progress::Answered { status, closed: true },
            State::Idle => Progress::Closed,
            State::Sending(_) | State::Head | State::Body { .. } => Progress::Cut,
            State::Ended => Progress::Waiting,
        }
    }
}
