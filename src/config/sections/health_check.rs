//! `health_check`: how backends are probed. Read at top level first; a pool's own keys then replace single values.

use std::time::Duration;

use super::duration::ANY_DURATION;
use super::health_check_request as request;
use crate::backend::Scheme;
use crate::config::hints;
use crate::config::print::{Item, map, text, word};
use crate::config::reader::{Reader, written};
use crate::config::source::Diagnostic;
use crate::config::tree::{Node, Value};
use crate::health::{self, Check, ProbeMethod, StatusRange};
use crate::pool::BackendSettings;
use crate::schema::units::show_duration;
use crate::schema::{Form, Key, Kind, Section};

/// The key, at top level and of a pool.
pub(super) const KEY: Key = Key::new(
    "health_check",
    Kind::Section(&HEALTH_CHECK),
    "How backends are probed.",
)
.words(&["off"]);

/// `health_check`.
pub(super) const HEALTH_CHECK: Section = Section {
    name: "health_check",
    about: "How backends are probed. At top level, the default for all pools; a pool can override single keys. `health_check: off` is the same as `kind: none`.",
    keys: &[
        Key::new(
            "kind",
            Kind::Choice(crate::health::KINDS),
            crate::health::DESCRIPTION,
        )
        .default("http"),
        request::METHOD,
        Key::new(
            "path",
            Kind::Text(Form::new("a path that begins with /, such as /healthz").matching("^(/[!-~]*|none)$")),
            "The path that a probe requests, with an optional query. `none` requests `/` and treats every status below 500 as healthy. Only for `kind: http`.",
        )
        .words(&["none"])
        .default("none"),
        Key::new(
            "status",
            Kind::Either(&STATUS, &Kind::List(&STATUS)),
            "The statuses that count as healthy. `auto` is `200-399` with a `path` and `100-499` without. Only for `kind: http`.",
        )
        .words(&["auto"])
        .default("auto"),
        request::HOST,
        request::HEADERS,
        request::BODY,
        Key::new(
            "service",
            Kind::Text(Form::new("the name of a gRPC service").matching("^[A-Za-z0-9._]{0,127}$")),
            "The service whose health is requested. Only for `kind: grpc`.",
        )
        .otherwise("the server as a whole"),
        Key::new("port", Kind::Count { least: 1, most: 65_535 }, "The port that is probed. Not for Unix sockets.")
            .words(&["backend"])
            .default("backend"),
        Key::new("interval", ANY_DURATION, "Time between two probes of a backend, with a little jitter so that probes spread out. Always below 1 second after a failed probe.").default("10s"),
        Key::new("down_interval", ANY_DURATION, "The longest time between two probes of a backend that is down, if it is shorter than `interval`.").default("1s"),
        Key::new("timeout", ANY_DURATION, "Timeout of one probe, connecting included.").default("2s"),
        Key::new(
            "healthy_after",
            Kind::Count { least: 1, most: 100 },
            "Consecutive healthy probes after which a backend that is down is up again.",
        )
        .default("2"),
        Key::new(
            "unhealthy_after",
            Kind::Count { least: 1, most: 100 },
            "Consecutive failed probes after which a backend is down and receives no requests. A backend that goes up and down again and again changes its state at most once per `healthy_after` + `unhealthy_after` probes.",
        )
        .default("3"),
        Key::new("fail_open", Kind::Flag, "Whether all backends of a pool are used when every one is down. Without it, its requests wait in the queue of the pool, and then get a 503 response.").default("false"),
    ],
};

const STATUS: Kind = Kind::Text(
    Form::new("a status, a class or a range such as 200, 2xx or 200-399, from 100 to 599")
        .matching(r"^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$")
        .or_number(),
);

