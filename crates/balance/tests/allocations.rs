//! Checks that what a route changes in its requests allocates nothing once the buffers have grown. A test binary of its own with a
//! single test, because a process has one allocator.
#![allow(clippy::unwrap_used, reason = "a crate of tests: a failure is a panic")]

use std::alloc::System;
use std::time::SystemTime;

use evenkeel_balance::action::Redirect;
use evenkeel_balance::edits::{Direction, HeaderEdits};
use evenkeel_balance::local::{Problem, render};
use evenkeel_balance::policy::Notes;
use evenkeel_balance::request::Request;
use evenkeel_balance::rewrite::Rewrite;
use evenkeel_balance::schema::{ANY, Params, Value};
use evenkeel_balance::template::{Fact, Variables};
use evenkeel_wire::head::RequestHead;
use evenkeel_wire::http1::{HeadScan, Kind, Limits, parse_request};
use evenkeel_wire::instant::Instant;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] = b"GET /v1/x?a=1 HTTP/1.1\r\nHost: a.test\r\nX-Tag: 1\r\nCookie: b=2\r\n\r\n";

struct Source<'a>(Request<'a>);

impl Variables for Source<'_> {
    fn request(&self) -> Request<'_> {
        self.0
    }

    fn notes(&self) -> Option<&Notes> {
        None
    }

    fn client_port(&self) -> Option<u16> {
        Some(1)
    }

    fn fact(&self, _: Fact) -> &[u8] {
        b"fact"
    }

    fn path_group(&self, _: &str) -> &[u8] {
        b"group"
    }
}

fn head() -> RequestHead {
    let mut scan = HeadScan::default();
    let end = scan.advance(REQUEST, Kind::Request, &Limits::default());
    let mut head = RequestHead {
        bytes: REQUEST.to_vec(),
        ..RequestHead::default()
    };
    parse_request(&mut head, &scan, end.unwrap().unwrap()).unwrap();
    head
}

fn params(values: &[(&'static str, Value)]) -> Params {
    let mut params = Params::default();
    for (key, value) in values {
        params.set(key, value.clone());
    }
    params
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn edits() -> HeaderEdits {
    let value = text("${client_ip} ${client_port} ${header.X-Tag} ${query.a} ${cookie.b} ${request_id}");
    let set = params(&[(ANY, Value::Named(vec![("X-A".to_owned(), value)]))]);
    let remove = Value::List(vec![text("X-Debug")]);
    let params = params(&[("set", Value::Section(set)), ("remove", remove)]);
    HeaderEdits::build(&params, Direction::Request, &[]).unwrap()
}

#[test]
fn changes_of_requests_allocate_nothing_once_buffers_have_grown() {
    let head = head();
    let request = Request {
        head: &head,
        client_ip: Some([192, 0, 2, 7].into()),
        is_secure: false,
        listener: 0,
        now: Instant::from_nanos(0),
        wall: SystemTime::UNIX_EPOCH,
        random: 0,
    };
    let (none, edits) = (HeaderEdits::default(), edits());
    let prefix = params(&[("path_prefix", text("/v2"))]);
    let rewrites = [Rewrite::default(), Rewrite::build(&prefix, Some("/v1")).unwrap()];
    let redirect = Redirect::build(&params(&[("host", text("b.test"))]), &Default::default()).unwrap();
    let problem = Problem {
        status: 502,
        code: "backend_reset",
        title: "Bad Gateway",
        request_id: Some(b"abc"),
    };
    let (mut buffer, mut out) = (Vec::with_capacity(2_048), Vec::with_capacity(2_048));

    let mut run = || {
        let region = Region::new(ALLOCATOR);
        let mut removed = 0;
        let mut written = 0;
        for _ in 0..100 {
            for edits in [&none, &edits] {
                removed += usize::from(edits.removes(b"x_debug"));
                edits.write(
                    || Source(request),
                    &mut buffer,
                    |_, value, _| written += value.bytes().len(),
                );
            }
            for rewrite in &rewrites {
                rewrite.path(request.path(), &mut out).unwrap();
            }
            out.clear();
            redirect.location(&request, &mut out).unwrap();
            for accept in [&b"text/html"[..], b"application/json;q=0.5", b"*/*"] {
                out.clear();
                render([accept], &problem, &mut out);
            }
        }
        (region.change(), removed, written)
    };
    // Another thread of the test program may allocate meanwhile: one of a few runs must allocate nothing.
    let outcomes: Vec<_> = (0..5).map(|_| run()).collect();
    let allocates = |change: &Stats| (change.allocations, change.reallocations) != (0, 0);
    assert!(
        !outcomes.iter().all(|(change, ..)| allocates(change)),
        "{outcomes:?}"
    );
    let (_, removed, written) = outcomes[0];
    assert_eq!((removed, written), (100, 100 * "192.0.2.7 1 1 1 2 fact".len()));
}
