//! Connections that are used for one request only: WebSockets and event streams.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use evenkeel_bench_tools::events::Events;
use evenkeel_bench_tools::head;

use crate::channel::not_ready;
use crate::options::Options;
use crate::report::Report;

/// Bytes read at a time.
const READ: usize = 16 << 10;

/// Longest silence of a connection; longer counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest wait for an event, so that the end is not missed.
const TICK: Duration = Duration::from_millis(5);

/// Bytes of a message.
const SIZE: usize = 64;

/// A masked binary frame whose key is 0 (RFC 6455 §5.2). The backend returns it as it is: no balancer looks at it.
const MESSAGE: &[u8; SIZE] = b"\x82\xba\0\0\0\0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Which use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    PingPong,
    Events,
}

impl Kind {
    /// The request, with the key that the backend knows, and the status of its response.
    fn request(self, address: impl std::fmt::Display) -> (String, u16) {
        match self {
            Self::PingPong => (
                format!(
                    "GET /echo HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                ),
                101,
            ),
            Self::Events => (
                format!("GET /events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n"),
                200,
            ),
        }
    }
}

/// A connection.
struct Connection {
    stream: TcpStream,
    /// The beginning of the head of the response; `None` behind it.
    partial: Option<Vec<u8>>,
    /// Bytes received of the message that is in transit.
    received: usize,
    /// When it received something last.
    alive: Instant,
    is_cut: bool,
}

/// Opens all connections one by one, so that no listener's backlog overflows, then loads them; prints `begin` when the warm-up is over.
pub(crate) fn run(options: &Options, kind: Kind) -> io::Result<Report> {
    let (request, status) = kind.request(options.target.address);
    let mut events = Events::new()?;
    let mut connections = Vec::with_capacity(options.connections);
    for key in 0..options.connections {
        let mut stream = TcpStream::connect(options.target.address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes())?;
        events.add(&stream, key)?;
        connections.push(Connection {
            stream,
            partial: Some(Vec::new()),
            received: 0,
            alive: Instant::now(),
            is_cut: false,
        });
    }
    let mut report = Report::default();
    let count_from = Instant::now() + options.warm_up;
    let end = count_from + options.measure;
    let (mut ready, mut buffer) = (Vec::new(), vec![0; READ]);
    let mut is_counting = false;
    loop {
        let now = Instant::now();
        if !is_counting && now >= count_from {
            is_counting = true;
            println!("begin");
        }
        if now >= end {
            break;
        }
        events.wait(Some(TICK), &mut ready)?;
        for key in &ready {
            let connection = &mut connections[*key];
            connection.alive = now;
            match connection.advance(kind, status, &mut buffer) {
                Ok(count) => report.answered += if is_counting { count } else { 0 },
                Err(error) if error.kind() == io::ErrorKind::InvalidData => report.faults.status += 1,
                Err(_) => report.faults.cut += u64::from(!std::mem::replace(&mut connection.is_cut, true)),
            }
        }
    }
    report.seconds = (Instant::now() - count_from).as_secs_f64();
    let is_silent =
        |connection: &&Connection| connection.partial.is_some() || connection.alive.elapsed() > PATIENCE;
    report.faults.unanswered += connections.iter().filter(is_silent).count() as u64;
    Ok(report)
}

impl Connection {
    /// Reads what has come, and sends the next message. Returns how many messages or events crossed the balancer.
    fn advance(&mut self, kind: Kind, status: u16, buffer: &mut [u8]) -> io::Result<u64> {
        let mut crossed = 0;
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if not_ready(&error) => return Ok(crossed),
                Err(error) => return Err(error),
            };
            crossed += self.take(kind, status, &buffer[..count])?;
            // Less than requested: new bytes cause another edge.
            if count < buffer.len() {
                return Ok(crossed);
            }
        }
    }

    fn take(&mut self, kind: Kind, status: u16, bytes: &[u8]) -> io::Result<u64> {
        let Some(partial) = &mut self.partial else {
            return self.payload(kind, bytes);
        };
        partial.extend_from_slice(bytes);
        let Some(head) = head::read(partial) else {
            return Ok(0);
        };
        if head.status() != status {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let payload = partial.split_off(head.length);
        self.partial = None;
        match kind {
            Kind::PingPong => self.stream.write_all(MESSAGE).map(|()| 0),
            Kind::Events => self.payload(kind, &payload),
        }
    }

    fn payload(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<u64> {
        match kind {
            Kind::PingPong => {
                self.received += bytes.len();
                if self.received < SIZE {
                    return Ok(0);
                }
                self.received = 0;
                self.stream.write_all(MESSAGE)?;
                // There and back.
                Ok(2)
            }
            Kind::Events => Ok(events_in(bytes)),
        }
    }
}

/// How many events begin in these bytes, whatever the chunks: each has one colon, and framing has none.
fn events_in(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b':', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_however_they_are_framed() {
        let whole = b"40\r\ndata: x\n\n\r\n40\r\ndata: y\n\n\r\n";
        assert_eq!(events_in(whole), 2);
        let (one, other) = whole.split_at(9);
        assert_eq!(events_in(one) + events_in(other), 2);
        assert_eq!(events_in(b"data: x\n\ndata: y\n\n"), 2);
    }

    #[test]
    fn a_message_is_one_frame_of_64_bytes() {
        assert_eq!((MESSAGE[1] & 0x7f) as usize + 6, SIZE);
    }

    #[test]
    fn a_response_may_come_in_pieces() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connection = Connection {
            stream,
            partial: Some(Vec::new()),
            received: 0,
            alive: Instant::now(),
            is_cut: false,
        };
        let mut take = |bytes: &[u8]| connection.take(Kind::PingPong, 101, bytes).unwrap();
        assert_eq!([take(b"HTTP/1.1 101 S\r\nA: b\r"), take(b"\n\r\n")], [0, 0]);
        assert_eq!([take(&[0; 40]), take(&[0; 24]), take(&[0; 64])], [0, 2, 2]);
        let mut other = connection;
        other.partial = Some(Vec::new());
        assert!(other.take(Kind::Events, 200, b"HTTP/1.1 503 No\r\n\r\n").is_err());
    }
}
