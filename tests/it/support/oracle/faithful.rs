//! What a correct balancer sends to a backend for a given request. Written from the specification (design and RFC 9110
//! §7.6), not from the code.

use super::grammar::{Fields, Framing, elements, values};
use super::message::Request;

/// Headers that concern one hop, name the client, or are written anew.
const REPLACED: [&str; 16] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded",
    "x-real-ip",
    "x-request-id",
];

/// Fields that must not be in a trailer section: a backend might merge it into the headers (RFC 9110 §6.5.1).
const NEVER_TRAILERS: [&str; 9] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "transfer-encoding",
    "x-forwarded-for",
    "x-real-ip",
];

/// How `seen` differs from what `sent` requires. `is_whole` is whether the backend received the whole body.
pub(super) fn differences(sent: &Request, seen: &Request, is_whole: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: &str, is_same: bool, sent: &dyn std::fmt::Debug, seen: &dyn std::fmt::Debug| {
        if !is_same {
            found.push(format!("{what}: expected {sent:?}, seen {seen:?}"));
        }
    };
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    check(
        "method",
        sent.method == seen.method,
        &text(&sent.method),
        &text(&seen.method),
    );
    let target = target(sent);
    check(
        "target",
        target == seen.target,
        &text(&target),
        &text(&seen.target),
    );
    check("version", seen.version == 1, &1, &seen.version);
    let (theirs, ours) = (forwarded(sent), forwarded(seen));
    check("fields", theirs == ours, &shown(&theirs), &shown(&ours));
    let framing = framing(sent, seen);
    check("framing", framing == seen.framing, &framing, &seen.framing);
    let (whole, part) = (&sent.body.decoded, &seen.body.decoded);
    let is_same = if is_whole {
        whole == part
    } else {
        whole.starts_with(part)
    };
    check("body", is_same, &text(whole), &text(part));
    if is_whole {
        let trailers = (&sent.body.trailers, &seen.body.trailers);
        check(
            "trailers",
            are_trailers(trailers),
            &shown(trailers.0),
            &shown(trailers.1),
        );
    }
    found.extend(own_fields(sent, seen));
    found
}

/// The framing that a backend gets: an upgrade has not even a length of 0.
fn framing(sent: &Request, seen: &Request) -> Framing {
    let is_upgrade = !values(&seen.fields, "upgrade").is_empty();
    match sent.framing {
        Framing::Length(0) if is_upgrade => Framing::None,
        framing => framing,
    }
}

/// The headers that the balancer writes.
fn own_fields(sent: &Request, seen: &Request) -> Vec<String> {
    let mut found = Vec::new();
    let mut expect = |name: &str, is_right: &dyn Fn(&[&[u8]]) -> bool| {
        let values = values(&seen.fields, name);
        if !is_right(&values) {
            let shown: Vec<String> = values
                .iter()
                .map(|value| value.escape_ascii().to_string())
                .collect();
            found.push(format!("{name}: {shown:?}"));
        }
    };
    let host = host(sent);
    // An HTTP/1.0 client may omit it; the backend's own authority is used then.
    let is_host = |values: &[&[u8]]| match (&host, values) {
        (Some(host), [value]) => value == host,
        (None, [_]) => true,
        _ => false,
    };
    expect("host", &is_host);
    let client: [&[u8]; 1] = [b"127.0.0.1"];
    expect("x-forwarded-for", &|values| values == client);
    let scheme: [&[u8]; 1] = [b"http"];
    expect("x-forwarded-proto", &|values| values == scheme);
    expect("x-forwarded-host", &|values| {
        values.is_empty() || matches!((values, &host), ([value], Some(host)) if value == host)
    });
    expect("x-request-id", &|values| matches!(values, [id] if id.len() == 32));
    let way = format!("1.{} evenkeel-", sent.version);
    expect("via", &|values| {
        let [value] = values else { return false };
        let id = value.strip_prefix(way.as_bytes());
        id.is_some_and(|id| id.len() == 16 && id.iter().all(u8::is_ascii_hexdigit))
    });
    let is_asked = |name: &str, value: &[u8]| elements(&sent.fields, name).iter().any(|one| one == value);
    let may_be = |name: &'static str, value: &'static [u8]| {
        move |values: &[&[u8]]| {
            values.is_empty()
                || matches!(values, [one] if one.eq_ignore_ascii_case(value)) && is_asked(name, value)
        }
    };
    expect("te", &may_be("te", b"trailers"));
    expect("expect", &may_be("expect", b"100-continue"));
    expect("connection", &may_be("connection", b"upgrade"));
    expect("upgrade", &may_be("upgrade", b"websocket"));
    let names = seen.fields.iter().map(|(name, _)| name);
    let framing = ["content-length", "transfer-encoding"];
    let aliases = names.filter(|name| {
        let alias = alias(name);
        framing.contains(&alias.as_str()) && !name.eq_ignore_ascii_case(alias.as_bytes())
    });
    found.extend(aliases.map(|name| format!("may be taken for framing: {}", name.escape_ascii())));
    found
}

