//! The spans of a request that ended: one of the request and one of each attempt, with attributes by the OpenTelemetry semantic
//! conventions for HTTP. Knows nothing of contexts that are passed on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smallvec::SmallVec;

use super::Failure;
use super::exchange::Exchange;
use super::trace::{AttemptSpan, SpanEnd, Trace};
use crate::clock::Instant;
use crate::head::{FieldName, Method, Version};
use crate::telemetry::Label;
use crate::telemetry::trace::{
    Attribute, AttributeValue, EncodedSpans, Span, SpanKind, TraceHeaders, TraceId,
};

/// Attributes of a span that need no memory of their own.
const INLINE: usize = 20;

type Attributes<'s> = SmallVec<[Attribute<'s>; INLINE]>;

/// Bytes that are reserved for a span.
const USUAL_SIZE: usize = 512;

/// When a request ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) now: Instant,
    pub(super) wall: SystemTime,
    pub(super) latency: Duration,
}

/// Hands over the spans of a request that ended, if they are recorded. Returns the id of its trace; `None` while tracing is off.
#[inline]
pub(super) fn finish(exchange: &Exchange<'_>, ended: Ended) -> Option<TraceId> {
    let trace = exchange.trace.as_deref()?;
    if trace.context.is_sampled {
        export(exchange, trace, ended);
    }
    Some(trace.context.trace_id)
}

#[cold]
fn export(exchange: &Exchange<'_>, trace: &Trace<'_>, ended: Ended) {
    let count = 1 + trace.attempts.len();
    let mut bytes = Vec::with_capacity(USUAL_SIZE * count);
    let finished = Finished {
        exchange,
        trace,
        ended,
        state: trace_state(exchange, trace),
    };
    finished.request(&mut bytes);
    let last = exchange.record.last_member();
    let winner = trace.attempts.iter().rposition(|attempt| {
        let has_responded = matches!(attempt.end, SpanEnd::Response(..));
        has_responded && last.is_some_and(|last| std::ptr::eq(last, attempt.member))
    });
    for (position, attempt) in trace.attempts.iter().enumerate() {
        finished.attempt(attempt, Some(position) == winner, &mut bytes);
    }
    trace.tracer.queue.push(EncodedSpans { bytes, count });
}

/// `tracestate` as it came, in several lines as one (Trace Context §3.3.1).
fn trace_state(exchange: &Exchange<'_>, trace: &Trace<'_>) -> Vec<u8> {
    let head = exchange.request.head;
    let fields = head.fields.iter().filter(|field| {
        trace.keeps_state && field.id == FieldName::Other && TraceHeaders::is_state(head.text(field.name))
    });
    let lines: Vec<&[u8]> = fields.map(|field| head.text(field.value)).collect();
    lines.join(&b',')
}

/// A request that ended and is recorded.
struct Finished<'s> {
    exchange: &'s Exchange<'s>,
    trace: &'s Trace<'s>,
    ended: Ended,
    /// The `tracestate` of the trace.
    state: Vec<u8>,
}

impl Finished<'_> {
    /// The span of the request.
    fn request(&self, out: &mut Vec<u8>) {
        let Self {
            exchange,
            trace,
            ended,
            ..
        } = *self;
        let (request, record) = (&exchange.request, &exchange.record);
        let head = request.head;
        let ending = &record.ending;
        let status = ending.status;
        let label = record.route.map(|route| route.label.text());
        let pool = record.pool.map(|pool| pool.label.text());
        let backend = record.backend().map(Label::text);
        let client = match request.identity.named {
            Some(address) => address.to_string().into_bytes(),
            None => request.client.peer.ip().to_vec(),
        };
        let mut status_text = itoa::Buffer::new();
        let code = ending.failure.map(Failure::code).or(ending.code);
        let error = code.or_else(|| (status >= 500).then(|| status_text.format(status)));

        let mut attributes = method(exchange);
        text(&mut attributes, "url.path", head.text(head.path));
        if let Some(query) = head.query.filter(|_| trace.tracer.shows_query) {
            text(&mut attributes, "url.query", head.text(query));
        }
        let is_secure = request.client.peer.is_secure;
        let scheme = request.identity.scheme(head);
        let scheme = scheme.unwrap_or(if is_secure { b"https" } else { b"http" });
        text(&mut attributes, "url.scheme", scheme);
        server(&mut attributes, head.text(head.authority));
        text(&mut attributes, "network.protocol.version", version(head.version));
        text(&mut attributes, "client.address", &client);
        let request_id = request.identity.request_id(head);
        text(&mut attributes, "evenkeel.request_id", request_id);
        optional(&mut attributes, "http.route", label.as_deref());
        optional(&mut attributes, "evenkeel.pool", pool.as_deref());
        optional(&mut attributes, "evenkeel.backend", backend.as_deref());
        if status > 0 {
            number(&mut attributes, "http.response.status_code", u32::from(status));
        }
        if let Some(status) = ending.grpc_status {
            number(&mut attributes, "rpc.grpc.status_code", status);
        }
        optional(&mut attributes, "error.type", error);

        let mut name = method_name(exchange).to_vec();
        if let Some(label) = &label {
            name.push(b' ');
            name.extend_from_slice(label.as_bytes());
        }
        let end = nanos(ended.wall);
        let span = Span {
            context: trace.context,
            kind: SpanKind::Server,
            name: &name,
            start: end.saturating_sub(u64::try_from(ended.latency.as_nanos()).unwrap_or(u64::MAX)),
            end,
            trace_state: &self.state,
            is_error: status >= 500,
            attributes: &attributes,
        };
        span.encode(out);
    }

    /// The span of an attempt. That of the attempt whose response the client gets ends with the request.
    fn attempt(&self, of: &AttemptSpan<'_>, is_winner: bool, out: &mut Vec<u8>) {
        let Self { exchange, ended, .. } = *self;
        let pool = exchange.record.pool.map(|pool| pool.label.text());
        let backend = of.member.label.text();
        let address = &of.member.backend.address;
        let (status, error, took) = match of.end {
            SpanEnd::Running => (None, None, None),
            SpanEnd::Response(status, took) => (Some(status), None, (!is_winner).then_some(took)),
            SpanEnd::Failed(code, took) => (None, Some(code), Some(took)),
            SpanEnd::Canceled(took) => (None, Some("canceled"), Some(took)),
        };
        let mut status_text = itoa::Buffer::new();
        let bad_status = status.filter(|status| *status >= 400);
        let bad_status = bad_status.map(|status| status_text.format(status));

        let mut attributes = method(exchange);
        text(&mut attributes, "server.address", address.host.as_bytes());
        if address.file.is_none() {
            number(&mut attributes, "server.port", u32::from(address.port));
        }
        optional(&mut attributes, "evenkeel.pool", pool.as_deref());
        text(&mut attributes, "evenkeel.backend", backend.as_bytes());
        if of.position > 0 {
            number(&mut attributes, "http.request.resend_count", of.position);
        }
        if let Some(status) = status {
            number(&mut attributes, "http.response.status_code", u32::from(status));
        }
        optional(&mut attributes, "error.type", error.or(bad_status));

        let start = at(ended, of.began);
        let end = took.and_then(|took| of.began.checked_add(took));
        let span = Span {
            context: of.context,
            kind: SpanKind::Client,
            name: method_name(exchange),
            start,
            end: end.map_or_else(|| nanos(ended.wall), |end| at(ended, end)),
            trace_state: &self.state,
            // One that was canceled has not failed.
            is_error: matches!(of.end, SpanEnd::Failed(..)) || bad_status.is_some(),
            attributes: &attributes,
        };
        span.encode(out);
    }
}

