//! Tests of the building blocks: tests are only as reliable as their backend and their client.

use std::io::ErrorKind;
use std::time::Duration;

use super::{Backend, Client, Gate, Response, refusing_address};

#[test]
fn backend_responds_to_requests_in_order_and_records_them() {
    let backend = Backend::saying("hello");
    let mut client = Client::connect(backend.address());
    assert_eq!(client.get("/a").text(), "hello");
    let post = "POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(client.send(post).read().status(), 200);
    let requests = backend.requests(|_| true);
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].start(), requests[0].turn), ("GET /a", 0));
    assert_eq!((requests[1].start(), requests[1].turn), ("POST /b", 1));
    assert_eq!(requests[1].body, b"abc");
    assert_eq!(requests[1].raw_body, b"3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(requests[1].field("host"), Some("x"));
    assert_eq!(backend.connections(), 1);
}

#[test]
fn backend_separates_pipelined_requests() {
    let backend = Backend::start(|request| Response::ok(request.start()));
    let mut client = Client::connect(backend.address());
    client.send("GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
    assert_eq!(client.read().text(), "GET /a");
    assert_eq!(client.read().text(), "GET /b");
}

#[test]
fn backend_waits_for_a_gate() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |_| {
        Response::raw("HTTP/1.1 200 OK\r\n")
            .wait(&its)
            .send("\r\nend")
            .close()
    });
    let mut client = Client::connect(backend.address());
    client.send("GET / HTTP/1.1\r\n\r\n");
    client.read_until(|bytes| bytes.ends_with(b"OK\r\n"));
    assert!(client.is_silent_for(Duration::from_millis(20)));
    gate.open();
    assert_eq!(client.read().text(), "end");
}

#[test]
fn backend_can_respond_before_it_reads_the_body() {
    let backend = Backend::start(|_| Response::status(413, "").early());
    let mut client = Client::connect(backend.address());
    client.send("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.read().status(), 413);
    assert!(backend.wait_for_request(|_| true).body.is_empty());
}

#[test]
fn backend_echoes_the_body() {
    let backend = Backend::start(|_| Response::echo());
    let mut client = Client::connect(backend.address());
    client.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n");
    assert_eq!(client.read().text(), "abc");
}

#[test]
fn backend_closes_resets_and_half_closes() {
    let ends = |response: Response| {
        let backend = Backend::start(move |_| response.clone());
        let mut client = Client::connect(backend.address());
        client.send("GET / HTTP/1.1\r\n\r\n");
        client
            .try_read()
            .map(|received| received.status())
            .map_err(|error| error.kind())
    };
    assert_eq!(ends(Response::nothing().close()), Err(ErrorKind::UnexpectedEof));
    assert_eq!(ends(Response::nothing().reset()), Err(ErrorKind::ConnectionReset));
    let half = Response::raw("HTTP/1.1 200 OK\r\n\r\nall").finish_sending();
    assert_eq!(ends(half), Ok(200));
}

#[test]
fn backend_greets_a_connection_before_it_reads() {
    let anywhere = ([127, 0, 0, 1], 0).into();
    let backend = Backend::start_on(anywhere, Response::raw("early"), |_| Response::ok(""));
    let mut client = Client::connect(backend.address());
    client.read_until(|bytes| bytes == b"early");
}

#[test]
fn backend_refuses_once_stopped_and_its_port_can_be_taken_again() {
    let backend = Backend::saying("first");
    let address = backend.address();
    let mut client = Client::connect(address);
    assert_eq!(client.get("/").text(), "first");
    backend.stop();
    assert!(client.read_to_end().is_empty());
    assert!(std::net::TcpStream::connect(address).is_err());
    let again = Backend::start_on(address, Response::nothing(), |_| Response::ok("second"));
    assert_eq!(Client::connect(again.address()).get("/").text(), "second");
}

#[test]
fn refusing_address_refuses() {
    let (address, _socket) = refusing_address();
    let error = std::net::TcpStream::connect(address).err();
    assert_eq!(
        error.map(|error| error.kind()),
        Some(ErrorKind::ConnectionRefused)
    );
}

#[test]
fn client_reports_a_truncated_body_as_an_error() {
    let backend =
        Backend::start(|_| Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").close());
    let mut client = Client::connect(backend.address());
    client.send("GET / HTTP/1.1\r\n\r\n");
    let kind = client.try_read().map_err(|error| error.kind()).err();
    assert_eq!(kind, Some(ErrorKind::UnexpectedEof));
}

#[test]
fn client_can_half_close_and_reset() {
    let backend = Backend::saying("");
    let mut client = Client::connect(backend.address());
    client.send("GET / HTTP/1.1\r\n\r\n").finish_sending();
    assert_eq!(client.read().status(), 200);
    assert!(client.read_to_end().is_empty());
    let client = Client::connect(backend.address());
    assert_ne!(client.address(), backend.address());
    client.reset();
}
