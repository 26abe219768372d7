//! HTTP/2 to backends: malformed responses, refused streams, and connections that end in the middle.

mod bodies;
mod ends;
mod responses;
mod sharing;
mod tls;

use h2::Reason;

use crate::support::http2::{Frames, Http2};
use crate::support::http2_backend::FramesBackend;
use crate::support::{Builder, Client, Proxy};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const GET: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";

/// One worker, so that all requests share connections; no probes, because they would open connections of their own.
pub(super) fn before(urls: &[&str]) -> Builder {
    let builder = Proxy::before(&[]).config("workers: 1\nhealth_check: { kind: none }");
    urls.iter().fold(builder, |builder, url| builder.backend(url))
}

/// A client that has sent this request, and the balancer in front of a hand-written HTTP/2 backend that has received
/// all of it.
fn asked(text: &str, config: &str) -> (Proxy, Client, FramesBackend, Frames, u32) {
    let backend = FramesBackend::start();
    let proxy = before(&[&backend.url()]).config(config).start();
    let mut client = proxy.client();
    client.send(text);
    let mut held = backend.accept(&[]);
    let stream = held.whole_request();
    (proxy, client, backend, held, stream)
}

fn reset(held: &mut Frames, stream: u32, reason: Reason) {
    held.send(RST_STREAM, 0, stream, &u32::from(reason).to_be_bytes());
}

/// GOAWAY: streams after `last` were not processed.
fn goaway(held: &mut Frames, last: u32, reason: Reason) {
    let payload = [last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat();
    held.send(GOAWAY, 0, 0, &payload);
}

/// An HTTP/2 client and an HTTP/2 backend whose frames are written by hand.
pub(super) fn http2_client(config: &str) -> (Proxy, (Http2, Frames)) {
    let backend = FramesBackend::start();
    let proxy = before(&[&backend.url()]).config(config).start();
    let client = Http2::connect(proxy.address());
    let first = client.send("GET", "/first", true);
    let mut held = backend.accept(&[]);
    let stream = held.whole_request();
    held.response(stream, 200, "");
    client.read(first.0).unwrap();
    (proxy, (client, held))
}
