//! Encodes spans as an `ExportTraceServiceRequest` of OTLP 1.x, and reads the response. Field numbers are those of
//! `opentelemetry/proto/trace/v1` and `collector/trace/v1`.

use super::context::TraceContext;
use crate::telemetry::protobuf::{Value, bytes, fields, fixed32, fixed64, message, raw, varint};

/// The field of `ScopeSpans` that holds spans.
const SPANS: u64 = 2;

/// Maximum number of bytes of a string in a span, so that a client cannot make an export large.
const VALUE_BOUND: usize = 1024;

/// The side of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request of a client.
    Server,
    /// An attempt at a backend.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeValue<'a> {
    /// Text. What is not UTF-8 is replaced.
    Text(&'a [u8]),
    /// A number.
    Number(u32),
}

/// A name and a value, as in the semantic conventions for HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Such as `http.request.method`.
    pub name: &'static str,
    /// Its value.
    pub value: AttributeValue<'a>,
}

/// A span that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Its ids.
    pub context: TraceContext,
    /// The request, or an attempt.
    pub kind: SpanKind,
    /// Such as `GET`. Without a path, because names must be few.
    pub name: &'a [u8],
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970, not before `start`.
    pub end: u64,
    /// `tracestate` as received.
    pub trace_state: &'a [u8],
    /// Whether the span has the status `ERROR`.
    pub is_error: bool,
    /// What is known of it.
    pub attributes: &'a [Attribute<'a>],
}

impl Span<'_> {
    /// Appends the span, as [`encode_request`] takes it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(SPANS, out, |out| span(self, out));
    }
}

/// Encodes an export of spans that are encoded already.
pub fn encode_request(service_name: &str, version: &str, spans: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(spans.len() + service_name.len() + 128);
    message(1, &mut out, |out| {
        message(1, out, |out| {
            let value = AttributeValue::Text(service_name.as_bytes());
            let name = "service.name";
            attribute(1, Attribute { name, value }, out);
        });
        message(2, out, |out| {
            message(1, out, |out| {
                bytes(1, b"evenkeel", out);
                bytes(2, version.as_bytes(), out);
            });
            raw(spans, out);
        });
    });
    out
}

/// The number of spans that an `ExportTraceServiceResponse` says were refused. A response that cannot be read says nothing.
pub fn rejected_spans(response: &[u8]) -> u64 {
    let partial_success = fields(response).find_map(|field| match field {
        (1, Value::Bytes(partial)) => Some(partial),
        _ => None,
    });
    let mut counts = fields(partial_success.unwrap_or_default());
    let count = counts.find_map(|field| match field {
        (1, Value::Number(count)) => Some(count),
        _ => None,
    });
    count.unwrap_or(0)
}

fn span(span: &Span<'_>, out: &mut Vec<u8>) {
    let context = &span.context;
    bytes(1, &context.trace_id.0.get().to_be_bytes(), out);
    bytes(2, &context.span_id.0.get().to_be_bytes(), out);
    let state = bounded_state(span.trace_state);
    if !state.is_empty() {
        text(3, state, out);
    }
    if let Some(parent) = context.parent {
        bytes(4, &parent.0.get().to_be_bytes(), out);
    }
    text(5, span.name, out);
    let kind = match span.kind {
        SpanKind::Server => 2,
        SpanKind::Client => 3,
    };
    varint(6, kind, out);
    fixed64(7, span.start, out);
    fixed64(8, span.end.max(span.start), out);
    for one in span.attributes {
        attribute(9, *one, out);
    }
    if span.is_error {
        message(15, out, |out| varint(3, 2, out));
    }
    fixed32(16, u32::from(context.is_sampled), out);
}

fn attribute(field: u64, attribute: Attribute<'_>, out: &mut Vec<u8>) {
    message(field, out, |out| {
        bytes(1, attribute.name.as_bytes(), out);
        message(2, out, |out| match attribute.value {
            AttributeValue::Text(value) => text(1, value, out),
            AttributeValue::Number(number) => varint(3, u64::from(number), out),
        });
    });
}

/// A string, which must be UTF-8 or the collector refuses the whole export.
fn text(field: u64, value: &[u8], out: &mut Vec<u8>) {
    let bounded = value.get(..VALUE_BOUND).unwrap_or(value);
    bytes(field, String::from_utf8_lossy(bounded).as_bytes(), out);
}

/// The members of a `tracestate` that fit; those at its end are left out (Trace Context §3.3.1.5).
fn bounded_state(state: &[u8]) -> &[u8] {
    match state.get(..=VALUE_BOUND) {
        None => state,
        Some(longer) => {
            let end = memchr::memrchr(b',', longer).unwrap_or(0);
            state.get(..end).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests;
