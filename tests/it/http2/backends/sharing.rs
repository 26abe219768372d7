//! How requests share HTTP/2 connections to a backend, and how long they wait for them.

use std::thread;
use std::time::Duration;

use h2::Reason;
use rustix::process::Signal;

use super::{DATA, END_HEADERS, GET, HEADERS, POST, asked, before};
use crate::support::http2::{Http2, literal, status_block};
use crate::support::http2_backend::{FramesBackend, Http2Backend, Seen};

#[test]
fn requests_share_a_connection() {
    let backend = Http2Backend::start();
    let proxy = before(&[&backend.url()]).start();
    for path in ["/1", "/2", "/3"] {
        assert_eq!(proxy.get(path).text(), path);
    }
    let threads: Vec<_> = (0..20)
        .map(|number| {
            let mut client = proxy.client();
            thread::spawn(move || assert_eq!(client.get(&format!("/{number}")).status(), 200))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(backend.count(|seen| *seen == Seen::Connection), 1);
}

/// RFC 9113 §5.1.2: the backend's stream limit is kept; further requests use another connection.
#[test]
fn a_connection_carries_no_more_streams_than_its_backend_allows() {
    let backend = FramesBackend::start();
    let proxy = before(&[&backend.url()]).start();
    let (mut first, mut second) = (proxy.client(), proxy.client());
    first.send(GET);
    let mut held = backend.accept(&[0, 3, 0, 0, 0, 1]);
    let stream = held.whole_request();
    // The acknowledgement shows that the settings are active.
    assert!(
        held.wait_for(|frame| frame.kind == 4 && frame.flags == 1)
            .is_some()
    );
    second.send(GET);
    let mut other = backend.accept(&[]);
    let its = other.whole_request();
    other.response(its, 200, "second");
    held.response(stream, 200, "first");
    assert_eq!(first.read().text(), "first");
    assert_eq!(second.read().text(), "second");
}

/// RFC 9113 §5.2: unread data counts against the window of the whole connection.
#[test]
fn clients_that_do_not_read_do_not_delay_others() {
    let backend = Http2Backend::start();
    let proxy = before(&[&backend.url()]).start();
    let client = Http2::connect(proxy.address());
    let asked: Vec<_> = (0..40)
        .map(|_| client.send("GET", "/bytes/1000000", true).0)
        .collect();
    let unread: Vec<_> = asked
        .into_iter()
        .map(|response| client.run(response).unwrap())
        .collect();
    for _ in 0..20 {
        assert_eq!(proxy.get("/quick").text(), "/quick");
    }
    assert_eq!(backend.count(|seen| *seen == Seen::Connection), 1);
    drop(unread);
}

/// One connection has room for the unread data of a hundred clients, and carries no more of them.
#[test]
fn a_connection_carries_a_hundred_requests_at_most() {
    let backend = Http2Backend::start();
    let proxy = before(&[&backend.url()]).start();
    assert_eq!(proxy.get("/first").text(), "/first");
    let client = Http2::connect(proxy.address());
    let held = |count| {
        backend.wait_for("all requests", |all| {
            let is_held = |seen: &&Seen| matches!(seen, Seen::Request(line, _) if line.ends_with("/hold"));
            (all.iter().filter(is_held).count() == count).then_some(())
        });
    };
    let first: Vec<_> = (0..100).map(|_| client.send("GET", "/hold", true)).collect();
    held(100);
    assert_eq!(backend.count(|seen| *seen == Seen::Connection), 1);
    assert_eq!(proxy.get("/more").text(), "/more");
    assert_eq!(backend.count(|seen| *seen == Seen::Connection), 2);
    drop(first);
}

#[test]
fn requests_wait_if_the_stream_limit_was_not_known_in_time() {
    let (proxy, mut first, _backend, mut held, stream) = asked(GET, "");
    let mut second = proxy.client();
    second.send(GET);
    let its = held.whole_request();
    held.send(4, 0, 0, &[0, 3, 0, 0, 0, 1]);
    assert!(
        held.wait_for(|frame| frame.kind == 4 && frame.flags == 1)
            .is_some()
    );
    held.response(stream, 200, "first");
    held.response(its, 200, "second");
    assert_eq!(first.read().text(), "first");
    assert_eq!(second.read().text(), "second");
}

#[test]
fn timeouts_run_over_http2_too() {
    let cases: [(&str, &str, u16, &str); 3] = [
        (
            "timeouts: { first_byte: 200ms }\nretry: { attempts: 1 }",
            POST,
            504,
            "backend_timeout",
        ),
        ("timeouts: { request: 200ms }", POST, 504, "backend_timeout"),
        // The backend's window is zero from the start.
        (
            "timeouts: { progress: 200ms }",
            "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 70000\r\n\r\n",
            504,
            "backend_timeout",
        ),
    ];
    for (config, text, status, word) in cases {
        let backend = FramesBackend::start();
        let proxy = before(&[&backend.url()]).config(config).start();
        let mut client = proxy.client();
        client.send(text);
        if text != POST {
            client.send(vec![b'x'; 70_000]);
        }
        let mut held = backend.accept(&[0, 4, 0, 0, 0, 0]);
        let stream = held.request();
        assert_eq!(client.read().status(), status, "{config}");
        assert_eq!(proxy.access_line("/x")["error"], word);
        assert_eq!(held.reset_of(stream), Some(Reason::CANCEL));
    }
    for (config, length) in [("progress", true), ("stream_idle", false)] {
        let config = format!("timeouts: {{ {config}: 200ms }}");
        let (proxy, mut client, _backend, mut held, stream) = asked(GET, &config);
        let field = if length {
            literal(b"content-length", b"5")
        } else {
            Vec::new()
        };
        held.send(HEADERS, END_HEADERS, stream, &[status_block(200), field].concat());
        held.send(DATA, 0, stream, b"1");
        client.read_to_end();
        assert_eq!(proxy.access_line("/x")["error"], "response_stalled", "{config}");
        assert_eq!(held.reset_of(stream), Some(Reason::CANCEL));
    }
}

/// Some backends lose the credit of their connections. Those stay alive, but no body gets through.
#[test]
fn a_connection_without_credit_gets_no_more_requests() {
    let backend = FramesBackend::start();
    let config = "timeouts: { progress: 300ms }\nretry: { attempts: 1 }";
    let proxy = before(&[&backend.url()]).config(config).start();
    let ask = || {
        let mut client = proxy.client();
        client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 70000\r\n\r\n");
        client.send(vec![b'x'; 70_000]);
        client
    };
    let mut first = ask();
    let mut held = backend.accept(&[0, 4, 0, 0xff, 0xff, 0xff]);
    let stream = held.request();
    // It has received something since.
    held.send(6, 0, 0, &[0; 8]);
    assert_eq!(first.read().status(), 504);
    assert_eq!(held.reset_of(stream), Some(Reason::CANCEL));
    let mut second = ask();
    let mut other = backend.accept(&[0, 4, 0, 0xff, 0xff, 0xff]);
    other.send(8, 0, 0, &[0, 0xff, 0xff, 0xff]);
    let its = other.whole_request();
    other.response(its, 200, "second");
    assert_eq!(second.read().text(), "second");
}

/// If a network drops all packets, nothing reports that a connection is dead.
#[test]
fn a_silent_connection_gets_no_more_requests_and_a_live_one_does() {
    let config = "timeouts: { first_byte: 300ms }\nretry: { attempts: 1 }";
    let (proxy, mut first, backend, mut held, stream) = asked(POST, config);
    held.response(stream, 200, "first");
    assert_eq!(first.read().text(), "first");
    let ask = || {
        let mut client = proxy.client();
        client.send(POST);
        client
    };
    let mut slow = ask();
    let stream = held.whole_request();
    // It acknowledges the PING: the connection lives, only this request is slow.
    held.send(6, 0, 0, &[0; 8]);
    assert_eq!(slow.read().status(), 504);
    assert_eq!(held.reset_of(stream), Some(Reason::CANCEL));
    let mut lost = ask();
    held.whole_request();
    assert_eq!(lost.read().status(), 504);
    let mut next = ask();
    let mut other = backend.accept(&[]);
    let stream = other.whole_request();
    other.response(stream, 200, "next");
    assert_eq!(next.read().text(), "next");
}

/// A request that waits for a connection that another request opens is bound by the same `connect`.
#[test]
fn requests_do_not_queue_for_a_backend_that_does_not_connect() {
    let silent = FramesBackend::start();
    // Its backlog is full: the kernel does not respond to further connects.
    let _filling: Vec<_> = (0..200)
        .map_while(|_| {
            let address = silent.url().replace("h2c://", "").parse().unwrap();
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok()
        })
        .collect();
    let proxy = before(&[&silent.url()])
        .config("timeouts: { connect: 500ms }")
        .start();
    let began = evenkeel::internals::clock::now();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = proxy.client();
            client.send(GET);
            client
        })
        .collect();
    for mut client in clients {
        assert_eq!(client.read().status(), 503);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1_400), "{took:?}");
}

