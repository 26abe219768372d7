//! What is retried, on which backend, and what the client gets if all attempts fail.

use crate::support::{Backend, Gate, Proxy, Request, Response, refusing_address};

const POST: &str = "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc";
const GET: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";

fn is_meant(request: &Request) -> bool {
    request.start().ends_with(" /x")
}

/// A backend with this response to the test's requests that is healthy when probed.
fn doing(response: Response) -> Backend {
    Backend::start(move |request| {
        if is_meant(request) {
            response.clone()
        } else {
            Response::ok("")
        }
    })
}

/// Sends `request` to a balancer in front of `bad` and a good backend until `bad` was tried once; returns the statuses.
fn statuses(bad: &Backend, request: &str) -> Vec<u16> {
    let good = Backend::saying("good");
    let proxy = Proxy::before(&[bad, &good]).start();
    let ask = || proxy.client().send(request).read().status();
    let statuses = vec![ask(), ask()];
    assert_eq!(bad.requests(is_meant).len(), 1, "round robin asks each in turn");
    statuses
}

#[test]
fn a_refused_connection_is_retried_without_a_client_error() {
    let (address, _socket) = refusing_address();
    let good = Backend::saying("good");
    let proxy = Proxy::before(&[&good])
        .backend(&format!("http://{address}"))
        .start();
    for request in [GET, POST, GET, POST] {
        assert_eq!(proxy.client().send(request).read().text(), "good");
    }
    assert_eq!(good.requests(is_meant).len(), 4);
}

#[test]
fn a_503_is_retried_for_every_method() {
    for request in [GET, POST] {
        let bad = doing(Response::status(503, ""));
        assert_eq!(statuses(&bad, request), [200, 200]);
    }
}

#[test]
fn a_broken_connection_is_retried_for_idempotent_methods_only() {
    for response in [Response::nothing().close(), Response::nothing().reset()] {
        let bad = doing(response.clone());
        assert_eq!(statuses(&bad, GET), [200, 200]);
        let bad = doing(response);
        let mut found = statuses(&bad, POST);
        found.sort_unstable();
        assert_eq!(found, [200, 502]);
    }
}

#[test]
fn the_retry_is_in_the_log_line() {
    let bad = doing(Response::status(503, ""));
    let good = Backend::saying("good");
    let proxy = Proxy::before(&[&bad, &good]).start();
    for _ in 0..2 {
        assert_eq!(proxy.client().send(GET).read().status(), 200);
    }
    let lines = proxy.access_lines(2);
    let retried = lines
        .iter()
        .find(|line| line["attempts"] == 2)
        .expect("one was retried");
    assert_eq!(retried["backend"], good.url());
    assert_eq!(retried["retries"][0]["backend"], bad.url());
}

#[test]
fn nothing_is_retried_once_a_response_began() {
    let bad = doing(Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").close());
    let good = Backend::saying("good");
    let proxy = Proxy::before(&[&bad, &good]).start();
    let cut = (0..2)
        .filter(|_| proxy.client().send(GET).try_read().is_err())
        .count();
    assert_eq!(cut, 1);
    assert_eq!(good.requests(is_meant).len(), 1);
}

#[test]
fn without_a_backend_left_is_503_with_retry_after() {
    let (address, _socket) = refusing_address();
    let proxy = Proxy::before(&[]).backend(&format!("http://{address}")).start();
    let received = proxy.get("/x");
    assert_eq!(received.status(), 503);
    assert!(received.field("retry-after").is_some(), "{}", received.head);
}

#[test]
fn a_503_of_the_last_backend_is_forwarded() {
    let bad = doing(Response::status(503, "busy"));
    let proxy = Proxy::before(&[&bad]).start();
    let received = proxy.get("/x");
    assert_eq!((received.status(), received.text().as_str()), (503, "busy"));
}

#[test]
fn a_backend_that_does_not_respond_in_time_is_504() {
    let gate = Gate::default();
    let slow = doing(Response::ok("").after(&gate));
    let proxy = Proxy::before(&[&slow])
        .config("timeouts: { first_byte: 200ms }")
        .start();
    assert_eq!(proxy.get("/x").status(), 504);
    gate.open();
}

#[test]
fn a_connection_that_the_backend_closed_while_idle_fails_no_request() {
    let backend = Backend::start(|_| Response::ok("a").close());
    let proxy = Proxy::before(&[&backend]).config("workers: 1").start();
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get("/x").status(), 200);
    }
}

#[test]
fn nothing_is_retried_once_early_hints_were_forwarded() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let bad = doing(Response::raw(hints).close());
    let good = Backend::saying("good");
    let proxy = Proxy::before(&[&bad, &good]).start();
    let mut finals: Vec<u16> = (0..2)
        .map(|_| {
            let mut client = proxy.client();
            let first = client.send(GET).read().status();
            if first == 103 {
                client.read().status()
            } else {
                first
            }
        })
        .collect();
    finals.sort_unstable();
    assert_eq!(
        finals,
        [200, 502],
        "another backend's response does not fit the hints"
    );
}

/// A backend that reads part of the body, however much the sockets buffer, and closes.
#[test]
fn a_partially_sent_body_is_sent_completely_to_the_next_backend() {
    let body: String = (0..)
        .flat_map(|number: u32| format!("{number} ").into_bytes())
        .take(8 << 20)
        .map(char::from)
        .collect();
    let chunked: String = body
        .as_bytes()
        .chunks(100_000)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()))
        .collect();
    let head = "PUT /x HTTP/1.1\r\nHost: test\r\n";
    for request in [
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"),
    ] {
        let bad = doing(Response::nothing().early().reset());
        let good = Backend::saying("good");
        let proxy = Proxy::before(&[&bad, &good])
            .config("retry: { replay_limit: 16MiB }\n")
            .start();
        for _ in 0..2 {
            assert_eq!(proxy.client().send(&request).read().text(), "good");
        }
        assert_eq!(bad.requests(is_meant).len(), 1);
        for got in good.requests(is_meant) {
            assert!(got.body == body.as_bytes(), "{} bytes arrived", got.body.len());
        }
    }
}
