//! The paths that every backend of these tests serves, in whatever language it is written, so that one client can test
//! them all:
//!
//! - `/bytes/N`: N bytes with a length; `/chunked/N`: in chunks; `/close/N`: with a length, then the connection closes
//! - `/echo`: the request body
//! - `/status/N`: this status without a body; `/redirect`: 302 to `/bytes/10`
//!
//! This is the implementation for the backend of [`crate::support`]; `programs/` has the others.

use std::sync::LazyLock;

use crate::support::{Backend, Request, Response};

/// Length of the block that all bodies repeat.
const PERIOD: usize = 65_521;

/// The block.
static BLOCK: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PERIOD).map(|at| ((at * at / 3 + at) % 251) as u8).collect());

/// The bytes of a body.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    let mut bytes = BLOCK.repeat(length / PERIOD + 1);
    bytes.truncate(length);
    bytes
}

/// A body in chunks, as on the wire.
pub(super) fn chunked(body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for piece in body.chunks(10_000) {
        wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

/// A backend that serves these paths.
pub(super) fn start() -> Backend {
    Backend::start(response)
}

fn response(request: &Request) -> Response {
    let target = request.start().split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let mut parts = path.split('/').skip(1);
    let kind = parts.next().unwrap_or_default();
    let number = parts.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    match kind {
        "echo" => Response::echo(),
        "chunked" => Response::raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .send(chunked(&pattern(number))),
        "close" => sized(request, &pattern(number), "Connection: close\r\n").close(),
        "status" if matches!(number, 204 | 304) => Response::raw(format!("HTTP/1.1 {number} S\r\n\r\n")),
        "status" => Response::raw(format!("HTTP/1.1 {number} S\r\nContent-Length: 0\r\n\r\n")),
        "redirect" => Response::raw("HTTP/1.1 302 Found\r\nLocation: /bytes/10\r\nContent-Length: 0\r\n\r\n"),
        _ => sized(request, &pattern(number), ""),
    }
}

fn sized(request: &Request, body: &[u8], fields: &str) -> Response {
    let length = body.len();
    let head = Response::raw(format!(
        "HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n"
    ));
    if request.start().starts_with("HEAD ") {
        head
    } else {
        head.send(body)
    }
}
