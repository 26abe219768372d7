//! HTTP/2 frames (RFC 9113 §4), as far as both ends of a measurement need them. This code trusts its peer: it decodes
//! no header, and bodies are too small for flow control to matter.

/// The client's preface (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame header.
const HEAD: usize = 9;

/// Frame types (RFC 9113 §6).
pub mod kind {
    #![allow(missing_docs, reason = "the RFC's names")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}

/// END_STREAM; on SETTINGS and PING the same bit is ACK.
pub const END_STREAM: u8 = 1;

/// ACK of SETTINGS and PING.
pub const ACK: u8 = 1;

/// END_HEADERS.
pub const END_HEADERS: u8 = 4;

/// A received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// One of [`kind`], or an unknown type.
    pub kind: u8,
    /// Their meaning depends on the kind.
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
    /// The payload.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the whole frame.
    pub fn length(&self) -> usize {
        HEAD + self.payload.len()
    }

    /// Whether it ends its message.
    pub fn ends_message(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }

    /// Writes the required acknowledgement of SETTINGS and PING.
    pub fn acknowledge(&self, into: &mut Vec<u8>) {
        match self.kind {
            kind::SETTINGS if self.flags & ACK == 0 => write(into, kind::SETTINGS, ACK, 0, &[]),
            kind::PING if self.flags & ACK == 0 => write(into, kind::PING, ACK, 0, self.payload),
            _ => {}
        }
    }
}

/// Reads the frame at the front of `bytes`; `None` if it is incomplete.
pub fn read(bytes: &[u8]) -> Option<Frame<'_>> {
    let head: &[u8; HEAD] = bytes.first_chunk()?;
    let [a, b, c, kind, flags, stream @ ..] = *head;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    Some(Frame {
        kind,
        flags,
        stream: u32::from_be_bytes(stream) & !(1 << 31),
        payload: bytes.get(HEAD..HEAD + length)?,
    })
}

/// Appends a frame.
pub fn write(into: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    into.extend_from_slice(&[a, b, c, kind, flags]);
    into.extend_from_slice(&stream.to_be_bytes());
    into.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let mut bytes = Vec::new();
        write(&mut bytes, kind::DATA, END_STREAM, 7, b"hello");
        assert_eq!(read(&bytes[..13]), None);
        bytes.extend_from_slice(b"rest");
        let frame = read(&bytes).unwrap();
        assert_eq!(
            (frame.stream, frame.payload, frame.length()),
            (7, &b"hello"[..], 14)
        );
        assert!(frame.ends_message());
    }

    #[test]
    fn an_acknowledgement_is_not_acknowledged() {
        let mut said = Vec::new();
        let ping = |flags| Frame {
            kind: kind::PING,
            flags,
            stream: 0,
            payload: b"12345678",
        };
        ping(ACK).acknowledge(&mut said);
        assert!(said.is_empty());
        ping(0).acknowledge(&mut said);
        assert_eq!(read(&said), Some(ping(ACK)));
    }
}
