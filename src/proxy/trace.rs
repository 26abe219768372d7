//! The trace of one request: its context, the headers by which attempts pass it on, and what is taken down of each attempt. Exists
//! only while `tracing` is on. `spans` makes the spans of it.

use std::time::Duration;

use evenkeel_balance::edits::Direction;

use super::changes::RequestChanges;
use super::request::Request;
use crate::clock::Instant;
use crate::head::FieldName;
use crate::message::{HeadWriter, OwnName, name};
use crate::pool::Member;
use crate::retry::{AttemptEnd, Cause, Outcome};
use crate::telemetry::trace::{Formats, RandomIds, TraceContext, TraceHeaders, Tracer};

/// Attempts of a request that have spans. Of those of a request that waited long for its backend, the last ones are kept.
const MOST_ATTEMPTS: usize = 16;

/// The trace of one request.
pub(super) struct Trace<'a> {
    pub(super) tracer: &'a Tracer,
    pub(super) context: TraceContext,
    formats: Formats,
    /// Whether the `tracestate` of the request is true of this trace.
    pub(super) keeps_state: bool,
    pub(super) attempts: Vec<AttemptSpan<'a>>,
    /// Attempts that began, also those without a span.
    count: u32,
}

/// An attempt, as far as its span tells of it.
pub(super) struct AttemptSpan<'a> {
    pub(super) context: TraceContext,
    pub(super) member: &'a Member,
    /// Its position among the attempts, from 0.
    pub(super) position: u32,
    pub(super) began: Instant,
    pub(super) end: SpanEnd,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpanEnd {
    /// It had not when the request ended.
    Running,
    /// With the head of a response with this status, after this time.
    Response(u16, Duration),
    /// Without a usable response, for this reason.
    Failed(&'static str, Duration),
    /// It was canceled after this time, because another attempt had won.
    Canceled(Duration),
}

/// The context that one attempt passes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Propagated {
    pub(super) context: TraceContext,
    formats: Formats,
    keeps_state: bool,
}

/// The trace of a request; `None` while tracing is off.
#[inline]
pub(super) fn begin<'a>(request: &Request<'a>) -> Option<Box<Trace<'a>>> {
    let tracer = request.snapshot.tracer.as_deref()?;
    Some(Trace::new(tracer, request))
}

impl<'a> Trace<'a> {
    #[cold]
    fn new(tracer: &'a Tracer, request: &Request<'a>) -> Box<Self> {
        let head = request.head;
        let mut headers = TraceHeaders::default();
        let others = head.fields.iter().filter(|field| field.id == FieldName::Other);
        for field in others {
            headers.add(head.text(field.name), head.text(field.value));
        }
        let worker = request.worker();
        let random = RandomIds {
            trace: u128::from(worker.random()) << 64 | u128::from(worker.random()),
            span: worker.random(),
        };
        let begun = tracer.begin(&headers, request.identity.is_trusted, random);
        Box::new(Self {
            tracer,
            context: begun.context,
            formats: headers.formats(),
            keeps_state: begun.keeps_state,
            attempts: Vec::new(),
            count: 0,
        })
    }

    /// The context for an attempt that begins. `random` names its span.
    pub(super) fn next(&self, random: u64) -> Propagated {
        self.propagated(self.context.of_attempt(random))
    }

    /// The context for a copy of the request, which has no span of its own.
    pub(super) fn of_copy(&self) -> Propagated {
        self.propagated(self.context)
    }

    /// The context of the attempt that began last.
    pub(super) fn of_last_attempt(&self) -> Option<Propagated> {
        let attempt = self.attempts.last()?;
        Some(self.propagated(attempt.context))
    }

    fn propagated(&self, context: TraceContext) -> Propagated {
        Propagated {
            context,
            formats: self.formats,
            keeps_state: self.keeps_state,
        }
    }

    /// An attempt begins.
    #[cold]
    pub(super) fn begin_attempt(&mut self, member: &'a Member, began: Instant, random: u64) {
        let context = self.context.of_attempt(random);
        self.add(context, member, (began, SpanEnd::Running));
    }

    /// The attempt that began last has ended; `code` is that of its failure.
    #[cold]
    pub(super) fn end_attempt(&mut self, outcome: &Outcome, code: Option<&'static str>, at: Instant) {
        if let Some(attempt) = self.attempts.last_mut() {
            let took = at.saturating_duration_since(attempt.began);
            attempt.end = SpanEnd::of(outcome, code, took);
        }
    }

    /// Adds an attempt that ran beside the last one.
    #[cold]
    pub(super) fn add_hedge(&mut self, context: TraceContext, member: &'a Member, ran: (Instant, SpanEnd)) {
        self.add(context, member, ran);
    }

    fn add(&mut self, context: TraceContext, member: &'a Member, (began, end): (Instant, SpanEnd)) {
        if self.attempts.len() >= MOST_ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(AttemptSpan {
            context,
            member,
            position: self.count,
            began,
            end,
        });
        self.count += 1;
    }
}

impl SpanEnd {
    /// The end of an attempt with this outcome, after this time. Without `code`, the cause names a failure.
    pub(super) fn of(outcome: &Outcome, code: Option<&'static str>, took: Duration) -> Self {
        let cause = outcome.cause().map(Cause::name);
        match outcome.end {
            AttemptEnd::Response(status) => Self::Response(status, took),
            AttemptEnd::Failure(_) => match code.or(cause) {
                Some(code) => Self::Failed(code, took),
                None => Self::Canceled(took),
            },
        }
    }
}

impl Propagated {
    /// Whether a header of the request goes on as it came.
    pub(super) fn forwards(&self, name: &[u8]) -> bool {
        !TraceHeaders::is_replaced(name) && (self.keeps_state || !TraceHeaders::is_state(name))
    }

    /// Writes the headers, in the forms in which they came, unless the route removes or sets them itself.
    pub(super) fn write<W: HeadWriter>(&self, changes: Option<&RequestChanges<'_>>, out: &mut W) {
        let mut set = |name: OwnName, value: &[u8]| {
            let is_removed =
                changes.is_some_and(|changes| changes.headers.removes(Direction::Request, name.name));
            if !is_removed {
                out.set(name, value);
            }
        };
        let Self { context, formats, .. } = self;
        set(name!("traceparent"), &context.traceparent());
        let (trace, span) = (context.trace_id.hex(), context.span_id.hex());
        let sampled: &[u8] = if context.is_sampled { b"1" } else { b"0" };
        if formats.has_b3 {
            set(name!("b3"), &[&trace[..], &span, sampled].join(&b'-'));
        }
        if formats.has_b3_headers {
            set(name!("X-B3-TraceId"), &trace);
            set(name!("X-B3-SpanId"), &span);
            set(name!("X-B3-Sampled"), sampled);
            if let Some(parent) = context.parent {
                set(name!("X-B3-ParentSpanId"), &parent.hex());
            }
        }
    }
}