/// Reads the key of the top level or of a pool; what it does not have is taken from `base`.
pub(super) fn read(parent: &Reader<'_>, base: Option<&Check>) -> Check {
    let is_off = parent.is_off("health_check");
    let reader = if is_off {
        Reader::absent(parent.cx, &HEALTH_CHECK)
    } else {
        parent.section("health_check", &HEALTH_CHECK)
    };
    let kind = reader.choice("kind", base.map(Check::kind));
    let probe = health::by_name(kind).filter(|_| !is_off);
    let uses = |key| probe.is_some_and(|probe| probe.uses(key));
    let path = path(&reader, base.and_then(|base| base.path.clone()));
    let status = status(&reader, base.and_then(|base| base.status.clone()));
    let service = reader.text("service").map(|written| written.text.to_owned());
    let service = service.or_else(|| base.map(|base| base.service.clone()));
    let headers = request::headers(&reader);
    let headers = headers.or_else(|| base.map(|base| base.headers.clone()));
    let host = request::host(&reader).or_else(|| base.and_then(|base| base.host.clone()));
    let body = request::body(&reader).or_else(|| base.and_then(|base| base.body.clone()));
    let method = reader.choice("method", base.map(|base| base.method.name()));
    let method = ProbeMethod::by_name(method).filter(|_| uses("method"));
    let base_port = base.map(|base| base.port.map(u64::from));
    let port = reader.optional("port", base_port);
    refuse_keys_of_other_probes(&reader, kind);
    refuse_body_of_head(&reader, method, body.is_some());
    let after = |name, base: Option<u32>| {
        let count = reader.count(name, base.map(u64::from));
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let interval = reader.duration("interval", base.map(|base| base.interval));
    let timeout = reader.duration("timeout", base.map(|base| base.timeout));
    warn_of_slow_probes(&reader, interval, timeout);
    Check {
        method: method.unwrap_or_default(),
        host: host.filter(|_| uses("host")),
        headers: headers.filter(|_| uses("headers")).unwrap_or_default(),
        body: body.filter(|_| uses("body")),
        port: port.and_then(|port| u16::try_from(port).ok()),
        down_interval: reader.duration("down_interval", base.map(|base| base.down_interval)),
        fail_open: reader.flag("fail_open", base.map(|base| base.fail_open)),
        probe,
        path: path.filter(|_| uses("path")),
        status: status.filter(|_| uses("status")),
        service: service.filter(|_| uses("service")).unwrap_or_default(),
        interval,
        timeout,
        healthy_after: after("healthy_after", base.map(|base| base.healthy_after)),
        unhealthy_after: after("unhealthy_after", base.map(|base| base.unhealthy_after)),
        tls: None,
        send_proxy: None,
    }
}

/// Prints a health check, with the keys that its kind uses.
pub(super) fn show(check: &Check) -> Item {
    let mut keys = vec![("kind", word(check.kind()))];
    if check.uses("method") {
        keys.push(("method", word(check.method.name())));
    }
    if check.uses("path") {
        let path = check.path.as_deref();
        keys.push(("path", path.map_or_else(|| word("none"), text)));
    }
    if check.uses("status") {
        let status = check.status.as_deref();
        keys.push(("status", status.map_or_else(|| word("auto"), statuses)));
    }
    keys.extend(check.host.as_ref().map(|host| ("host", text(host))));
    if !check.headers.is_empty() {
        keys.push(("headers", request::show_headers(&check.headers)));
    }
    keys.extend(check.body.as_ref().map(|body| ("body", request::show_body(body))));
    if check.uses("service") {
        keys.push(("service", text(&check.service)));
    }
    let port = check.port.map_or_else(|| word("backend"), word);
    keys.extend([
        ("port", port),
        ("interval", word(show_duration(check.interval))),
        ("down_interval", word(show_duration(check.down_interval))),
        ("timeout", word(show_duration(check.timeout))),
        ("healthy_after", word(check.healthy_after)),
        ("unhealthy_after", word(check.unhealthy_after)),
        ("fail_open", word(check.fail_open)),
    ]);
    map(keys)
}

fn statuses(ranges: &[StatusRange]) -> Item {
    let range = |range: &StatusRange| word(format!("{}-{}", range.from, range.to));
    Item::Line(ranges.iter().map(range).collect())
}

/// Warns of a timeout that is longer than the interval, since a probe starts only after the previous one has ended.
fn warn_of_slow_probes(reader: &Reader<'_>, interval: Duration, timeout: Duration) {
    let written = ["timeout", "interval"].map(|key| reader.node(key).map(|node| node.span));
    let Some(span) = written
        .into_iter()
        .flatten()
        .next()
        .filter(|_| timeout > interval)
    else {
        return;
    };
    let message = format!(
        "the health check timeout ({}) is longer than the interval ({})",
        show_duration(timeout),
        show_duration(interval)
    );
    let note = "a backend that does not respond is probed less often than `interval`: use a shorter timeout";
    reader.cx.report(Diagnostic::warning(span, message).note(note));
}

/// Warns of backends that get requests over HTTP/1, while the probe is for those that speak HTTP/2. On a port of its own, what is
/// probed may speak something else than the backend.
pub(super) fn warn_of_http1(reader: &Reader<'_>, check: &Check, backends: &[BackendSettings]) {
    let is_http1 = |backend: &&BackendSettings| backend.address.scheme == Scheme::Http;
    let probe = check
        .probe
        .filter(|probe| probe.needs_http2 && check.port.is_none());
    let (Some(probe), Some(backend), Some(span)) =
        (probe, backends.iter().find(is_http1), reader.key_span("backends"))
    else {
        return;
    };
    let (kind, url) = (probe.name, &backend.address.url);
    let message =
        format!("backend {url} gets requests over HTTP/1.1, but health checks of kind `{kind}` use HTTP/2");
    let note = "gRPC without TLS is `h2c://`, with TLS `https://`";
    reader.cx.report(Diagnostic::warning(span, message).note(note));
}

/// Reports an expectation of the body of a response that has none.
fn refuse_body_of_head(reader: &Reader<'_>, method: Option<ProbeMethod>, has_body: bool) {
    let span = reader.key_span("body").or_else(|| reader.key_span("method"));
    if let (Some(ProbeMethod::Head), true, Some(span)) = (method, has_body, span) {
        let message = "`body` cannot be used with `method: HEAD`: its responses have no body";
        reader.cx.report(Diagnostic::error(span, message));
    }
}

/// Reports keys that only probes of another kind use.
fn refuse_keys_of_other_probes(reader: &Reader<'_>, kind: &str) {
    let is_used = |key: &&&str| health::by_name(kind).is_some_and(|probe| probe.uses(key));
    for probe in health::PROBES {
        for key in probe.keys.iter().filter(|key| !is_used(key)) {
            if let Some(span) = reader.key_span(key) {
                let of = probe.name;
                let message = format!("`{key}` requires `kind: {of}`, but the kind is `{kind}`");
                reader.cx.report(Diagnostic::error(span, message));
            }
        }
    }
}

fn path(reader: &Reader<'_>, base: Option<String>) -> Option<String> {
    let Some(written) = reader.text("path") else {
        return base;
    };
    if written.text == "none" {
        return None;
    }
    let is_path = written.text.starts_with('/') && !written.text.contains('#');
    if !is_path || !written.text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let hint = format!("did you mean `/{}`?", written.text);
        let is_near = !written.text.starts_with('/') && !written.text.contains([':', ' ']);
        let of_url = written.text.split_once("://").and_then(|(_, rest)| {
            let path = rest.get(rest.find('/')?..)?;
            Some(format!(
                "write the path without scheme and host: did you mean `{path}`?"
            ))
        });
        reader.refuse("path", written, of_url.or_else(|| is_near.then_some(hint)));
    }
    Some(written.text.to_owned())
}

