//! The policies that most routes have, as parts.

use std::net::Ipv4Addr;
use std::time::UNIX_EPOCH;

use evenkeel::internals::clock;
use evenkeel_balance::kept::Kept;
use evenkeel_balance::policy::{Context, Decision, Notes, by_name};
use evenkeel_balance::request::Request;
use evenkeel_balance::schema::{Params, Value};
use evenkeel_wire::head::RequestHead;
use evenkeel_wire::http1::HeadScan;

use crate::parts::{Part, read};
use crate::rules;

/// All of them.
pub(crate) fn all() -> Vec<Part> {
    let text = |text: &str| Value::Text(text.to_owned());
    let blocks = rules::blocks().iter().map(|block| text(block)).collect();
    let algorithms = Value::List(vec![Value::Word("HS256")]);
    vec![
        check("ip", "list of 1,000 blocks", [("deny", Value::List(blocks))]),
        check(
            "rate_limit",
            "by client address",
            [("rate", text("1000000/s")), ("burst", Value::Count(1_000_000))],
        ),
        check(
            "jwt",
            "verified before",
            [("secret_file", text("secret")), ("algorithms", algorithms)],
        ),
    ]
}

/// Checks a request that the policy admits.
fn check<const N: usize>(kind: &str, about: &str, values: [(&'static str, Value); N]) -> Part {
    let mut params = Params::default();
    for (key, value) in values {
        params.set(key, value);
    }
    let entry = by_name(kind).expect("there is such a policy");
    let policy = (entry.build)(Context {
        name: kind,
        params: &params,
        kept: &mut Kept::default().next(),
    });
    let policy = policy.expect("the parameters are right");
    for feed in policy.feeds() {
        feed.take(rules::SECRET.as_bytes()).expect("it is a secret");
    }
    let text = format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\nAuthorization: Bearer {}\r\n\r\n",
        rules::token()
    );
    let (mut head, mut notes) = (RequestHead::default(), Notes::default());
    read(&text, &mut HeadScan::default(), &mut head);
    let now = clock::instant();
    Part::new(format!("policy: {kind}, {about}"), move || {
        let request = Request {
            head: &head,
            client_ip: Some(Ipv4Addr::LOCALHOST.into()),
            is_secure: false,
            listener: 0,
            now,
            wall: UNIX_EPOCH,
            random: 1,
        };
        notes.clear();
        let decision = policy.check(&request, &mut notes);
        assert!(matches!(decision, Decision::Continue));
    })
}
