//! One HTTP/2 connection with prior knowledge. Every request gets the response of a gRPC call: a message of 13 bytes
//! and the status 0 as trailers. So no request header has to be decoded.

use std::io::{self, Write};
use std::net::TcpStream;

use evenkeel_bench_tools::frames::{self, END_HEADERS, END_STREAM, Frame, PREFACE, kind};

/// SETTINGS_MAX_CONCURRENT_STREAMS; the same as most backends.
const STREAMS: u32 = 100;

/// The id of that setting (RFC 9113 §6.5.2).
const MAX_CONCURRENT_STREAMS: u8 = 3;

/// Bytes of bodies after which a WINDOW_UPDATE is sent: far below the initial window of 64 KiB.
const TOLD_EVERY: u32 = 16 << 10;

/// `:status: 200` and `content-type: application/grpc`, with names from HPACK's static table (RFC 7541, appendix A).
const FIELDS: &[u8] = b"\x88\x0f\x10\x10application/grpc";

/// A message of 13 bytes after its length, as gRPC frames it.
const MESSAGE: &[u8] = b"\x00\x00\x00\x00\x0dxxxxxxxxxxxxx";

/// `grpc-status: 0`.
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";

/// The state of a connection between frames.
pub(crate) struct Http2 {
    /// Remaining bytes of the preface.
    preface: usize,
    /// The beginning of an incomplete frame.
    partial: Vec<u8>,
    /// Received bytes of bodies without a WINDOW_UPDATE.
    taken: u32,
    out: Vec<u8>,
    sent: usize,
}

impl Http2 {
    /// The state before the first byte.
    pub(crate) fn new() -> Self {
        let [a, b, c, d] = STREAMS.to_be_bytes();
        let mut out = Vec::new();
        frames::write(
            &mut out,
            kind::SETTINGS,
            0,
            0,
            &[0, MAX_CONCURRENT_STREAMS, a, b, c, d],
        );
        Self {
            preface: PREFACE.len(),
            partial: Vec::new(),
            taken: 0,
            out,
            sent: 0,
        }
    }

    /// Processes received bytes, and responds to every complete request.
    pub(crate) fn take(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        let mut rest = &bytes[skipped..];
        let joined;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(rest);
            joined = std::mem::take(&mut self.partial);
            rest = &joined;
        }
        while let Some(frame) = frames::read(rest) {
            self.respond(&frame);
            rest = &rest[frame.length()..];
        }
        self.partial.extend_from_slice(rest);
        self.send(stream)
    }

    fn respond(&mut self, frame: &Frame<'_>) {
        frame.acknowledge(&mut self.out);
        if frame.kind == kind::DATA {
            self.taken += frame.payload.len() as u32;
        }
        if self.taken >= TOLD_EVERY {
            let increment = self.taken.to_be_bytes();
            frames::write(&mut self.out, kind::WINDOW_UPDATE, 0, 0, &increment);
            self.taken = 0;
        }
        if frame.ends_message() {
            let out = &mut self.out;
            frames::write(out, kind::HEADERS, END_HEADERS, frame.stream, FIELDS);
            frames::write(out, kind::DATA, 0, frame.stream, MESSAGE);
            let last = END_HEADERS | END_STREAM;
            frames::write(out, kind::HEADERS, last, frame.stream, TRAILERS);
        }
    }

    /// Sends as much as the socket accepts.
    pub(crate) fn send(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.sent < self.out.len() {
            match stream.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_sent_when_the_body_has_arrived() {
        let mut connection = Http2::new();
        connection.out.clear();
        let frame = |kind, flags| Frame {
            kind,
            flags,
            stream: 5,
            payload: b"",
        };
        connection.respond(&frame(kind::HEADERS, END_HEADERS));
        assert!(connection.out.is_empty());
        connection.respond(&frame(kind::DATA, END_STREAM));
        let first = frames::read(&connection.out).unwrap();
        assert_eq!((first.kind, first.stream), (kind::HEADERS, 5));
        assert_eq!(connection.out.iter().filter(|byte| **byte == 0x88).count(), 1);
    }

    #[test]
    fn received_bytes_are_returned_to_the_window() {
        let mut connection = Http2::new();
        connection.out.clear();
        let payload = vec![0; TOLD_EVERY as usize];
        connection.respond(&Frame {
            kind: kind::DATA,
            flags: 0,
            stream: 1,
            payload: &payload,
        });
        let told = frames::read(&connection.out).unwrap();
        assert_eq!(
            (told.kind, told.stream, told.payload),
            (kind::WINDOW_UPDATE, 0, &TOLD_EVERY.to_be_bytes()[..])
        );
    }
}
