//! Streams and connections that end early: what is retried, and who gets an error.

use std::thread;
use std::time::Duration;

use h2::Reason;

use super::{DATA, GET, POST, asked, before, goaway, http2_client, reset};
use crate::support::Backend;
use crate::support::http2::{Frames, Http2};
use crate::support::http2_backend::{FramesBackend, Http2Backend, Refusals, Seen};

/// RFC 9113 §8.7: a stream that was refused, or that GOAWAY excludes, was not processed, whatever its method.
#[test]
fn unprocessed_requests_are_retried_whatever_their_method() {
    for (what, text) in [("GET", GET), ("POST", POST)] {
        for is_refusal in [true, false] {
            let refusing = FramesBackend::start();
            let good = Backend::saying("good");
            let proxy = before(&[&refusing.url(), &good.url()]).start();
            let mut client = proxy.client();
            client.send(text);
            let mut held = refusing.accept(&[]);
            let stream = held.whole_request();
            match is_refusal {
                true => reset(&mut held, stream, Reason::REFUSED_STREAM),
                false => goaway(&mut held, 0, Reason::NO_ERROR),
            }
            let got = client.read();
            assert_eq!(
                (got.status(), got.text().as_str()),
                (200, "good"),
                "{what}, refused: {is_refusal}"
            );
            assert_eq!(good.requests(|request| request.start().ends_with("/x")).len(), 1);
        }
    }
}

/// Only the stream was refused; the connection is fine.
#[test]
fn the_only_backend_is_tried_again_on_the_connection_that_refused() {
    for text in [GET, POST] {
        let (proxy, mut client, backend, mut held, mut stream) = asked(text, "");
        for _ in 0..5 {
            reset(&mut held, stream, Reason::REFUSED_STREAM);
            stream = held.whole_request();
        }
        held.response(stream, 200, "sixth");
        assert_eq!(client.read().text(), "sixth");
        assert_eq!(proxy.access_line("/x")["attempts"], 6);
        assert!(backend.is_alone_for(Duration::from_millis(20)));
    }
}

#[test]
fn the_only_backend_is_tried_again_on_a_new_connection_after_goaway() {
    for text in [GET, POST] {
        let (_proxy, mut client, backend, mut held, mut stream) = asked(text, "");
        for _ in 0..3 {
            goaway(&mut held, 0, Reason::NO_ERROR);
            held = backend.accept(&[]);
            stream = held.whole_request();
        }
        held.response(stream, 200, "fourth");
        assert_eq!(client.read().text(), "fourth");
    }
}

/// A refusal comes from the backend, as a 503 does; the end of a connection does not.
#[test]
fn a_backup_is_tried_after_a_refusal_and_not_after_a_goaway() {
    for is_refusal in [true, false] {
        let (backend, backup) = (FramesBackend::start(), Backend::saying("backup"));
        let config = format!(
            "pools: {{ default: {{ backends: [\"{}\", {{ url: \"{}\", backup: true }}] }} }}\nroutes: [{{ pool: default }}]",
            backend.url(),
            backup.url()
        );
        let proxy = before(&[]).config(&config).start();
        let mut client = proxy.client();
        client.send(POST);
        let mut held = backend.accept(&[]);
        let stream = held.whole_request();
        if is_refusal {
            reset(&mut held, stream, Reason::REFUSED_STREAM);
            assert_eq!(client.read().text(), "backup");
        } else {
            goaway(&mut held, 0, Reason::NO_ERROR);
            let mut other = backend.accept(&[]);
            let stream = other.whole_request();
            other.response(stream, 200, "first");
            assert_eq!(client.read().text(), "first");
        }
    }
}

/// After a bounded number of attempts the client gets the error. The backend is not considered down.
#[test]
fn a_backend_that_refuses_every_stream_is_tried_a_bounded_number_of_times() {
    let (proxy, mut client, _backend, mut held, mut stream) = asked(POST, "");
    for _ in 0..16 {
        reset(&mut held, stream, Reason::REFUSED_STREAM);
        stream = held.whole_request();
    }
    reset(&mut held, stream, Reason::REFUSED_STREAM);
    assert_eq!(client.read().status(), 502);
    let line = proxy.access_line("/x");
    assert_eq!(
        (&line["attempts"], &line["error"]),
        (&17.into(), &"backend_reset".into())
    );
}

