//! `tracing`: where spans of requests are exported, and which requests are recorded.

use evenkeel_wire::http1::is_token;

use crate::config::print::{Item, map, masked, quoted, text, word};
use crate::config::reader::{Reader, Written, is_off, written};
use crate::config::source::Diagnostic;
use crate::config::tree::Value;
use crate::proxy::TrustedProxies;
use crate::schema::units::{parse_decimal, show_decimal};
use crate::schema::{Form, Key, Kind, Section};
use crate::telemetry::trace::{Endpoint, Parents, Settings};

/// `tracing` as a map.
pub(super) const TRACING: Section = Section {
    name: "tracing",
    about: "Tracing with W3C Trace Context and B3: the trace of each request is continued or begun and passed on to backends, and spans of a share of all requests are exported by OTLP. See [tracing](tracing.md).",
    keys: &[
        Key::new(
            "otlp",
            Kind::Text(
                Form::new("a URL such as http://127.0.0.1:4318 (OTLP over HTTP) or grpc://127.0.0.1:4317 (over gRPC), with TLS https:// or grpcs://")
                    .matching("^(http|https|grpc|grpcs)://.+"),
            ),
            "The collector. The default ports are 4318 for HTTP and 4317 for gRPC. Over HTTP, spans are sent to `/v1/traces` below the path of the URL.",
        )
        .required(),
        Key::new(
            "sample",
            Kind::Text(
                Form::new("a percentage from 0% to 100%, such as 1% or 0.05%").matching(r"^[0-9]{1,3}(\.[0-9]{1,3})?%$"),
            ),
            "The share of traces that are recorded where no caller has decided. A caller's decision is followed. `parent` records nothing else, as does `0%`.",
        )
        .words(&[PARENT])
        .default("1%"),
        Key::new(
            "parent",
            Kind::Choice(&[ANY, TRUSTED]),
            "Whose trace is continued, and whose decision to record is followed: that of every client, or only that of `trusted_proxies`. Other clients' headers of traces are replaced.",
        )
        .default(ANY),
        Key::new(
            "service_name",
            Kind::Text(Form::new("a name").matching("^.{1,255}$")),
            "The attribute `service.name` of all spans.",
        )
        .default(Settings::SERVICE_NAME),
        Key::new(
            "headers",
            Kind::Map(&Kind::Text(Form::new("the value of a header"))),
            "Further headers of exports, by name, such as `Authorization`. Write secrets as variables: `Authorization: \"Bearer ${OTLP_KEY}\"`.",
        )
        .otherwise("none"),
    ],
};

/// `tracing` at top level.
pub(super) const KEY: Key = Key::new(
    "tracing",
    Kind::Section(&TRACING),
    "Where spans of requests are exported. Without it, tracing is off, and headers of traces pass through unchanged.",
)
.words(&["off"])
.otherwise("off");

/// The words of `sample` and `parent`.
const PARENT: &str = "parent";
const ANY: &str = "any";
const TRUSTED: &str = "trusted_proxies";

/// Longest name of a service, in bytes.
const LONGEST_NAME: usize = 255;

/// Maximum number of further headers.
const MAX_HEADERS: usize = 32;

