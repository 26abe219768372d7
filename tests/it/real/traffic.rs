//! Requests of all kinds in [`super::catalogue`], each response compared with the expected one.

use std::thread;

use super::catalogue::{chunked, pattern};
use crate::support::{Client, Proxy};

/// Connections that send requests concurrently.
const CONNECTIONS: usize = 4;

/// Lengths of bodies, in turn.
pub(super) const LENGTHS: [usize; 7] = [1, 100, 1000, 4096, 5000, 65_536, 200_000];

/// The largest body, in bytes.
pub(super) const LARGE: usize = 10 << 20;

/// Sends `count` requests of all kinds in turn, on four keep-alive connections, and the largest bodies on one more.
pub(super) fn send(proxy: &Proxy, kinds: &[Kind], count: usize) {
    thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = proxy.client();
                for turn in (connection..count).step_by(CONNECTIONS) {
                    let kind = &kinds[turn / CONNECTIONS % kinds.len()];
                    request_and_check(&mut client, kind, LENGTHS[turn % LENGTHS.len()]);
                }
            });
        }
        scope.spawn(|| {
            let mut client = proxy.client();
            for kind in kinds {
                if matches!(kind, Kind::Get("bytes") | Kind::Echo) {
                    request_and_check(&mut client, kind, LARGE);
                }
            }
        });
    });
    let large = kinds
        .iter()
        .filter(|kind| matches!(kind, Kind::Get("bytes") | Kind::Echo))
        .count();
    expect_lines(proxy, count + large);
}

/// Expects this number of access log lines, and no more after the balancer has stopped.
pub(super) fn expect_lines(proxy: &Proxy, count: usize) {
    proxy.access_lines(count);
    assert!(proxy.stop().success());
    assert_eq!(proxy.access_lines(count).len(), count, "one line a request");
}

/// A kind of request.
#[derive(Debug)]
pub(super) enum Kind {
    /// `GET` for a number of bytes, by the first part of the path.
    Get(&'static str),
    /// `HEAD` for the same.
    Head,
    /// `POST` of a body with a length that is echoed.
    Echo,
    /// The same in chunks.
    EchoChunked,
    /// `PUT` of an empty body.
    PutNothing,
    /// `GET` for a response with this status and no body.
    Status(u16),
    /// `GET` for a 302.
    Redirect,
}

/// All kinds.
pub(super) const ALL: &[Kind] = &[
    Kind::Get("bytes"),
    Kind::Head,
    Kind::Echo,
    Kind::EchoChunked,
    Kind::Get("chunked"),
    Kind::Status(204),
    Kind::Get("close"),
    Kind::Status(304),
    Kind::Redirect,
    Kind::PutNothing,
    Kind::Status(404),
];

/// The kinds that a file server supports.
pub(super) const FILES: &[Kind] = &[Kind::Get("bytes"), Kind::Head, Kind::Status(404)];

/// Sends one request and checks the response.
fn request_and_check(client: &mut Client, kind: &Kind, length: usize) {
    match kind {
        Kind::Get(part) => {
            let received = client.get(&format!("/{part}/{length}"));
            assert_eq!(received.status(), 200, "{kind:?} {length}");
            same(&received.body, &pattern(length), kind);
        }
        Kind::Head => {
            client.send(format!("HEAD /bytes/{length} HTTP/1.1\r\nHost: test\r\n\r\n"));
            let received = client.read_head();
            assert_eq!(received.status(), 200, "{}", received.head);
            assert_eq!(received.field("content-length"), Some(&*length.to_string()));
        }
        Kind::Echo => {
            let body = pattern(length);
            client.send(format!(
                "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
            ));
            let received = client.send(&body).read();
            assert_eq!(received.status(), 200, "{kind:?} {length}: {}", received.text());
            same(&received.body, &body, kind);
        }
        Kind::EchoChunked => {
            let body = pattern(length);
            client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
            let received = client.send(chunked(&body)).read();
            assert_eq!(received.status(), 200, "{kind:?} {length}: {}", received.text());
            same(&received.body, &body, kind);
        }
        Kind::PutNothing => {
            client.send("PUT /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
            let received = client.read();
            assert_eq!((received.status(), received.body.len()), (200, 0));
        }
        Kind::Status(status) => {
            let received = client.get(&format!("/status/{status}"));
            assert_eq!(received.status(), *status, "{}", received.head);
        }
        Kind::Redirect => {
            let received = client.get("/redirect");
            assert_eq!(received.status(), 302, "{}", received.head);
            assert_eq!(received.field("location"), Some("/bytes/10"));
        }
    }
}

fn same(got: &[u8], expected: &[u8], kind: &Kind) {
    assert_eq!(got.len(), expected.len(), "{kind:?}");
    assert!(got == expected, "{kind:?}: as many bytes, but others");
}
