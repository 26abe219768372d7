//! Which backend connections are reused, and which must not be: those on which either message was not read or written
//! to its proven end (RFC 9112 §9.3, §9.6).

use std::time::Duration;

use crate::support::{
    Backend, Bare, Builder, Client, Gate, Held, Proxy, Request, Response, refusing_address,
};

/// What reached a backend, in order: methods and paths, or other bytes in their place.
fn starts(backend: &Backend) -> Vec<String> {
    let all = backend.requests(|_| true);
    all.iter().map(|request| request.start().to_owned()).collect()
}

/// One worker, because idle connections belong to workers; no probes, because they are requests too.
const CONFIG: &str = "workers: 1\nhealth_check: { kind: none }";

/// The first backend refuses before it has received the whole body, the second one receives all of it and closes. The
/// client gets the refusal; the next request must never complete the first body.
#[test]
fn a_refusal_before_the_whole_body_arrived_closes_the_connection() {
    let refusing = Backend::start(|request| match request.start() {
        "POST /x" => Response::status(503, "busy").early(),
        _ => Response::ok("refusing"),
    });
    let gate = Gate::default();
    let reached = gate.clone();
    let closing = Backend::start(move |request| match request.start() {
        "POST /x" => {
            reached.open();
            Response::nothing().close()
        }
        _ => Response::ok("closing"),
    });
    let proxy = Proxy::before(&[&refusing, &closing]).config(CONFIG).start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n01234");
    gate.wait();
    let received = client.send("56789").read();
    assert_eq!((received.status(), received.text().as_str()), (503, "busy"));
    let mut texts: Vec<String> = (0..4).map(|_| proxy.get("/next").text()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["closing", "closing", "refusing", "refusing"]);
    assert_eq!(starts(&refusing), ["POST /x", "GET /next", "GET /next"]);
    let is_post = |request: &Request| request.start() == "POST /x";
    assert_eq!(closing.requests(is_post)[0].body, b"0123456789");
}

fn before(backends: &[&Bare]) -> Proxy {
    let proxy = Proxy::before(&[]).config(CONFIG);
    let add = |proxy: Builder, backend: &&Bare| proxy.backend(&backend.url());
    backends.iter().fold(proxy, add).start()
}