/// Headers that the exporter writes itself, or that cannot be part of an export.
const OWN_HEADERS: &[&str] = &[
    "host",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Reads `tracing`. `None` when it is off or its collector is not valid, which is reported.
pub(super) fn read(root: &Reader<'_>, trusted: &TrustedProxies) -> Option<Settings> {
    let node = root.node("tracing")?;
    if is_off(&node.value) {
        return None;
    }
    let reader = Reader::open(root.cx, &TRACING, node)?;
    reader.require("otlp");
    let sample = sample(&reader);
    let parents = parents(&reader, trusted);
    let service_name = service_name(&reader);
    let headers = headers(&reader);
    Some(Settings {
        endpoint: endpoint(&reader)?,
        sample,
        parents,
        service_name,
        headers,
    })
}

/// Prints tracing that is on.
pub(super) fn show(settings: &Settings) -> Item {
    let sample = match settings.sample {
        0 => word(PARENT),
        sample => word(format!("{}%", show_decimal(sample))),
    };
    let parents = match settings.parents {
        Parents::Any => ANY,
        Parents::TrustedProxies => TRUSTED,
    };
    let headers = settings.headers.iter();
    let headers = headers.map(|(name, _)| (quoted(name), masked())).collect();
    map([
        ("otlp", text(&settings.endpoint.url)),
        ("sample", sample),
        ("parent", word(parents)),
        ("service_name", text(&settings.service_name)),
        ("headers", Item::Map(headers)),
    ])
}

fn endpoint(reader: &Reader<'_>) -> Option<Endpoint> {
    let written = reader.text("otlp")?;
    let endpoint = Endpoint::parse(written.text);
    if endpoint.is_none() {
        let with_scheme = format!("http://{}", written.text);
        let hint = match written.text.contains("://") {
            true if written.text.contains('@') => {
                Some("write credentials as `headers: { Authorization: … }`".to_owned())
            }
            true => None,
            false => Endpoint::parse(&with_scheme).map(|_| format!("did you mean `{with_scheme}`?")),
        };
        reader.refuse("otlp", written, hint);
    }
    endpoint
}

/// Reads `sample` in thousandths of a percent.
fn sample(reader: &Reader<'_>) -> u32 {
    let default = || TRACING.key("sample").and_then(|key| share(key.default_text()));
    let read = |written: Written<'_>| {
        let found = share(written.text);
        if found.is_none() {
            let percent = format!("{}%", written.text.trim_end_matches([' ', '%']));
            let hint = share(&percent).map(|_| format!("did you mean `{percent}`?"));
            reader.refuse("sample", written, hint);
        }
        found
    };
    reader.text("sample").and_then(read).or_else(default).unwrap_or(0)
}

fn share(text: &str) -> Option<u32> {
    if text == PARENT {
        return Some(0);
    }
    let share = parse_decimal(text.strip_suffix('%')?)?;
    (share <= Settings::ALL).then_some(share)
}

fn parents(reader: &Reader<'_>, trusted: &TrustedProxies) -> Parents {
    if reader.choice("parent", None) != TRUSTED {
        return Parents::Any;
    }
    if let (Some(span), true) = (reader.key_span("parent"), *trusted == TrustedProxies::default()) {
        let message = format!("`parent: {TRUSTED}` requires `trusted_proxies`");
        let note = "write the addresses of the proxies in front of this one: `trusted_proxies: [10.0.0.0/8]`";
        reader.cx.report(Diagnostic::error(span, message).note(note));
    }
    Parents::TrustedProxies
}

fn service_name(reader: &Reader<'_>) -> String {
    let Some(written) = reader.text("service_name") else {
        return Settings::SERVICE_NAME.to_owned();
    };
    let is_valid = !written.text.is_empty()
        && written.text.len() <= LONGEST_NAME
        && !written.text.contains(|c: char| c.is_control());
    if !is_valid {
        reader.refuse("service_name", written, None);
    }
    written.text.to_owned()
}

/// Reads `headers`. No message shows a value.
fn headers(reader: &Reader<'_>) -> Vec<(String, String)> {
    let Some(node) = reader.node("headers") else {
        return Vec::new();
    };
    let Value::Map(entries) = &node.value else {
        reader.refuse_node("headers", node);
        return Vec::new();
    };
    let report = |span, message: String| reader.cx.report(Diagnostic::error(span, message));
    if entries.len() > MAX_HEADERS {
        report(node.span, format!("`headers` has more than {MAX_HEADERS} items"));
    }
    let mut headers = Vec::new();
    for entry in entries.iter().take(MAX_HEADERS) {
        let name = entry.key.to_ascii_lowercase();
        let quote = reader.cx.quote(entry.key_span);
        if !is_token(name.as_bytes()) {
            report(entry.key_span, format!("{quote} is not a valid header name"));
        } else if OWN_HEADERS.contains(&name.as_str()) {
            report(
                entry.key_span,
                format!(
                    "an export cannot have the header {quote}: the exporter writes it itself where it is needed"
                ),
            );
        }
        let Some(value) = written(&entry.value) else {
            reader.refuse_node("headers", &entry.value);
            continue;
        };
        // RFC 9110 section 5.5, without bytes beyond ASCII.
        let is_valid = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
        if !value.text.bytes().all(is_valid) || value.text.trim() != value.text {
            let rule = "it must consist of visible ASCII characters, with spaces only between them";
            report(
                value.span,
                format!("invalid value for a header of exports: {rule}"),
            );
            continue;
        }
        headers.push((entry.key.clone(), value.text.to_owned()));
    }
    headers
}