#[test]
fn unused_connections_are_closed() {
    let backend = Http2Backend::start();
    let proxy = before(&[&backend.url()])
        .config("timeouts: { backend_idle: 500ms }")
        .start();
    assert_eq!(proxy.get("/x").text(), "/x");
    backend.wait_for("the end", |all| all.contains(&Seen::ConnectionEnd).then_some(()));
    assert_eq!(proxy.get("/y").text(), "/y");
    assert_eq!(backend.count(|seen| *seen == Seen::Connection), 2);
}

#[test]
fn a_stop_does_not_wait_for_connections_to_backends() {
    let backend = Http2Backend::start();
    let proxy = before(&[&backend.url()]).start();
    assert_eq!(proxy.get("/x").text(), "/x");
    let began = evenkeel::internals::clock::now();
    assert!(proxy.stop().success());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_stop_ends_streams_that_do_not_end_by_themselves() {
    let backend = Http2Backend::start();
    let proxy = before(&[&backend.url()])
        .config("timeouts: { drain: 500ms }")
        .start();
    let client = Http2::connect(proxy.address());
    let (response, _sending) = client.send("GET", "/hold", true);
    backend.wait_for("the request", |all| {
        all.iter()
            .any(|seen| matches!(seen, Seen::Request(..)))
            .then_some(())
    });
    let began = evenkeel::internals::clock::now();
    proxy.signal(Signal::TERM);
    assert!(client.read(response).is_err());
    assert!(proxy.wait().success());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
