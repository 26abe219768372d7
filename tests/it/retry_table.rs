//! The whole table of what is retried: each failure, for each class of requests, with both versions of HTTP in front and behind.
//! It counts what the backends have got: no request is lost that may be sent again, and none is sent again that may not.
//! Reused connections that end are in `stale`.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use h2::Reason;
use http::Request as HttpRequest;

use crate::support::http2::{Frames, Http2, request};
use crate::support::{Backend, Gate, Proxy, Request, Response, refusing_address};

/// A body up to this size can be sent again.
const CONFIG: &str =
    "workers: 1\nhealth_check: { kind: none }\nretry: { replay_limit: 10B }\ntimeouts: { first_byte: 200ms }";

/// What happens to the attempt at the first backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    ConnectRefused,
    /// A stream is refused, or excluded by GOAWAY (RFC 9113 §8.7).
    RefusedStream,
    GoAway,
    /// The stream is reset for another reason.
    StreamReset,
    /// The connection ends with a FIN or a RST, without a byte of a response.
    Closed,
    Reset,
    Timeout,
    Status(u16),
    /// The connection ends within the response.
    CutResponse,
}

/// A class of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Get,
    /// Idempotent, with a body that is kept.
    Put,
    /// Idempotent, with a body that is not kept.
    LongPut,
    Post,
    /// With an `Idempotency-Key`.
    KeyedPost,
}

const CLASSES: [Class; 5] = [
    Class::Get,
    Class::Put,
    Class::LongPut,
    Class::Post,
    Class::KeyedPost,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// What the client gets for a request whose first attempt meets the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// No complete response.
    Broken,
    Status(u16),
}

impl Event {
    /// The table.
    fn outcome(self, class: Class) -> Outcome {
        let is_kept = class != Class::LongPut;
        let is_repeatable = matches!(class, Class::Get | Class::Put | Class::KeyedPost);
        let (is_retried, failure) = match self {
            Self::ConnectRefused => (true, Outcome::Status(503)),
            Self::RefusedStream | Self::GoAway => (is_kept, Outcome::Status(502)),
            Self::StreamReset | Self::Closed | Self::Reset => (is_repeatable, Outcome::Status(502)),
            Self::Timeout => (is_repeatable, Outcome::Status(504)),
            Self::Status(503) => (is_kept, Outcome::Status(503)),
            // Not retried by default: the request may have been processed.
            Self::Status(status) => (false, Outcome::Status(status)),
            Self::CutResponse => (false, Outcome::Broken),
        };
        if is_retried { Outcome::Status(200) } else { failure }
    }

    /// Whether the backend gets the request, as far as anybody can know.
    fn is_received(self) -> bool {
        self != Self::ConnectRefused
    }

    /// Whether the backend says that it did not process the request.
    fn is_refusal(self) -> bool {
        matches!(self, Self::RefusedStream | Self::GoAway | Self::Status(503))
    }
}

impl Class {
    fn parts(self) -> (&'static str, Option<&'static str>, &'static str) {
        match self {
            Self::Get => ("GET", None, ""),
            Self::Put => ("PUT", None, "short"),
            Self::LongPut => ("PUT", None, "longer than ten bytes"),
            Self::Post => ("POST", None, "short"),
            Self::KeyedPost => ("POST", Some("8e03978e-40d5"), "short"),
        }
    }

    /// Sends a request of this class for a path.
    fn ask(self, proxy: &Proxy, front: Version, path: &str) -> Outcome {
        let (method, key, body) = self.parts();
        match front {
            Version::Http1 => {
                let key = key.map_or_else(String::new, |key| format!("Idempotency-Key: {key}\r\n"));
                let length = match body {
                    "" => String::new(),
                    body => format!("Content-Length: {}\r\n", body.len()),
                };
                let text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{key}{length}\r\n{body}");
                let got = proxy.client().send(text).try_read();
                got.map_or(Outcome::Broken, |got| Outcome::Status(got.status()))
            }
            Version::Http2 => {
                let mut asked: HttpRequest<()> = request(method, path);
                if let Some(key) = key {
                    asked
                        .headers_mut()
                        .insert("idempotency-key", key.parse().unwrap());
                }
                let got = Http2::connect(proxy.address()).ask(asked, body.as_bytes());
                got.map_or(Outcome::Broken, |got| Outcome::Status(got.head.status().as_u16()))
            }
        }
    }
}

/// A backend at which every request meets the event.
struct Bad {
    url: String,
    received: Arc<AtomicUsize>,
    /// Opens when the test is over.
    gate: Gate,
    /// Keeps a backend alive, or a port that refuses.
    _held: Box<dyn std::any::Any>,
}

