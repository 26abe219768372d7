//! What the request path needs of tracing: whose context counts, what is recorded, and where finished spans go.

use std::sync::Arc;

use super::context::{SampleRatio, TraceContext};
use super::headers::TraceHeaders;
use super::queue::SpanQueue;
use super::settings::{Parents, Settings};

/// Tracing as one config has it. Shared by all workers; it holds nothing that a request changes but the queue.
#[derive(Debug)]
pub struct Tracer {
    ratio: SampleRatio,
    parents: Parents,
    /// Whether spans have the query of the request.
    pub shows_query: bool,
    /// Where finished spans wait for export.
    pub queue: Arc<SpanQueue>,
}

/// Random bits for one request.
#[derive(Debug, Clone, Copy)]
pub struct RandomIds {
    /// For the trace, if the request begins one.
    pub trace: u128,
    /// For the span of the request.
    pub span: u64,
}

/// The context of a request, and what its client sent of one.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    /// The context of the request.
    pub context: TraceContext,
    /// Whether it continues a `traceparent`, so that the `tracestate` beside it is still true.
    pub keeps_state: bool,
}

impl Tracer {
    /// Makes the tracer of a config.
    pub fn new(settings: &Settings, shows_query: bool, queue: Arc<SpanQueue>) -> Self {
        let share = f64::from(settings.sample.min(Settings::ALL)) / f64::from(Settings::ALL);
        Self {
            ratio: SampleRatio::new(share).unwrap_or_default(),
            parents: settings.parents,
            shows_query,
            queue,
        }
    }

    /// Begins the context of a request with these headers, from a client that is a trusted proxy or not.
    pub fn begin(&self, headers: &TraceHeaders<'_>, is_trusted: bool, random: RandomIds) -> Begun {
        let counts = is_trusted || self.parents == Parents::Any;
        let w3c = headers.w3c().filter(|_| counts);
        let b3 = || headers.b3().filter(|_| counts);
        Begun {
            context: TraceContext::of_request(w3c.or_else(b3), self.ratio, random.trace, random.span),
            keeps_state: w3c.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Endpoint;
    use super::*;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const RANDOM: RandomIds = RandomIds { trace: 7, span: 8 };

    fn tracer(parents: Parents, sample: u32) -> Tracer {
        let settings = Settings {
            endpoint: Endpoint::parse("http://a").unwrap(),
            sample,
            parents,
            service_name: Settings::SERVICE_NAME.to_owned(),
            headers: Vec::new(),
        };
        Tracer::new(&settings, false, Arc::default())
    }

    fn w3c() -> TraceHeaders<'static> {
        let mut headers = TraceHeaders::default();
        headers.add(b"traceparent", PARENT);
        headers.add(b"b3", b"80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0");
        headers
    }

    #[test]
    fn traceparent_wins_over_b3() {
        let begun = tracer(Parents::Any, 0).begin(&w3c(), false, RANDOM);
        assert_eq!(&begun.context.trace_id.hex(), b"4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(begun.context.is_sampled && begun.keeps_state);
    }

    #[test]
    fn b3_is_continued_without_the_state_of_another_context() {
        let mut headers = TraceHeaders::default();
        headers.add(b"traceparent", b"broken");
        headers.add(b"b3", b"80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1");
        let begun = tracer(Parents::Any, 0).begin(&headers, false, RANDOM);
        assert_eq!(&begun.context.trace_id.hex(), b"80f198ee56343ba864fe8b2a57d3eff7");
        assert!(begun.context.is_sampled && !begun.keeps_state);
    }

    #[test]
    fn only_trusted_proxies_are_continued_where_the_config_says_so() {
        let tracer = tracer(Parents::TrustedProxies, 0);
        let begun = tracer.begin(&w3c(), false, RANDOM);
        assert_eq!(begun.context.trace_id.0.get(), RANDOM.trace);
        assert!(begun.context.parent.is_none() && !begun.context.is_sampled && !begun.keeps_state);
        assert!(tracer.begin(&w3c(), true, RANDOM).keeps_state);
    }

    #[test]
    fn the_share_is_in_thousandths_of_a_percent() {
        let begin = |sample| {
            let tracer = tracer(Parents::Any, sample);
            let begun = tracer.begin(&TraceHeaders::default(), false, RANDOM);
            begun.context.is_sampled
        };
        assert!(begin(Settings::ALL) && !begin(0));
        let half = tracer(Parents::Any, Settings::ALL / 2);
        for (trace, is_sampled) in [(1 << 55, true), ((1 << 55) - 1, false)] {
            let random = RandomIds { trace, span: 1 };
            let begun = half.begin(&TraceHeaders::default(), false, random);
            assert_eq!(begun.context.is_sampled, is_sampled);
        }
    }
}
