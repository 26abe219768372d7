//! The properties of every run, whatever was sent.

use super::backend::Attempt;
use super::client::Got;
use crate::reference::{Fields, Request, Response, options, stays_open, values};

/// Headers that are not forwarded, in either direction.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "content-length",
    "content_length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Judges a run by what the client sent, what reached backends and what the client got. A client that `stayed` got
/// responses to all requests.
pub(super) fn judge(sent: &[u8], attempts: &[Attempt], got: &Got, stayed: bool) {
    let requests = Request::read_all(sent);
    let ordinals = ordinals(attempts);
    for (attempt, ordinal) in attempts.iter().zip(&ordinals) {
        let Some(request) = requests.get(*ordinal) else {
            panic!("nobody sent {:?}", attempt.request);
        };
        is_forwarded(request, &attempt.request);
    }
    let rest = &sent[requests.iter().map(|request| request.length).sum()..];
    let rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    // A refused request has a response of this form too.
    let mut are_head: Vec<bool> = requests.iter().map(|request| request.method == "HEAD").collect();
    are_head.push(rest.starts_with(b"HEAD "));
    let responded = judge_responses(&requests, &are_head, (attempts, &ordinals), got);
    if stayed && let Some(responded) = responded {
        assert!(
            responded >= requests.len(),
            "{responded} of {} answered",
            requests.len()
        );
    }
}

/// Maps each attempt to its request, by the request id that the balancer added. Requests are processed in order.
fn ordinals(attempts: &[Attempt]) -> Vec<usize> {
    let mut ids: Vec<&[u8]> = Vec::new();
    let mut ordinals = Vec::new();
    for attempt in attempts {
        let id = only(&attempt.request.fields, "x-request-id").expect("a request id");
        if ids.last() != Some(&id) {
            assert!(!ids.contains(&id), "an earlier request is tried again");
            ids.push(id);
        }
        ordinals.push(ids.len() - 1);
    }
    ordinals
}

/// A backend gets what the client meant, and nothing else.
fn is_forwarded(sent: &Request, arrived: &Request) {
    assert_eq!(
        (&sent.method, &sent.target.path, &sent.target.query),
        (&arrived.method, &arrived.target.path, &arrived.target.query)
    );
    assert!(arrived.is_11 && arrived.target.authority.is_none());
    assert_eq!(
        end_to_end(&sent.fields, is_of_request),
        end_to_end(&arrived.fields, is_of_request)
    );
    let authority = sent.target.authority.as_deref().map(str::as_bytes);
    let host = authority.or_else(|| only(&sent.fields, "host"));
    let host = host.filter(|host| sent.is_11 || !host.is_empty());
    let arrived_host = only(&arrived.fields, "host").expect("a host");
    match host {
        Some(host) => assert_eq!(arrived_host, host),
        None => assert!(arrived_host.starts_with(b"127.0.0.1:")),
    }
    assert_eq!(only(&arrived.fields, "x-forwarded-for"), Some(&b"127.0.0.1"[..]));
    assert_eq!(only(&arrived.fields, "x-forwarded-proto"), Some(&b"http"[..]));
    assert_eq!(
        only(&arrived.fields, "x-forwarded-host").unwrap_or_default(),
        host.unwrap_or_default()
    );
    assert!(only(&arrived.fields, "via").is_some());
    for option in options(&arrived.fields) {
        match &*option {
            b"upgrade" => assert!(only(&arrived.fields, "upgrade").is_some()),
            b"te" => assert_eq!(only(&arrived.fields, "te"), Some(&b"trailers"[..])),
            other => panic!("a connection option {}", other.escape_ascii()),
        }
    }
    if arrived.body.is_whole {
        assert!(sent.body.is_whole, "a cut body became a whole one");
        assert_eq!(arrived.body.payload, sent.body.payload);
    } else {
        assert!(sent.body.payload.starts_with(&arrived.body.payload));
    }
}

