//! Finds the end of messages. Reads what well-behaved peers send, for both sides of a test. It does not judge validity,
//! and it shares no code with the balancer, so that it does not repeat its mistakes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Most bytes that a test reads as one message.
const LARGEST: usize = 64 << 20;

/// The bytes of a connection; those read too early are kept for the next message.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads from `stream`, whose read timeout the caller sets.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Bytes read and not yet taken.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads some more bytes; `false` at the end of the stream.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.len() > LARGEST {
            return Err(io::Error::other("more bytes than any test asks for"));
        }
        let mut piece = [0; 16 << 10];
        let count = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    /// Takes a head with its empty line; `None` if the stream ends before its first byte.
    pub(crate) fn head(&mut self) -> io::Result<Option<String>> {
        // Does not search the same bytes twice: heads may be as large as limits allow.
        let mut looked_at: usize = 0;
        loop {
            let from = looked_at.saturating_sub(3);
            if let Some(at) = find(&self.buffer[from..], b"\r\n\r\n") {
                let head = self.take(from + at + 4);
                return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
            }
            looked_at = self.buffer.len();
            if !self.fill()? {
                let is_between = self.buffer.is_empty();
                return if is_between { Ok(None) } else { Err(cut()) };
            }
        }
    }

    /// Takes the body that follows `head`, raw (with its chunk lines) and decoded. `until_end` decides what a missing
    /// length means: the rest of the stream, or no body.
    pub(crate) fn body(&mut self, head: &str, until_end: bool) -> io::Result<Body> {
        if field(head, "transfer-encoding").is_some() {
            return self.chunked();
        }
        let raw = match field(head, "content-length") {
            Some(length) => {
                let length = length.parse().map_err(|_| io::Error::other("odd length"))?;
                self.exactly(length)?
            }
            None if until_end => self.rest()?,
            None => Vec::new(),
        };
        Ok(Body {
            decoded: raw.clone(),
            raw,
        })
    }

    /// Takes all bytes up to the end of the stream.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Takes at most `count` of the bytes already read, as text.
    pub(crate) fn take_text(&mut self, count: usize) -> String {
        let bytes = self.take(count.min(self.buffer.len()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn chunked(&mut self) -> io::Result<Body> {
        let mut body = Body::default();
        loop {
            let line = self.line()?;
            body.raw.extend_from_slice(&line);
            let text = String::from_utf8_lossy(&line);
            let digits = text.trim_end().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).map_err(|_| io::Error::other("odd chunk size"))?;
            if size == 0 {
                break;
            }
            let data = self.exactly(size + 2)?;
            body.decoded.extend_from_slice(&data[..size]);
            body.raw.extend_from_slice(&data);
        }
        loop {
            let line = self.line()?;
            body.raw.extend_from_slice(&line);
            if line == b"\r\n" {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                return Ok(self.take(at + 2));
            }
            if !self.fill()? {
                return Err(cut());
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill()? {
                return Err(cut());
            }
        }
        Ok(self.take(length))
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }
}

/// Writes until no more bytes are accepted for a moment, at most `bound` bytes; returns the number written. The stream
/// is unusable after that.
pub(crate) fn send_until_it_stops(mut stream: &TcpStream, bound: usize) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout can be set");
    let piece = [b'a'; 64 << 10];
    let mut sent = 0;
    while sent < bound {
        match stream.write(&piece[..piece.len().min(bound - sent)]) {
            Ok(count) => sent += count,
            Err(error) => {
                let is_stopped = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(is_stopped, "the connection failed: {error}");
                break;
            }
        }
    }
    sent
}

/// A message's body.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// On the wire, with chunk lines and trailers.
    pub(crate) raw: Vec<u8>,
    /// Decoded.
    pub(crate) decoded: Vec<u8>,
}

/// The value of the first header with this name, whatever its case.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn cut() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the message was cut")
}
