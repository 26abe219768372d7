//! Resolves the settings that a pool inherits: `health_check`, `retry`, `timeouts` and the limit of requests in flight.
//! Each is read at top level first; a pool's own keys then replace single values.

use std::time::Duration;

use crate::config::reader::{Reader, written};
use crate::config::reference::{HEALTH_CHECK, LIMITS, POOL_LIMITS, POOL_TIMEOUTS, RETRY, TIMEOUTS};
use crate::config::source::Diagnostic;
use crate::config::tree::{Node, Value};
use crate::config::{hints, suggest, vocabulary};
use crate::health::{self, Check, StatusRange};
use crate::pool::Timeouts;
use crate::retry::{Attempts, Cause, Causes, Policy};
use crate::schema::units;

/// The inherited settings of one pool, or the defaults of all.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) health_check: Check,
    pub(super) retry: Policy,
    pub(super) timeouts: Timeouts,
    pub(super) in_flight_per_backend: Option<u32>,
}

impl Rules {
    /// Reads the four keys at top level; the others get the defaults of the table.
    pub(super) fn top_level(root: &Reader<'_>) -> Self {
        let limits = root.section("limits", &LIMITS);
        Self {
            health_check: health_check(root, None),
            retry: retry(root, None),
            timeouts: timeouts(&root.section("timeouts", &TIMEOUTS), None),
            in_flight_per_backend: in_flight(&limits, None),
        }
    }

    /// Reads the four keys of a pool; the others are taken from `base`.
    pub(super) fn of_pool(pool: &Reader<'_>, base: &Self) -> Self {
        let limits = pool.section("limits", &POOL_LIMITS);
        Self {
            health_check: health_check(pool, Some(&base.health_check)),
            retry: retry(pool, Some(&base.retry)),
            timeouts: timeouts(&pool.section("timeouts", &POOL_TIMEOUTS), Some(&base.timeouts)),
            in_flight_per_backend: in_flight(&limits, Some(base.in_flight_per_backend)),
        }
    }
}

fn in_flight(limits: &Reader<'_>, base: Option<Option<u32>>) -> Option<u32> {
    let base = base.map(|base| base.map(u64::from));
    let limit = limits.optional("in_flight_per_backend", base)?;
    Some(u32::try_from(limit).unwrap_or(u32::MAX))
}

fn timeouts(reader: &Reader<'_>, base: Option<&Timeouts>) -> Timeouts {
    Timeouts {
        connect: reader.duration("connect", base.map(|base| base.connect)),
        first_byte: reader.duration("first_byte", base.map(|base| base.first_byte)),
        request: reader.duration("request", base.map(|base| base.request)),
        progress: reader.duration("progress", base.map(|base| base.progress)),
        stream_idle: reader.duration("stream_idle", base.map(|base| base.stream_idle)),
        tunnel_idle: reader.duration("tunnel_idle", base.map(|base| base.tunnel_idle)),
        backend_idle: reader.duration("backend_idle", base.map(|base| base.backend_idle)),
    }
}

fn retry(parent: &Reader<'_>, base: Option<&Policy>) -> Policy {
    let is_off = parent.is_off("retry");
    let reader = if is_off {
        Reader::absent(parent.cx, &RETRY)
    } else {
        parent.section("retry", &RETRY)
    };
    let base_attempts = base.map(|base| match base.attempts {
        Attempts::All => None,
        Attempts::AtMost(count) => Some(u64::from(count)),
    });
    let attempts = match reader.optional("attempts", base_attempts) {
        _ if is_off => Attempts::AtMost(1),
        Some(count) => Attempts::AtMost(u32::try_from(count).unwrap_or(u32::MAX)),
        None => Attempts::All,
    };
    Policy {
        attempts,
        causes: causes(&reader, base.map(|base| base.causes)),
        non_idempotent_503: reader.flag("non_idempotent_503", base.map(|base| base.non_idempotent_503)),
        replay_limit: reader.size("replay_limit", base.map(|base| base.replay_limit)),
    }
}

fn causes(reader: &Reader<'_>, base: Option<Causes>) -> Causes {
    let Some(items) = reader.list("causes") else {
        return base.unwrap_or_default();
    };
    let read_one = |item: &Node| {
        let Some(written) = written(item) else {
            reader.refuse_node("causes", item);
            return None;
        };
        let cause = Cause::by_name(written.text);
        if cause.is_none() {
            let other = vocabulary::cause(written.text).map(str::to_owned);
            let names = Cause::ALL.map(Cause::name);
            let hint = other.or_else(|| suggest::did_you_mean(written.text, names));
            reader.refuse("causes", written, hint);
        }
        cause
    };
    items.iter().filter_map(read_one).collect()
}

fn health_check(parent: &Reader<'_>, base: Option<&Check>) -> Check {
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
    refuse_keys_of_other_probes(&reader, kind);
    let after = |name, base: Option<u32>| {
        let count = reader.count(name, base.map(u64::from));
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let interval = reader.duration("interval", base.map(|base| base.interval));
    let timeout = reader.duration("timeout", base.map(|base| base.timeout));
    warn_of_slow_probes(&reader, interval, timeout);
    Check {
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
        units::show_duration(timeout),
        units::show_duration(interval)
    );
    let note = "a backend that does not respond is probed less often than `interval`: use a shorter timeout";
    reader.cx.report(Diagnostic::warning(span, message).note(note));
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
