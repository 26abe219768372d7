//! One request over HTTP/2, with no more of the protocol than that takes.

use std::io::{self, Error};

use evenkeel_bench_tools::frames::{self, END_HEADERS, END_STREAM, Frame, PREFACE, kind};

use crate::channel::Channel;

/// The stream of the request.
const STREAM: u32 = 1;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A GET of `/`.
    Get,
    /// A gRPC call, of which the answer has to end with trailers.
    Grpc,
}

/// Asks and reads the answer to its end; fails when it is no 200, or not what has to come to such a call.
pub(crate) fn ask(channel: &mut Channel, authority: &str, call: Call) -> io::Result<()> {
    send(channel, &request(authority, call))?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let mut answered = false;
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
            ended |= take(&frame, call, &mut answered)?;
            from += frame.length();
        }
        bytes.drain(..from);
        send(channel, &said)?;
        if ended {
            return Ok(());
        }
    }
}

/// Whether the answer ends with this frame. `answered` is whether its head has come.
fn take(frame: &Frame<'_>, call: Call, answered: &mut bool) -> io::Result<bool> {
    match frame.kind {
        kind::GOAWAY | kind::RST_STREAM => Err(Error::other(format!("refused: {:?}", frame.payload))),
        kind::HEADERS if !*answered => {
            if !is_ok(frame.payload) {
                return Err(Error::other("not status 200"));
            }
            *answered = true;
            match (frame.ends_message(), call) {
                (true, Call::Grpc) => Err(Error::other("no trailers")),
                (ended, _) => Ok(ended),
            }
        }
        kind::DATA if frame.ends_message() && call == Call::Grpc => Err(Error::other("no trailers")),
        _ => Ok(frame.ends_message()),
    }
}

/// Whether a block of fields begins with `:status: 200`, as HPACK's static table has it (RFC 7541, appendix A), behind
/// changes of the table's size.
fn is_ok(block: &[u8]) -> bool {
    block.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&0x88)
}

/// The bytes of preface, settings and request.
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
    fn a_call_has_to_end_with_trailers() {
        let mut answered = false;
        let head = frame(kind::HEADERS, END_HEADERS, b"\x88");
        assert!(!take(&head, Call::Grpc, &mut answered).unwrap());
        assert!(take(&frame(kind::DATA, END_STREAM, b""), Call::Grpc, &mut answered).is_err());
        assert!(
            take(
                &frame(kind::HEADERS, END_STREAM, b"\x40"),
                Call::Grpc,
                &mut answered
            )
            .unwrap()
        );
    }
}