/// A configured number of attempts bounds attempts of any kind.
#[test]
fn a_configured_number_of_attempts_bounds_refusals_too() {
    let (proxy, mut client, _backend, mut held, stream) = asked(POST, "retry: { attempts: 2 }");
    reset(&mut held, stream, Reason::REFUSED_STREAM);
    let stream = held.whole_request();
    reset(&mut held, stream, Reason::REFUSED_STREAM);
    assert_eq!(client.read().status(), 502);
    assert_eq!(proxy.access_line("/x")["attempts"], 2);
}

/// Sends requests on several connections to backends that leave some of them unprocessed: none fails, and none is
/// processed twice.
fn ask_many(backends: &[Http2Backend]) {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 250;
    let urls: Vec<String> = backends.iter().map(Http2Backend::url).collect();
    let proxy = before(&urls.iter().map(String::as_str).collect::<Vec<_>>()).start();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut client = proxy.client();
            thread::spawn(move || {
                for request in 0..REQUESTS {
                    let path = format!("/{number}/{request}");
                    assert_eq!(client.get(&path).text(), path);
                    let post =
                        format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
                    assert_eq!(client.send(post).read().text(), path);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let is_request = |seen: &Seen| matches!(seen, Seen::Request(..));
    let processed: usize = backends.iter().map(|backend| backend.count(is_request)).sum();
    assert_eq!(processed, 2 * CLIENTS * REQUESTS);
    let retried = proxy.count_so_far(|line| line["retries"][0]["reason"] == "reset");
    assert!(retried > 0, "some were not processed");
}

#[test]
fn requests_to_backends_that_refuse_many_streams_do_not_fail() {
    for (percent, goaway_after) in [(10, 0), (30, 0), (10, 20)] {
        for count in [1, 2] {
            let refusals = Refusals {
                percent,
                goaway_after,
            };
            let backends: Vec<_> = (0..count).map(|_| Http2Backend::refusing(refusals)).collect();
            ask_many(&backends);
        }
    }
}

#[test]
fn other_failures_are_retried_for_idempotent_methods_only() {
    type End = fn(Frames, u32);
    let ends: [(&str, End); 4] = [
        ("reset", |mut held, stream| {
            reset(&mut held, stream, Reason::INTERNAL_ERROR);
            drop(held.read());
        }),
        ("closed", |held, _| held.close()),
        ("GOAWAY behind it", |mut held, stream| {
            goaway(&mut held, stream, Reason::INTERNAL_ERROR);
            held.close();
        }),
        ("a frame that is none", |mut held, _| {
            held.send(DATA, 0, 0, b"x");
            held.goodbye();
        }),
    ];
    for (what, end) in ends {
        for (text, status) in [(GET, 200), (POST, 502)] {
            let bad = FramesBackend::start();
            let good = Backend::saying("good");
            let proxy = before(&[&bad.url(), &good.url()]).start();
            let mut client = proxy.client();
            client.send(text);
            let mut held = bad.accept(&[]);
            let stream = held.whole_request();
            end(held, stream);
            assert_eq!(client.read().status(), status, "{what}: {text}");
            let again = good.requests(|request| request.start().ends_with("/x")).len();
            assert_eq!(again, usize::from(status == 200), "{what}: {text}");
        }
    }
}

/// RFC 9113 §6.8: running requests finish, new ones go elsewhere.
#[test]
fn a_connection_after_goaway_finishes_and_gets_no_new_streams() {
    let (proxy, mut client, backend, mut held, stream) = asked(POST, "");
    goaway(&mut held, stream, Reason::NO_ERROR);
    let mut second = proxy.client();
    second.send(POST);
    let mut other = backend.accept(&[]);
    let its = other.whole_request();
    other.response(its, 200, "new");
    assert_eq!(second.read().text(), "new");
    held.response(stream, 200, "old");
    assert_eq!(client.read().text(), "old");
    let lines = proxy.access_lines(2);
    assert!(lines.iter().all(|line| line["attempts"] == 1), "{lines:#?}");
}

#[test]
fn a_get_on_a_dead_connection_is_retried() {
    let (proxy, mut client, backend, mut held, stream) = asked(GET, "");
    held.response(stream, 200, "one");
    assert_eq!(client.read().text(), "one");
    client.send(GET);
    held.whole_request();
    held.close();
    let mut other = backend.accept(&[]);
    let its = other.whole_request();
    other.response(its, 200, "two");
    assert_eq!(client.read().text(), "two");
    assert!(backend.is_alone_for(Duration::from_millis(20)));
    assert_eq!(proxy.access_lines(2)[1]["attempts"], 2);
}

/// Idle connections to other backends may be dead too.
#[test]
fn a_get_on_a_dead_connection_goes_to_another_backend_on_a_new_connection() {
    let backends = [FramesBackend::start(), FramesBackend::start()];
    let proxy = before(&[&backends[0].url(), &backends[1].url()]).start();
    let mut client = proxy.client();
    let mut held = backends.each_ref().map(|backend| {
        client.send(GET);
        let mut held = backend.accept(&[]);
        let stream = held.whole_request();
        held.response(stream, 200, "one");
        assert_eq!(client.read().text(), "one");
        held
    });
    client.send(GET);
    held[0].whole_request();
    let [first, _second] = held;
    first.close();
    let mut other = backends[1].accept(&[]);
    let stream = other.whole_request();
    other.response(stream, 200, "two");
    assert_eq!(client.read().text(), "two");
    assert_eq!(proxy.access_lines(3)[2]["attempts"], 2);
}

/// The slot is free again, and the backend stops working on the request.
#[test]
fn a_client_that_leaves_cancels_its_stream() {
    let backend = Http2Backend::start();
    let proxy = before(&[&backend.url()]).start();
    let cancelled = |seen: &Seen| *seen == Seen::Reset(Some(Reason::CANCEL));
    let is_asked = |count| {
        move |all: &[Seen]| {
            let asked = all
                .iter()
                .filter(|seen| matches!(seen, Seen::Request(..)))
                .count();
            (asked == count).then_some(())
        }
    };
    let mut client = proxy.client();
    client.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n");
    backend.wait_for("the first", is_asked(1));
    client.reset();
    backend.wait_for("its end", |all| all.iter().any(cancelled).then_some(()));
    let client = Http2::connect(proxy.address());
    let (response, mut sending) = client.send("GET", "/hold", true);
    backend.wait_for("the second", is_asked(2));
    sending.send_reset(Reason::CANCEL);
    drop(response);
    client.run_beside(|| {
        backend.wait_for("its end", |all| {
            (all.iter().filter(|seen| cancelled(seen)).count() == 2).then_some(())
        });
    });
    assert_eq!(backend.count(|seen| *seen == Seen::Connection), 1);
    assert_eq!(proxy.access_line("/hold")["status"], 499);
}

/// A client's reset is noticed even while its backend does not read.
#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_cancels_its_stream() {
    let (_proxy, (client, mut held)) = http2_client("");
    let (response, mut sending) = client.send("POST", "/gone", false);
    let stream = held.request();
    // More than the balancer and the backend's window accept.
    sending.reserve_capacity(1 << 20);
    sending.send_data(vec![b'x'; 1 << 20].into(), false).unwrap();
    // The default window (RFC 9113 §6.9.2): after that the backend receives no more.
    let mut window = 65_535;
    client.run_beside(|| {
        while window > 0 {
            window -= held.wait_for(|frame| frame.kind == 0).unwrap().payload.len();
        }
    });
    sending.send_reset(Reason::CANCEL);
    drop(response);
    assert_eq!(client.run_beside(|| held.reset_of(stream)), Some(Reason::CANCEL));
}

/// A GOAWAY may exclude all requests of a connection at once, which is more than the retry budget has tokens. It counts
/// as one event, and no request fails because of it.
#[test]
fn a_goaway_that_excludes_many_requests_fails_none() {
    const STREAMS: usize = 100;
    let backend = FramesBackend::start();
    let proxy = before(&[&backend.url()]).start();
    let clients = [Http2::connect(proxy.address()), Http2::connect(proxy.address())];
    let asked: Vec<_> = clients
        .iter()
        .flat_map(|client| (0..STREAMS).map(move |_| client.send("POST", "/x", true).0))
        .collect();
    let mut connections = [backend.accept(&[]), backend.accept(&[])];
    for held in &mut connections {
        for _ in 0..STREAMS {
            held.whole_request();
        }
    }
    for held in &mut connections {
        goaway(held, 0, Reason::NO_ERROR);
    }
    let mut connections = [backend.accept(&[]), backend.accept(&[])];
    for held in &mut connections {
        for _ in 0..STREAMS {
            let stream = held.whole_request();
            held.response(stream, 200, "");
        }
    }
    for (number, response) in asked.into_iter().enumerate() {
        let response = clients[number / STREAMS].run(response).unwrap();
        assert_eq!(response.status(), 200, "{number}");
    }
}
