//! One HTTP/1.1 connection.

use std::io::{self, IoSlice, Write};
use std::net::TcpStream;

use evenkeel_bench_tools::head;

use crate::{LARGEST, Shared};

/// Largest head of a request, in bytes.
const HEAD: usize = 64 << 10;

/// A chunk with one event of 64 bytes.
pub(crate) const EVENT: &[u8] =
    b"40\r\ndata: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n\n\r\n";

/// Accepts a WebSocket with the key of RFC 6455 §1.3, which is the only one that the load sends.
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Begins an event stream. `X-Accel-Buffering` is how applications tell nginx not to hold events back.
const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: b\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
    X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What follows a request on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another one.
    Request,
    /// A WebSocket whose bytes are returned.
    Echo,
    /// Events, for ever.
    Events,
}

/// The state of a connection.
#[derive(Default)]
pub(crate) struct Http1 {
    /// The beginning of an incomplete head.
    partial: Vec<u8>,
    /// Remaining bytes of the request body.
    body: u64,
    /// Unsent bytes: a head, and how much of the body after it.
    head: Vec<u8>,
    answer: usize,
    sent: usize,
    close: bool,
}

impl Http1 {
    /// Processes received bytes, and responds to every complete request. Balancers send the next request after the last
    /// response, so there is never more than one response in progress.
    pub(crate) fn take(
        &mut self,
        stream: &mut TcpStream,
        bytes: &[u8],
        shared: &mut Shared,
    ) -> io::Result<Next> {
        let mut rest = bytes;
        let joined;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(rest);
            joined = std::mem::take(&mut self.partial);
            rest = &joined;
        }
        loop {
            let part = self.body.min(rest.len() as u64);
            self.body -= part;
            rest = &rest[part as usize..];
            self.send(stream, &shared.body)?;
            let Some(head) = head::read(rest) else {
                break;
            };
            if head.encoded {
                return Err(io::ErrorKind::Unsupported.into());
            }
            shared.requests += 1;
            self.body = head.body;
            self.close = head.close;
            if let Some((next, response)) = long_lived(head.target()) {
                stream.write_all(response)?;
                return Ok(next);
            }
            self.prepare(head.target(), shared);
            rest = &rest[head.length..];
        }
        if rest.len() > HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.partial = rest.to_vec();
        Ok(Next::Request)
    }

    /// Prepares the response for a target; it is sent when the request body has arrived.
    fn prepare(&mut self, target: &[u8], shared: &Shared) {
        self.head.clear();
        self.sent = 0;
        if target == b"/stats" {
            let Shared {
                accepted, requests, ..
            } = shared;
            let text = format!("{{\"connections\":{accepted},\"requests\":{requests}}}");
            self.answer = 0;
            let _ = write!(
                self.head,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            return;
        }
        if let Some(response) = shared.bodies.response(target) {
            self.answer = 0;
            self.head.extend_from_slice(response);
            return;
        }
        let size = target
            .strip_prefix(b"/bytes/")
            .and_then(head::number)
            .unwrap_or(13);
        self.answer = (size as usize).min(LARGEST);
        let _ = write!(
            self.head,
            "HTTP/1.1 200 OK\r\nServer: b\r\nContent-Type: text/plain\r\n{}Content-Length: {}\r\n\r\n",
            if self.close { "Connection: close\r\n" } else { "" },
            self.answer
        );
    }

    /// Sends as much of the response as the socket accepts.
    pub(crate) fn send(&mut self, stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
        while self.body == 0 && self.sent < self.head.len() + self.answer {
            let head = self.head.get(self.sent..).unwrap_or_default();
            let from = self.sent.saturating_sub(self.head.len());
            let parts = [IoSlice::new(head), IoSlice::new(&body[from..self.answer])];
            match stream.write_vectored(&parts) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let whole = self.body == 0 && !self.head.is_empty();
        if self.close && whole {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// What a target begins that outlives its request, and the response to it. The client sends nothing before it has that.
fn long_lived(target: &[u8]) -> Option<(Next, &'static [u8])> {
    match target {
        b"/echo" => Some((Next::Echo, SWITCH)),
        b"/events" => Some((Next::Events, STREAM)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_64_bytes_in_one_chunk() {
        let payload = EVENT
            .strip_prefix(b"40\r\n")
            .and_then(|rest| rest.strip_suffix(b"\r\n"));
        assert_eq!(payload.map(<[u8]>::len), Some(0x40));
    }
}
