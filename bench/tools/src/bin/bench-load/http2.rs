//! One request over HTTP/2, with the minimum of the protocol.

use std::io::{self, Error};

use evenkeel_bench_tools::frames::{self, END_HEADERS, END_STREAM, Frame, PREFACE, kind};

use crate::channel::Channel;

/// The stream of the request.
const STREAM: u32 = 1;

/// The kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A GET of `/`.
    Get,
    /// A gRPC call, whose response must end with trailers.
    Grpc,
}

/// Sends the request and reads the whole response; fails if it is not a 200, or not valid for a call.
pub(crate) fn request_and_read(channel: &mut Channel, authority: &str, call: Call) -> io::Result<()> {
    send(channel, &request(authority, call))?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let mut has_headers = false;
    loop {
        let count = channel.read(&mut part)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&part[..count]);
        let mut from = 0;
        let mut said = Vec::new();
        let mut ended = false;
        while let Some(frame) = frames::read(&bytes[from..]) {
            frame.acknowledge(&mut said);
            ended |= take(&frame, call, &mut has_headers)?;
            from += frame.length();
        }
        bytes.drain(..from);
        send(channel, &said)?;
        if ended {
            return Ok(());
        }
    }
}

/// Whether the response ends with this frame. `has_headers` is whether its headers have arrived.
fn take(frame: &Frame<'_>, call: Call, has_headers: &mut bool) -> io::Result<bool> {
    match frame.kind {
        kind::GOAWAY | kind::RST_STREAM => Err(Error::other(format!("refused: {:?}", frame.payload))),
        kind::HEADERS if !*has_headers => {
            if !is_ok(frame.payload) {
                return Err(Error::other("not status 200"));
            }
            *has_headers = true;
            match (frame.ends_message(), call) {
                (true, Call::Grpc) => Err(Error::other("no trailers")),
                (ended, _) => Ok(ended),
            }
        }
        kind::DATA if frame.ends_message() && call == Call::Grpc => Err(Error::other("no trailers")),
        _ => Ok(frame.ends_message()),
    }
}

/// Whether a field block begins with `:status: 200`, as in HPACK's static table (RFC 7541, appendix A), after table
/// size updates.
fn is_ok(block: &[u8]) -> bool {
    block.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&0x88)
}

/// Preface, settings and request.
fn request(authority: &str, call: Call) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    frames::write(&mut bytes, kind::SETTINGS, 0, 0, &[]);
    // `:scheme: http`, `:path: /`, `:authority: …`
    let mut fields = b"\x86\x84\x01".to_vec();
    fields.push(authority.len() as u8);
    fields.extend_from_slice(authority.as_bytes());
    match call {
        Call::Get => {
            fields.insert(0, 0x82);
            let flags = END_HEADERS | END_STREAM;
            frames::write(&mut bytes, kind::HEADERS, flags, STREAM, &fields);
        }
        Call::Grpc => {
            fields.insert(0, 0x83);
            fields.extend_from_slice(b"\x0f\x10\x10application/grpc\x00\x02te\x08trailers");
            frames::write(&mut bytes, kind::HEADERS, END_HEADERS, STREAM, &fields);
            frames::write(&mut bytes, kind::DATA, END_STREAM, STREAM, &[0; 5]);
        }
    }
    bytes
}

fn send(channel: &mut Channel, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = channel.write(bytes)?;
        bytes = &bytes[count..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Frame<'_> {
        Frame {
            kind,
            flags,
            stream: STREAM,
            payload,
        }
    }

    #[test]
    fn a_status_other_than_200_fails() {
        let answer = |block| take(&frame(kind::HEADERS, END_STREAM, block), Call::Get, &mut false).ok();
        assert_eq!(answer(b"\x20\x88"), Some(true));
        assert_eq!(answer(b"\x8d"), None);
        assert_eq!(answer(b""), None);
    }

    #[test]
    fn a_call_must_end_with_trailers() {
        let mut has_headers = false;
        let head = frame(kind::HEADERS, END_HEADERS, b"\x88");
        assert!(!take(&head, Call::Grpc, &mut has_headers).unwrap());
        assert!(take(&frame(kind::DATA, END_STREAM, b""), Call::Grpc, &mut has_headers).is_err());
        assert!(
            take(
                &frame(kind::HEADERS, END_STREAM, b"\x40"),
                Call::Grpc,
                &mut has_headers
            )
            .unwrap()
        );
    }
}
