//! The keys of `health_check` that say what an HTTP probe requests and expects beside path and status.

use evenkeel_wire::http1::is_token;

use crate::config::print::{Item, map, quoted, text};
use crate::config::reader::{Reader, written};
use crate::config::source::Diagnostic;
use crate::config::tree::Value;
use crate::health::BodyMatch;
use crate::schema::{Form, Key, Kind, Section};

/// Maximum number of headers of a probe.
const MAX_HEADERS: usize = 100;

/// `method`.
pub(super) const METHOD: Key = Key::new(
    "method",
    Kind::Choice(&crate::health::ProbeMethod::NAMES),
    "The method of a probe. `POST` is sent with an empty body. Only for `kind: http`.",
)
.default("GET");

/// `host`.
pub(super) const HOST: Key = Key::new(
    "host",
    Kind::Text(
        Form::new("a host with an optional port, such as app.internal").matching(r"^[A-Za-z0-9._\[\]:-]+$"),
    ),
    "The `Host` of a probe. Only for `kind: http`.",
)
.otherwise("the host and port of the backend's URL");

/// `headers`.
pub(super) const HEADERS: Key = Key::new(
    "headers",
    Kind::Map(&Kind::Text(Form::new("the value of a header"))),
    "Further headers of a probe, by name. `User-Agent` replaces the usual `evenkeel-health-check`. Only for `kind: http`.",
)
.otherwise("none");

/// `body`.
pub(super) const BODY: Key = Key::new(
    "body",
    Kind::Section(&BODY_SECTION),
    "What the body of the response must contain. Only for `kind: http`.",
)
.otherwise("the body is not looked at");

/// A value of `body`.
pub(super) const BODY_SECTION: Section = Section {
    name: "health_check.body",
    about: "What the first 64 KiB of the response's body must contain: one of the two.",
    keys: &[
        Key::new(
            "contains",
            Kind::Text(Form::new("a text")),
            "A text, compared with case.",
        )
        .otherwise("any text"),
        Key::new(
            "regex",
            Kind::Text(Form::new("a regular expression")),
            "A regular expression that matches anywhere in the body.",
        )
        .otherwise("any text"),
    ],
};

/// Headers that a probe writes itself, or that cannot be part of one.
const OWN_HEADERS: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-connection",
    "http2-settings",
];

/// Reads `host`.
pub(super) fn host(reader: &Reader<'_>) -> Option<String> {
    let written = reader.text("host")?;
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._[]:-".contains(&byte);
    if written.text.is_empty() || !written.text.bytes().all(is_valid) {
        reader.refuse("host", written, None);
        return None;
    }
    Some(written.text.to_owned())
}

/// Reads `headers`.
pub(super) fn headers(reader: &Reader<'_>) -> Option<Vec<(String, String)>> {
    let node = reader.node("headers")?;
    let Value::Map(entries) = &node.value else {
        reader.refuse_node("headers", node);
        return None;
    };
    if entries.len() > MAX_HEADERS {
        let message = format!("`headers` has more than {MAX_HEADERS} items");
        reader.cx.report(Diagnostic::error(node.span, message));
    }
    let mut headers = Vec::new();
    for entry in entries {
        let name = entry.key.to_ascii_lowercase();
        if !is_token(name.as_bytes()) {
            let message = format!("{} is not a valid header name", reader.cx.quote(entry.key_span));
            reader.cx.report(Diagnostic::error(entry.key_span, message));
        } else if OWN_HEADERS.contains(&name.as_str()) {
            let message = format!(
                "a probe cannot have the header {}",
                reader.cx.quote(entry.key_span)
            );
            let note = match name.as_str() {
                "host" => "use `host`",
                _ => "the probe writes it itself where it is needed",
            };
            let diagnostic = Diagnostic::error(entry.key_span, message).note(note);
            reader.cx.report(diagnostic);
        }
        let Some(value) = written(&entry.value) else {
            reader.refuse_node("headers", &entry.value);
            continue;
        };
        // RFC 9110 section 5.5, without bytes beyond ASCII.
        let is_valid = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
        if !value.text.bytes().all(is_valid) || value.text.trim() != value.text {
            reader.refuse("headers", value, None);
            continue;
        }
        headers.push((entry.key.clone(), value.text.to_owned()));
    }
    Some(headers)
}

/// Reads `body`.
pub(super) fn body(reader: &Reader<'_>) -> Option<BodyMatch> {
    let node = reader.node("body")?;
    let inner = Reader::open(reader.cx, &BODY_SECTION, node)?;
    let (contains, regex) = (inner.text("contains"), inner.text("regex"));
    match (contains, regex) {
        (Some(contains), None) if !contains.text.is_empty() => {
            Some(BodyMatch::Contains(contains.text.to_owned()))
        }
        (None, Some(regex)) => match BodyMatch::regex(regex.text) {
            Ok(found) => Some(found),
            Err(why) => {
                let message = format!("invalid value for `regex`: {why}");
                reader.cx.report(Diagnostic::error(regex.span, message));
                None
            }
        },
        _ => {
            let message = "`body` requires either `contains` with a text, or `regex`";
            reader.cx.report(Diagnostic::error(node.span, message));
            None
        }
    }
}

/// Prints `headers`.
pub(super) fn show_headers(headers: &[(String, String)]) -> Item {
    Item::Map(
        headers
            .iter()
            .map(|(name, value)| (quoted(name), text(value)))
            .collect(),
    )
}

/// Prints `body`.
pub(super) fn show_body(body: &BodyMatch) -> Item {
    match body {
        BodyMatch::Contains(found) => map([("contains", text(found))]),
        BodyMatch::Regex(regex) => map([("regex", text(regex.as_str()))]),
    }
}
