//! One connection: sends a request, reads its answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use evenkeel_bench_tools::events::Events;
use evenkeel_bench_tools::head;

/// What became of a connection when something happened to its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing to tell yet.
    Waiting,
    /// An answer ended, with this status.
    Answered { status: u16, closed: bool },
    /// It ended in the middle of a request, or never opened.
    Cut,
    /// It ended when no request was under way.
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
    /// The answer is here, and the end of the connection, which was announced, is not.
    End(u16),
    Ended,
}

/// A connection, which may still be opening.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    state: State,
    /// The beginning of a head that is not whole yet.
    partial: Vec<u8>,
    /// Which of the requests it sends.
    pub(crate) request: usize,
    /// When that request was due.
    pub(crate) due: Instant,
}

impl Connection {
    /// Opens one and waits until it is open.
    pub(crate) fn connect(
        target: &SocketAddr,
        events: &Events,
        key: usize,
        due: Instant,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(target)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Self::new(stream, events, key, due)
    }

    /// Begins to open one.
    pub(crate) fn open(target: &SocketAddr, events: &Events, key: usize, due: Instant) -> io::Result<Self> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, target) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Self::new(socket.into(), events, key, due)
    }

    fn new(stream: TcpStream, events: &Events, key: usize, due: Instant) -> io::Result<Self> {
        events.add(&stream, key)?;
        Ok(Self {
            stream,
            state: State::Idle,
            partial: Vec::new(),
            request: 0,
            due,
        })
    }

    /// Begins to send a request; what the socket does not take now is sent when it can be.
    pub(crate) fn begin(&mut self, bytes: &[u8]) -> Progress {
        self.state = State::Sending(0);
        self.send(bytes)
    }

    /// Goes on after the socket became ready. `bytes` is the request that was begun last, `buffer` is to read into.
    pub(crate) fn advance(&mut self, bytes: &[u8], buffer: &mut [u8]) -> Progress {
        if self.send(bytes) == Progress::Cut {
            return Progress::Cut;
        }
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return self.end(),
                Ok(count) => count,
                Err(error) if not_ready(&error) => return Progress::Waiting,
                Err(_) => return self.end(),
            };
            match self.take(&buffer[..count]) {
                // Less than asked for: more will be another edge. The end that was announced may be here already.
                Progress::Waiting if count < buffer.len() && !matches!(self.state, State::End(_)) => {
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
            match self.stream.write(&bytes[sent..]) {
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
            // An answer before the request is sent whole, or bytes that nobody asked for.
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

    /// What the end of the connection means; it is told once.
    fn end(&mut self) -> Progress {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::End(status) => Progress::Answered { status, closed: true },
            State::Idle => Progress::Closed,
            State::Sending(_) | State::Head | State::Body { .. } => Progress::Cut,
            State::Ended => Progress::Waiting,
        }
    }
}

/// A socket that is still connecting is as good as one that is full.
fn not_ready(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
    )
}