/// Each request has one final response, in order: from a backend that was tried, complete if it was complete, or a
/// local response. Returns their number, unless the last one announces that no more will follow.
fn judge_responses(
    requests: &[Request],
    are_head: &[bool],
    (attempts, ordinals): (&[Attempt], &[usize]),
    got: &Got,
) -> Option<usize> {
    let mut rest = &got.bytes[..];
    if rest.is_empty() {
        return Some(0);
    }
    for index in 0.. {
        let is_to_head = are_head.get(index).copied().unwrap_or_default();
        let response = Response::read_final(rest, is_to_head, got.end == Some(Ok(())));
        let is_end = response
            .as_ref()
            .is_none_or(|response| response.status == 101 || !response.body.is_whole);
        let length = match &response {
            Some(response) if !is_end => response.length,
            _ => rest.len(),
        };
        let is_others = |(_, ordinal): &(&Attempt, &usize)| **ordinal != index;
        for (attempt, _) in attempts.iter().zip(ordinals).filter(is_others) {
            assert!(
                !contains(&rest[..length], attempt.nonce.as_bytes()),
                "another request's answer"
            );
        }
        let Some(response) = response else {
            assert!(is_head_cut(rest), "no answer: {}", rest.escape_ascii());
            return None;
        };
        let is_of_this = |(_, ordinal): &(&Attempt, &usize)| **ordinal == index;
        let mut asked = attempts.iter().zip(ordinals).filter(is_of_this);
        let is_a_backends = asked.any(|(attempt, _)| is_response_of(&response, attempt, is_to_head));
        assert!(
            is_a_backends || is_local_response(&response),
            "whose is {response:?}"
        );
        assert!(index <= requests.len(), "too many answers");
        rest = &rest[length..];
        let is_11 = requests.get(index).is_none_or(|request| request.is_11);
        if is_end || !stays_open(&response.fields, is_11) {
            assert!(
                is_end || rest.is_empty(),
                "more after the last: {}",
                rest.escape_ascii()
            );
            return None;
        }
        if rest.is_empty() {
            return Some(index + 1);
        }
    }
    None
}

/// Whether the client got this backend response, or its beginning.
fn is_response_of(got: &Response, attempt: &Attempt, is_to_head: bool) -> bool {
    let Some(sent) = Response::read_final(&attempt.response, is_to_head, attempt.has_ended) else {
        return false;
    };
    let has_date = values(&sent.fields, "date").next().is_some();
    let is_ours = |name: &str| {
        let is_framing = matches!(&*dashed(name), "content-length" | "transfer-encoding");
        HOP_BY_HOP.contains(&name) || is_framing || (!has_date && name == "date")
    };
    got.status == sent.status
        && end_to_end(&got.fields, is_ours) == end_to_end(&sent.fields, is_ours)
        && if got.body.is_whole {
            sent.body.is_whole && got.body.payload == sent.body.payload
        } else {
            sent.body.payload.starts_with(&got.body.payload)
        }
}

/// A local response: an error, or the empty one to `OPTIONS` with `Max-Forwards: 0` (RFC 9110 §7.6.2).
fn is_local_response(response: &Response) -> bool {
    let known = [
        "allow",
        "connection",
        "content-length",
        "content-type",
        "date",
        "retry-after",
        "x-request-id",
    ];
    (response.status >= 400 || response.status == 200 && response.body.payload.is_empty())
        && response
            .fields
            .iter()
            .all(|(name, _)| known.contains(&name.as_str()))
        && only(&response.fields, "content-length").is_some()
}

/// Whether the bytes are interim responses followed by at most a part of a head.
fn is_head_cut(mut bytes: &[u8]) -> bool {
    while let Some(interim) = Response::read(bytes, false, false) {
        if interim.status >= 200 {
            return false;
        }
        bytes = &bytes[interim.length..];
    }
    !contains(bytes, b"\r\n\r\n")
}

/// The headers that are forwarded end to end.
fn end_to_end(fields: &Fields, is_dropped: impl Fn(&str) -> bool) -> Vec<&(String, Vec<u8>)> {
    let listed: Vec<_> = options(fields).collect();
    let is_kept = |(name, _): &&(String, Vec<u8>)| {
        !is_dropped(name) && (is_protected(name) || !listed.iter().any(|option| option == name.as_bytes()))
    };
    fields.iter().filter(is_kept).collect()
}

fn is_of_request(name: &str) -> bool {
    HOP_BY_HOP.contains(&name) || is_protected(name) || name == "expect"
}

/// Headers that `Connection` cannot remove.
fn is_protected(name: &str) -> bool {
    let dashed = dashed(name);
    matches!(name, "forwarded" | "host" | "via")
        || matches!(
            &*dashed,
            "x-forwarded" | "x-real-ip" | "x-request-id" | "content-length" | "transfer-encoding"
        )
        || dashed.starts_with("x-forwarded-")
}

/// A name as backends see it that treat all punctuation alike.
fn dashed(name: &str) -> String {
    name.replace(|char: char| !char.is_ascii_alphanumeric(), "-")
}

/// The value of a header that occurs at most once.
fn only<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    let mut values = values(fields, name);
    let value = values.next();
    assert!(values.next().is_none(), "{name} twice");
    value
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
