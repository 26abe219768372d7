//! A connection of which the frames that come in are looked at: the `h2` crate does not tell how often a GOAWAY has come.

use std::cell::RefCell;
use std::io::Result;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of the head of a frame (RFC 9113 §4.1).
const HEAD: usize = 9;
/// The type of a GOAWAY (RFC 9113 §6.8).
const GOAWAY: u8 = 7;
/// Bytes at its beginning that name the last stream.
const LAST_STREAM: usize = 4;

/// The last streams that GOAWAY frames have named so far.
pub(super) type Goaways = Rc<RefCell<Vec<u32>>>;

/// The connection.
#[derive(Debug)]
pub(super) struct Tap {
    stream: TcpStream,
    frames: Frames,
}

/// Where in a frame the next byte is.
#[derive(Debug, Default)]
struct Frames {
    head: Vec<u8>,
    payload: Vec<u8>,
    /// Bytes of the payload that are still to come.
    left: usize,
    goaways: Goaways,
}

impl Tap {
    pub(super) fn new(stream: TcpStream) -> (Self, Goaways) {
        let frames = Frames::default();
        let goaways = Rc::clone(&frames.goaways);
        (Self { stream, frames }, goaways)
    }
}

impl Frames {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.read_one(*byte);
        }
    }

    fn read_one(&mut self, byte: u8) {
        if self.head.len() < HEAD {
            self.head.push(byte);
            if let [a, b, c, ..] = self.head[..]
                && self.head.len() == HEAD
            {
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            }
        } else {
            self.left = self.left.saturating_sub(1);
            if self.payload.len() < LAST_STREAM {
                self.payload.push(byte);
            }
        }
        if self.head.len() == HEAD && self.left == 0 {
            if let (Some(&GOAWAY), Ok(last)) = (self.head.get(3), self.payload[..].try_into()) {
                // The first bit is reserved.
                let last = u32::from_be_bytes(last) & 0x7fff_ffff;
                self.goaways.borrow_mut().push(last);
            }
            self.head.clear();
            self.payload.clear();
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.frames.read(read);
        result
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_goaways_among_other_frames_however_they_are_split() {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let data = [0, 0, 5, 0, 1, 0, 0, 0, 1, 7, 7, 7, 7, 7];
        let goaway = |last: [u8; 4]| [&[0, 0, 8, GOAWAY, 0, 0, 0, 0, 0], &last[..], &[0; 4]].concat();
        let bytes = [
            &settings[..],
            &goaway([0xff; 4]),
            &data,
            &goaway([0, 0, 0, 9]),
            &settings,
        ]
        .concat();
        for size in [1, 2, 7, bytes.len()] {
            let mut frames = Frames::default();
            for part in bytes.chunks(size) {
                frames.read(part);
            }
            assert_eq!(*frames.goaways.borrow(), [0x7fff_ffff, 9], "parts of {size}");
        }
    }
}
