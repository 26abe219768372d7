//! Policies that act on responses, seen by clients of both protocols: `compress` and `error_pages`.

use std::io::Read;

use h2::Reason;

use crate::support::authority::Folder;
use crate::support::http2::{Frames, Http2, literal, request, status_block};
use crate::support::http2_backend::FramesBackend;
use crate::support::{Backend, Gate, Proxy, Response};

/// Types of frames, and their flags (RFC 9113 §6).
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// A balancer whose only route has these policies, in front of the backend with this URL.
fn before(url: &str, policies: &str) -> Proxy {
    Proxy::before(&[])
        .config(&format!(
            "health_check: {{ kind: none }}\npools: {{ main: {{ backends: ['{url}'] }} }}\n\
             routes: [{{ pool: main, policies: [{policies}] }}]"
        ))
        .start()
}

fn text() -> String {
    "All work and no play. ".repeat(10_000)
}

fn whole(lines: &str, body: &str) -> Response {
    let length = body.len();
    Response::raw(format!(
        "HTTP/1.1 200 OK\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    ))
}

fn decoded(coding: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text),
        _ => zstd::Decoder::new(bytes).unwrap().read_to_string(&mut text),
    };
    read.unwrap();
    text
}

#[test]
fn clients_of_both_protocols_get_the_coding_that_they_accept() {
    let backend = Backend::start(|_| whole("Content-Type: text/plain\r\nETag: \"a\"\r\n", &text()));
    let proxy = before(&backend.url(), "{ compress: {} }");
    let client = Http2::connect(proxy.address());
    for coding in ["gzip", "br", "zstd"] {
        let mut asked = request("GET", "/2");
        asked
            .headers_mut()
            .insert("accept-encoding", coding.parse().unwrap());
        let got = client.ask(asked, b"").unwrap();
        assert_eq!(got.field("content-encoding"), Some(coding));
        assert_eq!(
            (got.field("content-length"), got.field("etag")),
            (None, Some("W/\"a\""))
        );
        assert_eq!(decoded(coding, &got.body), text());
        let mut client = proxy.client();
        client.send(format!(
            "GET /1 HTTP/1.1\r\nHost: test\r\nAccept-Encoding: {coding}\r\n\r\n"
        ));
        let got = client.read();
        assert_eq!(
            (got.field("content-encoding"), got.field("vary")),
            (Some(coding), Some("Accept-Encoding"))
        );
        assert_eq!(decoded(coding, &got.body), text());
        assert_eq!(client.get("/plain").text(), text(), "the connection goes on");
    }
    let head = client.ask(request("HEAD", "/head"), b"").unwrap();
    assert_eq!(head.field("vary"), Some("Accept-Encoding"));
}

/// What the client got, not what the backend sent.
#[test]
fn the_access_log_counts_compressed_bytes() {
    let backend = Backend::start(|_| whole("Content-Type: text/plain\r\n", &text()));
    let proxy = before(&backend.url(), "{ compress: {} }");
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n");
    let received = client.read_to_end().len();
    let line = proxy.access_line("/x");
    assert_eq!(line["bytes_sent"], received);
    assert!(received < text().len() / 10 && line["error"].is_null(), "{line}");
}

#[test]
fn a_body_of_an_http2_backend_is_compressed_too() {
    let backend = FramesBackend::start();
    let proxy = before(&backend.url(), "{ compress: { encodings: [gzip] } }");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n");
    let mut frames = backend.accept(b"");
    let stream = frames.whole_request();
    let head = [status_block(200), literal(b"content-type", b"text/html")].concat();
    frames.send(HEADERS, END_HEADERS, stream, &head);
    frames.send(DATA, END_STREAM, stream, b"hello");
    let got = client.read();
    assert_eq!(got.field("content-encoding"), Some("gzip"));
    assert_eq!(decoded("gzip", &got.body), "hello");
}