impl Bad {
    fn start(event: Event, behind: Version) -> Self {
        let (received, gate) = (Arc::new(AtomicUsize::new(0)), Gate::default());
        let (url, held): (String, Box<dyn std::any::Any>) = match (event, behind) {
            (Event::ConnectRefused, _) => {
                let (address, socket) = refusing_address();
                let scheme = if behind == Version::Http1 { "http" } else { "h2c" };
                (format!("{scheme}://{address}"), Box::new(socket))
            }
            (_, Version::Http1) => {
                let (its, its_gate) = (Arc::clone(&received), gate.clone());
                let backend = Backend::start(move |_| {
                    its.fetch_add(1, Ordering::SeqCst);
                    http1_response(event, &its_gate)
                });
                (backend.url(), Box::new(backend))
            }
            (_, Version::Http2) => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let address = listener.local_addr().unwrap();
                let its = Arc::clone(&received);
                // It ends with the process of the tests.
                thread::spawn(move || {
                    for stream in listener.incoming().flatten() {
                        let its = Arc::clone(&its);
                        thread::spawn(move || serve_http2(stream, event, &its));
                    }
                });
                (format!("h2c://{address}"), Box::new(()))
            }
        };
        Self {
            url,
            received,
            gate,
            _held: held,
        }
    }
}

fn http1_response(event: Event, gate: &Gate) -> Response {
    match event {
        Event::Closed => Response::nothing().close(),
        Event::Reset => Response::nothing().reset(),
        Event::Timeout => Response::nothing().wait(gate).close(),
        Event::Status(status) => Response::status(status, "bad"),
        Event::CutResponse => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").close(),
        Event::ConnectRefused | Event::RefusedStream | Event::GoAway | Event::StreamReset => {
            unreachable!("HTTP/1 has no {event:?}")
        }
    }
}

fn serve_http2(stream: TcpStream, event: Event, received: &AtomicUsize) {
    let mut held = Frames::of_server(stream, &[]);
    // The last frame of a request is DATA or HEADERS with END_STREAM.
    while let Some(frame) = held.wait_for(|frame| frame.kind <= 1 && frame.flags & 1 != 0) {
        received.fetch_add(1, Ordering::SeqCst);
        let stream = frame.stream;
        let reset = |reason: Reason| u32::from(reason).to_be_bytes();
        match event {
            Event::RefusedStream => held.send(3, 0, stream, &reset(Reason::REFUSED_STREAM)),
            Event::StreamReset => held.send(3, 0, stream, &reset(Reason::INTERNAL_ERROR)),
            Event::GoAway => {
                held.send(7, 0, 0, &[0; 8]);
                return;
            }
            Event::Closed => return held.close(),
            Event::Status(status) => held.response(stream, status, "bad"),
            Event::Timeout => {}
            Event::ConnectRefused | Event::Reset | Event::CutResponse => {
                unreachable!("{event:?} is tested with HTTP/1")
            }
        }
    }
}

/// Sends two requests of each class, of which each of two backends is the first one's once: one of them meets the event.
fn check(event: Event, behind: Version, front: Version) {
    for class in CLASSES {
        let what = format!("{event:?} behind {behind:?}, {class:?} over {front:?}");
        let bad = Bad::start(event, behind);
        let good = Backend::saying("good");
        let proxy = Proxy::before(&[])
            .backend(&bad.url)
            .backend(&good.url())
            .config(CONFIG)
            .start();
        let mut outcomes = ["/1", "/2"].map(|path| class.ask(&proxy, front, path));
        outcomes.sort_unstable();
        let expected = event.outcome(class);
        let mut both = [Outcome::Status(200), expected];
        both.sort_unstable();
        assert_eq!(outcomes, both, "{what}");

        let is_retried = expected == Outcome::Status(200);
        let received = bad.received.load(Ordering::SeqCst);
        assert_eq!(
            received,
            usize::from(event.is_received()),
            "{what}: at the first backend"
        );
        let mut paths: Vec<_> = good
            .requests(|_| true)
            .iter()
            .map(|request: &Request| request.start().to_owned())
            .collect();
        assert_eq!(
            paths.len(),
            1 + usize::from(is_retried),
            "{what}: at the other one"
        );
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), 1 + usize::from(is_retried), "{what}: one came twice");
        if class == Class::Post && !event.is_refusal() {
            let sent = received + paths.len();
            assert_eq!(sent, 2, "{what}: two requests were sent once each");
        }
        bad.gate.open();
    }
}

const HTTP1_EVENTS: [Event; 8] = [
    Event::ConnectRefused,
    Event::Closed,
    Event::Reset,
    Event::Timeout,
    Event::Status(502),
    Event::Status(503),
    Event::Status(504),
    Event::CutResponse,
];

const HTTP2_EVENTS: [Event; 7] = [
    Event::ConnectRefused,
    Event::RefusedStream,
    Event::GoAway,
    Event::StreamReset,
    Event::Closed,
    Event::Timeout,
    Event::Status(503),
];

#[test]
fn http1_in_front_and_behind() {
    for event in HTTP1_EVENTS {
        check(event, Version::Http1, Version::Http1);
    }
}

#[test]
fn http2_in_front_and_http1_behind() {
    for event in HTTP1_EVENTS {
        check(event, Version::Http1, Version::Http2);
    }
}

#[test]
fn http1_in_front_and_http2_behind() {
    for event in HTTP2_EVENTS {
        check(event, Version::Http2, Version::Http1);
    }
}

#[test]
fn http2_in_front_and_behind() {
    for event in HTTP2_EVENTS {
        check(event, Version::Http2, Version::Http2);
    }
}
