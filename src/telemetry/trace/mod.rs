//! Distributed tracing: reads the trace context of a request, decides whether its spans are recorded, and encodes spans for
//! OTLP. Pure: randomness is an argument, and nothing here sends.

mod context;
mod otlp;
mod protobuf;

pub use context::{B3Headers, Incoming, ParentIds, SampleRatio, SpanId, TraceContext, TraceId};
pub use otlp::{Attribute, AttributeValue, ExportRequest, Span, SpanKind};
