//! Distributed tracing: reads the trace context of a request, decides whether its spans are recorded, encodes spans for OTLP, and
//! holds what waits for export. Randomness is an argument, and nothing here sends: the control plane exports.

mod context;
mod headers;
mod otlp;
mod queue;
mod settings;
mod tracer;

pub use context::{B3Headers, Incoming, ParentIds, SampleRatio, SpanId, TraceContext, TraceId};
pub use headers::{Formats, TraceHeaders};
pub use otlp::{Attribute, AttributeValue, Span, SpanKind, encode_request, rejected_spans};
pub use queue::{EncodedSpans, SPANS_IN_BATCH, SpanCounters, SpanDrop, SpanQueue, SpanReceiver};
pub use settings::{Endpoint, Parents, Protocol, Settings};
pub use tracer::{Begun, RandomIds, Tracer};