#[test]
fn each_event_of_a_compressed_stream_arrives_at_once() {
    let gate = Gate::default();
    let opened = gate.clone();
    let backend = Backend::start(move |_| {
        Response::raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            .wait(&opened)
            .send("data: 2\n\n")
            .close()
    });
    let proxy = before(
        &backend.url(),
        "{ compress: { encodings: [gzip], types: [text/event-stream] } }",
    );
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n");
    let so_far = |bytes: &[u8]| {
        let start = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map_or(bytes.len(), |at| at + 4);
        let mut text = Vec::new();
        // The end is missing as long as the stream goes on.
        let _ = flate2::read::GzDecoder::new(&bytes[start..]).read_to_end(&mut text);
        text
    };
    client.read_until(|bytes| so_far(bytes) == b"data: 1\n\n");
    gate.open();
    client.read_to_end();
}

/// A balancer whose route `/fixed` responds with a text of this length, and every other one with 404 and a page of this length; all
/// compress.
fn local(folder: &Folder, length: usize) -> Proxy {
    let page = format!("<p>{}</p>", "page ".repeat(length / 5));
    let page = folder.write("page.html", &page);
    let text = "text ".repeat(length / 5);
    Proxy::before(&[])
        .config(&format!(
            "policies: {{ pages: {{ error_pages: {{ 404: '{page}' }} }}, c: {{ compress: {{}} }} }}\n\
             route_defaults: {{ policies: [pages, c] }}\n\
             routes:\n- {{ path: /fixed, respond: {{ body: '{text}' }} }}\n\
             - {{ respond: {{ status: 404 }} }}\n"
        ))
        .start()
}

#[test]
fn local_responses_are_compressed_too() {
    let folder = Folder::new();
    let length = 200_000;
    let proxy = local(&folder, length);
    for coding in ["gzip", "br", "zstd"] {
        for (path, status, vary) in [
            ("/fixed", 200, "Accept-Encoding"),
            ("/missing", 404, "Accept, Accept-Encoding"),
        ] {
            let lines = format!("Host: test\r\nAccept: text/html\r\nAccept-Encoding: {coding}");
            let mut client = proxy.client();
            let got = client
                .send(format!("GET {path} HTTP/1.1\r\n{lines}\r\n\r\n"))
                .read();
            assert_eq!(got.status(), status);
            assert_eq!(
                (got.field("content-encoding"), got.field("vary")),
                (Some(coding), Some(vary))
            );
            assert_eq!(got.field("content-length"), Some(&*got.body.len().to_string()));
            assert!(got.body.len() < length / 10);
            let text = decoded(coding, &got.body);
            assert!(text.len() > length - 10 && text.contains(" "), "{}", text.len());
            // Nothing may be said of a length that is not known.
            let head = client
                .send(format!("HEAD {path} HTTP/1.1\r\n{lines}\r\n\r\n"))
                .read_head();
            assert_eq!(
                (head.field("vary"), head.field("content-length")),
                (Some(vary), None)
            );
            let plain = client.get(path);
            assert_eq!((plain.status(), plain.field("content-encoding")), (status, None));
        }
    }
    let mut asked = request("GET", "/fixed");
    asked
        .headers_mut()
        .insert("accept-encoding", "gzip".parse().unwrap());
    let got = Http2::connect(proxy.address()).ask(asked, b"").unwrap();
    assert_eq!(got.field("content-encoding"), Some("gzip"));
    assert_eq!(decoded("gzip", &got.body).len(), length);
}

#[test]
fn short_local_responses_stay_as_they_are() {
    let folder = Folder::new();
    let proxy = local(&folder, 500);
    for path in ["/fixed", "/missing"] {
        let mut client = proxy.client();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\n\r\n"
        ));
        let got = client.read();
        assert_eq!(got.field("content-encoding"), None, "{path}");
        assert!(got.text().len() >= 500, "{path}");
    }
}

#[test]
fn a_call_of_grpc_is_never_compressed() {
    let backend = Backend::start(|_| whole("Content-Type: application/grpc\r\n", &text()));
    let proxy = before(&backend.url(), "{ compress: {} }");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n");
    let got = client.read();
    assert_eq!((got.field("content-encoding"), got.text()), (None, text()));
}