fn status(reader: &Reader<'_>, base: Option<Vec<StatusRange>>) -> Option<Vec<StatusRange>> {
    let Some(node) = reader.node("status") else {
        return base;
    };
    let items = match &node.value {
        Value::List(items) if !items.is_empty() => items.as_slice(),
        Value::Text(text) if text.content == "auto" => return None,
        _ => std::slice::from_ref(node),
    };
    let read_one = |item: &Node| {
        let Some(written) = written(item) else {
            reader.refuse_node("status", item);
            return None;
        };
        let range = status_range(written.text);
        if range.is_none() {
            reader.refuse("status", written, status_hint(written.text));
        }
        range
    };
    Some(items.iter().filter_map(read_one).collect())
}

/// Parses `200`, `200-399`, or `2xx` for `200-299`.
fn status_range(text: &str) -> Option<StatusRange> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(StatusRange {
            from: class * 100,
            to: class * 100 + 99,
        })
        .filter(|_| text.len() == 3);
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let parse = |text: &str| {
        let is_status = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|status| is_status && (100..=599).contains(status))
    };
    let range = StatusRange {
        from: parse(from)?,
        to: parse(to)?,
    };
    (range.from <= range.to).then_some(range)
}

/// A suggestion for a text that is not a status.
fn status_hint(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let items = hints::split(&lower);
    if items.len() > 1 && items.iter().all(|item| status_range(item).is_some()) {
        return Some(format!("did you mean `[{}]`?", items.join(", ")));
    }
    let ends = lower.split_once("..").or_else(|| lower.split_once('-'));
    let range = ends.and_then(|(from, to)| Some((status_range(from)?.from, status_range(to)?.to)));
    if let Some((from, to)) = range.filter(|(from, to)| from < to) {
        return Some(format!("did you mean `{from}-{to}`?"));
    }
    let is_near = lower != text && status_range(&lower).is_some();
    is_near.then(|| format!("did you mean `{lower}`?"))
}