/// The attributes of the method: one that is not known could be anything, and is no value to group by.
fn method<'s>(exchange: &'s Exchange<'_>) -> Attributes<'s> {
    let head = exchange.request.head;
    let mut attributes = Attributes::new();
    match head.method {
        Method::Other => {
            text(&mut attributes, "http.request.method", b"_OTHER");
            let original = head.text(head.method_text);
            text(&mut attributes, "http.request.method_original", original);
        }
        _ => text(
            &mut attributes,
            "http.request.method",
            head.text(head.method_text),
        ),
    }
    attributes
}

/// The method as the name of a span.
fn method_name<'s>(exchange: &'s Exchange<'_>) -> &'s [u8] {
    let head = exchange.request.head;
    match head.method {
        Method::Other => b"HTTP",
        _ => head.text(head.method_text),
    }
}

/// The host and the port that the client asked for, an IPv6 address without brackets.
fn server<'s>(attributes: &mut Attributes<'s>, authority: &'s [u8]) {
    let end = match authority.first() {
        Some(b'[') => authority.iter().position(|&byte| byte == b']').map(|at| at + 1),
        _ => authority.iter().position(|&byte| byte == b':'),
    };
    let (host, rest) = authority.split_at(end.unwrap_or(authority.len()).min(authority.len()));
    let literal = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let host = literal.unwrap_or(host);
    if !host.is_empty() {
        text(attributes, "server.address", host);
    }
    let port = rest.strip_prefix(b":");
    let port = port.and_then(|port| std::str::from_utf8(port).ok()?.parse::<u16>().ok());
    if let Some(port) = port {
        number(attributes, "server.port", u32::from(port));
    }
}

/// The version as `network.protocol.version` has it.
fn version(version: Version) -> &'static [u8] {
    match version.as_str() {
        "HTTP/1.0" => b"1.0",
        "HTTP/2.0" => b"2",
        _ => b"1.1",
    }
}

fn text<'s>(attributes: &mut Attributes<'s>, name: &'static str, value: &'s [u8]) {
    attributes.push(Attribute {
        name,
        value: AttributeValue::Text(value),
    });
}

fn optional<'s>(attributes: &mut Attributes<'s>, name: &'static str, value: Option<&'s str>) {
    if let Some(value) = value {
        text(attributes, name, value.as_bytes());
    }
}

fn number(attributes: &mut Attributes<'_>, name: &'static str, value: u32) {
    attributes.push(Attribute {
        name,
        value: AttributeValue::Number(value),
    });
}

/// A moment of the request by the wall clock, in nanoseconds since 1970.
fn at(ended: Ended, moment: Instant) -> u64 {
    let before = ended.now.saturating_duration_since(moment);
    let before = u64::try_from(before.as_nanos()).unwrap_or(u64::MAX);
    nanos(ended.wall).saturating_sub(before)
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_split_into_host_and_port() {
        for (authority, host, port) in [
            ("a.test", Some("a.test"), None),
            ("a.test:8443", Some("a.test"), Some(8443)),
            ("[::1]:80", Some("::1"), Some(80)),
            ("[::1]", Some("::1"), None),
            ("a.test:x", Some("a.test"), None),
            ("[", Some("["), None),
            ("", None, None),
        ] {
            let mut found = Attributes::new();
            server(&mut found, authority.as_bytes());
            let mut expected = Attributes::new();
            optional(&mut expected, "server.address", host);
            if let Some(port) = port {
                number(&mut expected, "server.port", port);
            }
            assert_eq!(found, expected, "{authority}");
        }
    }
}
