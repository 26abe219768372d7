//! The bytes of a response, and where each of its parts begins, so that it can be cut at a chosen place.

use std::ops::Range;

use super::behaviour::{Behaviour, Cut, CutPlace};
use crate::nonce;

/// Bytes of a chunk.
const CHUNK: usize = 300;

/// A response as it is sent.
#[derive(Debug)]
pub(super) struct Response {
    bytes: Vec<u8>,
    head: Range<usize>,
    size_lines: Vec<Range<usize>>,
    last: Range<usize>,
}

/// What a response tells about its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) nonce: u64,
    pub(super) backend: usize,
    pub(super) body_hash: u64,
    pub(super) closes: bool,
}

impl Response {
    /// The response to a request that asked for `behaviour`.
    pub(super) fn new(behaviour: &Behaviour, facts: &Facts) -> Self {
        let body = nonce::body(facts.nonce, behaviour.size);
        let framing = if behaviour.is_chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", body.len())
        };
        let connection = if facts.closes { "Connection: close\r\n" } else { "" };
        let mut bytes = format!(
            "HTTP/1.1 {} Status\r\n{}: {}\r\n{}: {}\r\n{}: {}\r\n{connection}{framing}\r\n\r\n",
            behaviour.status,
            nonce::NONCE,
            nonce::hex(facts.nonce),
            nonce::BACKEND,
            facts.backend,
            nonce::BODY_HASH,
            nonce::hex(facts.body_hash),
        )
        .into_bytes();
        let head = 0..bytes.len();
        let mut size_lines = Vec::new();
        if !behaviour.is_chunked {
            bytes.extend_from_slice(&body);
            let last = bytes.len().saturating_sub(1)..bytes.len();
            return Self {
                bytes,
                head,
                size_lines,
                last,
            };
        }
        for chunk in body.chunks(CHUNK) {
            let start = bytes.len();
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            size_lines.push(start..bytes.len());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        let start = bytes.len();
        bytes.extend_from_slice(b"0\r\n\r\n");
        let last = start..bytes.len();
        Self {
            bytes,
            head,
            size_lines,
            last,
        }
    }

    /// All of it.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes
    }

    /// What is sent of it before a cut: always less than all.
    pub(super) fn until(&self, cut: Cut) -> &[u8] {
        let body = self.head.end..self.last.start;
        let part = match cut.place {
            CutPlace::Head => self.head.clone(),
            CutPlace::SizeLine => {
                let count = u64::try_from(self.size_lines.len()).unwrap_or_default();
                let which = cut.permille.checked_rem(count);
                let which = which.and_then(|which| usize::try_from(which).ok());
                let line = which.and_then(|which| self.size_lines.get(which));
                line.cloned().unwrap_or(body)
            }
            CutPlace::Body
            | CutPlace::FrameHead
            | CutPlace::Continuation
            | CutPlace::Stream
            | CutPlace::Goaway => body,
            CutPlace::LastChunk => self.last.clone(),
        };
        let permille = usize::try_from(cut.permille.min(999)).unwrap_or_default();
        let end = part.start + part.len() * permille / 1_000;
        // Without a body, a part may begin at the end.
        let end = end.min(self.bytes.len().saturating_sub(1));
        self.bytes.get(..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::behaviour::CutEnd;
    use super::*;

    #[test]
    fn a_cut_response_is_never_whole() {
        let facts = Facts {
            nonce: 1,
            backend: 0,
            body_hash: 0,
            closes: false,
        };
        for is_chunked in [false, true] {
            for size in [0, 1, 1_000] {
                let behaviour = Behaviour {
                    is_chunked,
                    size,
                    ..Behaviour::default()
                };
                let response = Response::new(&behaviour, &facts);
                for place in [
                    CutPlace::Head,
                    CutPlace::SizeLine,
                    CutPlace::Body,
                    CutPlace::LastChunk,
                ] {
                    for permille in [0, 500, 999] {
                        let end = CutEnd::Fin;
                        let sent = response.until(Cut { place, permille, end });
                        assert!(
                            sent.len() < response.whole().len(),
                            "{place:?} {permille} {behaviour:?}"
                        );
                    }
                }
            }
        }
    }
}