/// A balancer that puts a page of a pool in place of 404 and 502.
fn with_pages(url: &str, of_pages: &Backend) -> Proxy {
    Proxy::before(&[])
        .config(&format!(
            "health_check: {{ kind: none }}\n\
             pools: {{ main: {{ backends: ['{url}'] }}, pages: {{ backends: ['{}'] }} }}\n\
             routes: [{{ pool: main, policies: [{{ error_pages: {{ 4xx: {{ pool: pages, path: /sorry.html }}, 5xx: {{ pool: pages, path: /sorry.html }}, \
             intercept: true }} }}] }}]",
            of_pages.url()
        ))
        .start()
}

#[test]
fn people_get_a_page_of_a_pool_by_both_protocols_and_programs_do_not() {
    let backend = Backend::start(|_| Response::status(404, "internal"));
    let of_pages = Backend::start(|_| whole("Content-Type: text/html\r\n", "<h1>Sorry</h1>"));
    let proxy = with_pages(&backend.url(), &of_pages);
    let mut client = proxy.client();
    client.send("GET /1 HTTP/1.1\r\nHost: test\r\nAccept: text/html\r\n\r\n");
    let got = client.read();
    assert_eq!((got.status(), got.text().as_str()), (404, "<h1>Sorry</h1>"));
    assert_eq!(
        client.get("/program").text(),
        "internal",
        "the connection goes on"
    );
    let client = Http2::connect(proxy.address());
    let mut asked = request("GET", "/2");
    asked.headers_mut().insert("accept", "text/html".parse().unwrap());
    let got = client.ask(asked, b"").unwrap();
    assert_eq!((got.head.status().as_u16(), got.text()), (404, "<h1>Sorry</h1>"));
    assert_eq!(got.field("content-type"), Some("text/html"));
    let asked = of_pages.wait_for_request(|request| request.start().starts_with("GET /sorry.html"));
    assert_eq!(
        (asked.field("host"), asked.field("accept-encoding")),
        (Some("test"), Some("identity"))
    );
    let line = proxy.access_line("/1");
    assert_eq!(
        (&line["status"], &line["pool"]),
        (&404.into(), &"main".into()),
        "{line}"
    );
}

#[test]
fn a_failure_gets_the_page_and_keeps_its_error_code() {
    let of_pages = Backend::start(|_| whole("Content-Type: text/html\r\n", "<h1>Sorry</h1>"));
    let broken = Backend::start(|_| Response::raw("nonsense\r\n\r\n").close());
    let proxy = with_pages(&broken.url(), &of_pages);
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test\r\nAccept: text/html\r\n\r\n");
    let got = client.read();
    assert_eq!((got.status(), got.text().as_str()), (502, "<h1>Sorry</h1>"));
    let line = proxy.access_line("/x");
    assert!(line["error"].is_string(), "{line}");
}

/// A page that does not come is not looked for elsewhere, and its failure is not the request's.
#[test]
fn without_its_page_a_response_stays_as_it_is() {
    let backend = Backend::start(|_| Response::status(404, "internal"));
    let of_pages = Backend::start(|_| Response::status(500, "broken"));
    let proxy = with_pages(&backend.url(), &of_pages);
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test\r\nAccept: text/html\r\n\r\n");
    let got = client.read();
    assert_eq!((got.status(), got.text().as_str()), (404, "internal"));
    assert!(proxy.access_line("/x")["error"].is_null());
    assert_eq!(of_pages.requests(|_| true).len(), 1);
}

#[test]
fn the_stream_of_a_replaced_response_is_reset() {
    let backend = FramesBackend::start();
    let of_pages = Backend::start(|_| whole("Content-Type: text/html\r\n", "<h1>Sorry</h1>"));
    let proxy = with_pages(&backend.url(), &of_pages);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nAccept: text/html\r\n\r\n");
    let mut frames: Frames = backend.accept(b"");
    let stream = frames.whole_request();
    frames.send(HEADERS, END_HEADERS, stream, &status_block(404));
    frames.send(DATA, 0, stream, b"the beginning");
    assert_eq!(client.read().text(), "<h1>Sorry</h1>");
    assert_eq!(frames.reset_of(stream), Some(Reason::CANCEL));
}
