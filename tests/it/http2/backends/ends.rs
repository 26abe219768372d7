//! Streams and connections that end before their time: what is sent again, and who hears of it.

use std::time::Duration;

use h2::Reason;

use super::{DATA, GET, POST, asked, before, goaway, http2_client, reset};
use crate::support::Backend;
use crate::support::http2::{Frames, Http2};
use crate::support::http2_backend::{FramesBackend, Http2Backend, Seen};

/// RFC 9113 §8.7: a stream that was refused, or that GOAWAY says was not touched, did nothing, whatever its method.
#[test]
fn requests_that_were_not_processed_are_sent_again_whatever_their_method() {
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

#[test]
fn a_backend_that_is_alone_is_asked_once_more_by_a_new_connection() {
    for is_refusal in [true, false] {
        let (_proxy, mut client, backend, mut held, stream) = asked(POST, "");
        match is_refusal {
            true => reset(&mut held, stream, Reason::REFUSED_STREAM),
            false => goaway(&mut held, 0, Reason::NO_ERROR),
        }
        let mut other = backend.accept(&[]);
        let stream = other.whole_request();
        other.answer(stream, 200, "second");
        assert_eq!(client.read().text(), "second", "refused: {is_refusal}");
    }
}

#[test]
fn other_ends_are_retried_for_idempotent_methods_only() {
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

/// RFC 9113 §6.8: what is under way goes on, what comes goes elsewhere.
#[test]
fn a_connection_that_said_goodbye_finishes_and_gets_nothing_new() {
    let (proxy, mut client, backend, mut held, stream) = asked(POST, "");
    goaway(&mut held, stream, Reason::NO_ERROR);
    let mut second = proxy.client();
    second.send(POST);
    let mut other = backend.accept(&[]);
    let its = other.whole_request();
    other.answer(its, 200, "new");
    assert_eq!(second.read().text(), "new");
    held.answer(stream, 200, "old");
    assert_eq!(client.read().text(), "old");
    let lines = proxy.access_lines(2);
    assert!(lines.iter().all(|line| line["attempts"] == 1), "{lines:#?}");
}

#[test]
fn a_get_whose_connection_has_died_is_asked_again() {
    let (proxy, mut client, backend, mut held, stream) = asked(GET, "");
    held.answer(stream, 200, "one");
    assert_eq!(client.read().text(), "one");
    client.send(GET);
    held.whole_request();
    held.close();
    let mut other = backend.accept(&[]);
    let its = other.whole_request();
    other.answer(its, 200, "two");
    assert_eq!(client.read().text(), "two");
    assert!(backend.is_alone_for(Duration::from_millis(20)));
    assert_eq!(proxy.access_lines(2)[1]["attempts"], 2);
}

/// The slot is free again, and the backend knows that it works for nobody.
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
    let (answer, mut sending) = client.send("GET", "/hold", true);
    backend.wait_for("the second", is_asked(2));
    sending.send_reset(Reason::CANCEL);
    drop(answer);
    client.run(async { tokio::time::sleep(Duration::from_millis(20)).await });
    backend.wait_for("its end", |all| {
        (all.iter().filter(|seen| cancelled(seen)).count() == 2).then_some(())
    });
    assert_eq!(backend.count(|seen| *seen == Seen::Connection), 1);
    assert_eq!(proxy.access_line("/hold")["status"], 499);
}

/// A client that resets its stream is heard while its backend takes nothing, too.
#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_cancels_its_stream() {
    let (_proxy, (client, mut held)) = http2_client("");
    let (answer, mut sending) = client.send("POST", "/gone", false);
    let stream = held.request();
    // More than the balancer and the backend's window take.
    sending.reserve_capacity(1 << 20);
    sending.send_data(vec![b'x'; 1 << 20].into(), false).unwrap();
    client.run(async { tokio::time::sleep(Duration::from_millis(50)).await });
    sending.send_reset(Reason::CANCEL);
    drop(answer);
    client.run(async { tokio::time::sleep(Duration::from_millis(20)).await });
    assert_eq!(held.reset_of(stream), Some(Reason::CANCEL));
}