/// The request's authority: that of its target takes precedence over `Host` (RFC 9112 §3.2.2).
fn host(sent: &Request) -> Option<Vec<u8>> {
    let named = values(&sent.fields, "host").first().copied();
    let host = sent.authority_of_target().or(named)?;
    (sent.version == 1 || !host.is_empty()).then(|| host.to_vec())
}

/// A header name as CGI sees it: all punctuation is equal.
fn alias(name: &[u8]) -> String {
    let plain = name.iter().map(|byte| {
        let is_mark = !byte.is_ascii_alphanumeric();
        if is_mark {
            '-'
        } else {
            char::from(byte.to_ascii_lowercase())
        }
    });
    plain.collect()
}

/// The headers that are forwarded unchanged.
fn forwarded(request: &Request) -> Fields {
    let options = elements(&request.fields, "connection");
    let is_kept = |name: &[u8]| {
        let plain = name.to_ascii_lowercase();
        let alias = alias(name);
        let is_replaced = REPLACED.iter().any(|known| known.as_bytes() == plain)
            || alias.starts_with("x-forwarded-")
            || ["x-forwarded", "x-real-ip", "x-request-id"].contains(&alias.as_str());
        !is_replaced && !options.contains(&plain)
    };
    let kept = request.fields.iter().filter(|(name, _)| is_kept(name));
    kept.cloned().collect()
}

/// The target in origin-form, dot segments resolved (RFC 3986 §5.2.4).
fn target(sent: &Request) -> Vec<u8> {
    let mut target = sent.target.as_slice();
    if let Some(authority) = sent.authority_of_target() {
        let at = target.windows(3).position(|bytes| bytes == b"://");
        target = &target[at.unwrap_or_default() + 3 + authority.len()..];
        if target.is_empty() && sent.method == b"OPTIONS" {
            return b"*".to_vec();
        }
    }
    if target == b"*" {
        return target.to_vec();
    }
    let end = target
        .iter()
        .position(|byte| *byte == b'?')
        .unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut is_directory = path.is_empty();
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        let plain = String::from_utf8_lossy(segment)
            .to_lowercase()
            .replace("%2e", ".");
        is_directory = plain == "." || plain == "..";
        match plain.as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    if is_directory {
        kept.push(b"");
    }
    let path = kept.iter().flat_map(|segment| [b"/", *segment].concat());
    path.chain(query.iter().copied()).collect()
}

/// Whether `seen` are some of the trailers that were sent, in order, and none of them could change the message.
fn are_trailers((sent, seen): (&Fields, &Fields)) -> bool {
    let mut rest = sent.iter();
    seen.iter().all(|field| {
        let name = field.0.to_ascii_lowercase();
        rest.any(|one| one == field) && !NEVER_TRAILERS.iter().any(|never| never.as_bytes() == name)
    })
}

fn shown(fields: &Fields) -> String {
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{}: {}; ", name.escape_ascii(), value.escape_ascii()));
    lines.collect()
}