fn request(method: &str) -> String {
    format!("{method} /x HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc")
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";

/// Sends a request, after whose response the backend's connection is idle.
fn made_idle(client: &mut Client, backend: &Bare) -> Held {
    client.send(request("POST"));
    let mut held = backend.accept();
    held.head();
    held.read(3);
    held.send(OK);
    assert_eq!(client.read().text(), "a");
    held
}

/// P6: bytes that arrive on an idle connection are not the response to the next request.
#[test]
fn unsolicited_bytes_of_a_backend_reach_no_client() {
    for method in ["GET", "POST"] {
        for poison in ["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", "x", "\r\n"] {
            let backend = Bare::start();
            let proxy = before(&[&backend]);
            let mut client = proxy.client();
            let mut idle = made_idle(&mut client, &backend);
            idle.send(poison);
            idle.wait_until_noticed();
            client.send(request(method));
            let mut fresh = backend.accept();
            assert!(fresh.head().starts_with(&format!("{method} /x ")));
            fresh.read(3);
            fresh.send(OK);
            assert_eq!(client.read().text(), "a");
            assert_eq!(idle.wait_for_end(), "", "{method} {poison:?}");
            assert_eq!(proxy.access_lines(2)[1]["attempts"], 1, "no retry is counted");
        }
    }
}

/// P8, 2.4 "found closed before writing": another connection is used, for every method, and no retry is counted.
#[test]
fn a_connection_found_closed_is_replaced_for_every_method() {
    for method in ["GET", "POST", "PATCH", "PURGE"] {
        for is_reset in [false, true] {
            let backend = Bare::start();
            let proxy = before(&[&backend]);
            let mut client = proxy.client();
            let idle = made_idle(&mut client, &backend);
            if is_reset {
                idle.reset()
            } else {
                idle.close()
            }
            client.send(request(method));
            let mut fresh = backend.accept();
            fresh.head();
            fresh.read(3);
            fresh.send(OK);
            assert_eq!(client.read().text(), "a", "{method}");
            let line = &proxy.access_lines(2)[1];
            assert_eq!(
                (&line["attempts"], line.get("retries")),
                (&1.into(), None),
                "{line}"
            );
        }
    }
}

/// 2.4 "reused connection closed after bytes were written, no answer": another backend is tried where that is safe, and
/// the same one on a new connection if there is no other; a request that must not be sent twice is 502.
#[test]
fn a_request_on_a_reused_connection_that_closes_is_retried_if_that_is_safe() {
    for (method, is_safe) in [
        ("GET", true),
        ("PUT", true),
        ("DELETE", true),
        ("OPTIONS", true),
        ("POST", false),
        ("PATCH", false),
        ("PURGE", false),
    ] {
        let backend = Bare::start();
        let proxy = before(&[&backend]);
        let mut client = proxy.client();
        let mut idle = made_idle(&mut client, &backend);
        client.send(request(method));
        idle.head();
        idle.read(3);
        drop(idle);
        if is_safe {
            let mut fresh = backend.accept();
            assert!(fresh.head().starts_with(&format!("{method} /x ")), "{method}");
            assert_eq!(fresh.read(3), "abc", "{method}");
            fresh.send(OK);
            assert_eq!(client.read().text(), "a", "{method}");
            assert_eq!(
                proxy.access_lines(2)[1]["retries"][0]["reason"],
                "reset",
                "{method}"
            );
        } else {
            assert_eq!(client.read().status(), 502, "{method}");
            let line = &proxy.access_lines(2)[1];
            assert_eq!(
                (&line["error"], &line["attempts"]),
                (&"backend_reset".into(), &1.into())
            );
        }
    }
}

/// 2.4 "on another backend first", and on a new connection, because the idle one may be closed too.
#[test]
fn a_request_on_a_reused_connection_that_closes_goes_to_another_backend_on_a_new_one() {
    let (first, second) = (Bare::start(), Bare::start());
    let proxy = before(&[&first, &second]);
    let mut client = proxy.client();
    let mut idle = made_idle(&mut client, &first);
    let mut other = made_idle(&mut client, &second);
    client.send(request("GET"));
    idle.head();
    idle.read(3);
    drop(idle);
    let mut fresh = second.accept();
    assert!(fresh.head().starts_with("GET /x "));
    assert_eq!(fresh.read(3), "abc");
    fresh.send(OK);
    assert_eq!(client.read().text(), "a");
    assert_eq!(proxy.access_lines(3)[2]["attempts"], 2);
    assert!(other.is_silent_for(Duration::from_millis(20)));
}

/// 2.4 "timeout waiting for an answer": by default for idempotent methods, never for others.
#[test]
fn a_timeout_is_retried_if_that_is_safe() {
    for (method, status) in [("GET", 200), ("POST", 504)] {
        let (silent, good) = (Bare::start(), Backend::saying("a"));
        let proxy = Proxy::before(&[])
            .backend(&silent.url())
            .backend(&good.url())
            .config(CONFIG)
            .config("timeouts: { first_byte: 300ms }")
            .start();
        let received = proxy.client().send(request(method)).read();
        assert_eq!(received.status(), status, "{method}");
        let mut held = silent.accept();
        assert!(held.head().starts_with(method));
        held.wait_for_end();
    }
}

/// 2.4 "502, 503, 504 of a backend": 503 is a refusal and retried for every method, the others only if configured, and
/// never for requests that must not be sent twice.
#[test]
fn error_responses_are_retried_as_configured() {
    let all = "retry: { causes: [connect_failure, reset, timeout, 502, 503, 504] }";
    let strict = "retry: { non_idempotent_503: false }";
    for (config, status, method, is_retried) in [
        ("", 503, "GET", true),
        ("", 503, "POST", true),
        ("", 502, "GET", false),
        ("", 504, "GET", false),
        (all, 502, "GET", true),
        (all, 504, "GET", true),
        (all, 502, "POST", false),
        (all, 504, "POST", false),
        (all, 500, "GET", false),
        (strict, 503, "GET", true),
        (strict, 503, "POST", false),
    ] {
        let bad = Backend::start(move |_| Response::status(status, "bad"));
        let good = Backend::saying("good");
        let proxy = Proxy::before(&[&bad, &good])
            .config(CONFIG)
            .config(config)
            .start();
        let received = proxy.client().send(request(method)).read();
        let expected = if is_retried { "good" } else { "bad" };
        assert_eq!(received.text(), expected, "{config} {status} {method}");
        assert_eq!(
            bad.requests(|_| true).len(),
            1,
            "round robin begins with the first"
        );
    }
}

/// 2.4 "connect refused": nothing was sent, so every method is retried.
#[test]
fn a_refused_connection_is_retried_for_every_method() {
    for method in ["GET", "POST", "PATCH", "PURGE"] {
        let (address, _socket) = refusing_address();
        let good = Backend::saying("good");
        let proxy = Proxy::before(&[])
            .backend(&format!("http://{address}"))
            .backend(&good.url())
            .config(CONFIG)
            .start();
        assert_eq!(
            proxy.client().send(request(method)).read().text(),
            "good",
            "{method}"
        );
        assert_eq!(
            proxy.access_lines(1)[0]["retries"][0]["reason"],
            "connect_failure",
            "{method}"
        );
    }
}

/// P7: `NTLM` and `Negotiate` authenticate the connection and not the request (RFC 4559 §6): the next request on it
/// would be served as the first user. Schemes with credentials in each request are not affected.
#[test]
fn an_authenticated_connection_is_not_shared() {
    let challenge = |scheme: &str| {
        format!(
            "HTTP/1.1 401 S\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: {scheme}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    for (asked, response, is_shared) in [
        ("Authorization: NTLM TlRMTVNTUAADAAAA\r\n", OK.to_owned(), false),
        ("authorization: negotiate YIIB\r\n", OK.to_owned(), false),
        ("Authorization: Basic YTpi\r\n", OK.to_owned(), true),
        ("Authorization: Bearer NTLM\r\n", OK.to_owned(), true),
        ("", challenge("NTLM"), false),
        ("", challenge("Negotiate"), false),
        ("", challenge("Digest realm=NTLM"), true),
    ] {
        let backend = Backend::start(move |_| Response::raw(&response));
        let proxy = Proxy::before(&[&backend]).config(CONFIG).start();
        for lines in [asked, ""] {
            let request = format!("GET /x HTTP/1.1\r\nHost: test\r\n{lines}\r\n");
            proxy.client().send(request).read();
        }
        let requests = backend.requests(|_| true);
        let was_shared = requests[0].connection == requests[1].connection;
        assert_eq!(was_shared, is_shared, "{asked:?} {}", requests[0].head);
    }
}
