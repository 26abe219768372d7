//! One request from its head to its log line: what more than one phase reads and writes. What a single phase needs is in that
//! phase. When it is dropped, the request is over: see `log`.

use std::cell::Cell;
use std::task::{Context, Poll};

use super::body::RequestBody;
use super::changes::Changes;
use super::deadlines::Deadlines;
use super::departure::{Departure, Phase};
use super::record::Record;
use super::request::Request;
use super::trace::{self, Trace};
use super::{Failure, detail, grpc};
use crate::backend::BackendId;
use crate::clock::{self, Instant};
use crate::head::BodyLength;
use crate::message::Transfer;
use crate::pool::{BackendConnection, EligibleSet, Member, QueuePlace};
use crate::retry::Outcome;

/// One request, over all its attempts.
pub(super) struct Exchange<'a> {
    pub(super) request: Request<'a>,
    pub(super) body: RequestBody,
    pub(super) deadlines: Deadlines,
    pub(super) departure: Departure,
    pub(super) record: Record<'a>,
    /// What the plan of the route changes; `None` for most routes.
    pub(super) changes: Option<Changes<'a>>,
    /// What the sticky cookie of its client was found to name.
    pub(super) named: Cell<Option<Named>>,
    /// Its place in the queue of its pool, while it tries a backend that may still refuse connections.
    pub(super) place: Option<Box<QueuePlace<'a>>>,
    /// Its trace, while tracing is on.
    pub(super) trace: Option<Box<Trace<'a>>>,
}

/// What a client's sticky cookie names.
#[derive(Clone, Copy)]
pub(super) struct Named {
    /// The backends among which it was looked for: those of the last pick, which are kept until the request ends.
    pub(super) eligible: *const EligibleSet,
    pub(super) backend: Option<BackendId>,
}

impl<'a> Exchange<'a> {
    /// Begins with nothing sent. The request counts as in flight until this is dropped.
    #[inline]
    pub(super) fn begin(request: Request<'a>, started: Instant) -> Self {
        let (client, head) = (&*request.client, request.head);
        client.worker.counters.requests_in_flight.up();
        let limits = &request.snapshot.limits;
        let timeout = if request.is_grpc {
            grpc::timeout(head)
        } else {
            None
        };
        let deadline = timeout.and_then(|timeout| started.checked_add(timeout));
        Self {
            body: RequestBody::new(Transfer::of_request(head, &limits.message, limits.body)),
            deadlines: Deadlines::new(limits.min_body_rate, deadline),
            departure: Departure::default(),
            trace: trace::begin(&request),
            record: Record::new(started, head.bytes.len(), client.connection.bytes_out),
            request,
            changes: None,
            named: Cell::new(None),
            place: None,
        }
    }

    /// An attempt at this backend begins.
    #[inline]
    pub(super) fn begin_attempt(&mut self, member: &'a Member) {
        self.record.attempts_at(member);
        if let Some(trace) = &mut self.trace {
            // More exact than the time of the wheel.
            trace.begin_attempt(member, clock::now(), self.request.client.worker.random());
        }
    }

    /// The attempt that began last has ended: now, or at this time.
    #[inline]
    pub(super) fn end_attempt(&mut self, outcome: &Outcome, failure: Option<Failure>, at: Option<Instant>) {
        self.deadlines.end_attempt();
        if let Some(trace) = &mut self.trace {
            let at = at.unwrap_or_else(clock::now);
            trace.end_attempt(outcome, failure.map(Failure::code), at);
        }
    }

    /// Sends more of the request. The error is `None` if the backend does not accept it, else what the client did wrong.
    #[inline]
    pub(super) fn poll_body(
        &mut self,
        backend: &mut BackendConnection,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Option<Failure>>> {
        self.body
            .poll(self.request.client, backend, context)
            .map_err(|error| detail::blame_client(&error, &self.body, &mut self.request, &mut self.record))
    }

    /// Whether the client left while nothing is read from it: its request is read, or the backend does not take more. Of a
    /// byte stream only what is read tells that.
    #[inline]
    pub(super) fn has_client_left(&mut self, context: &mut Context<'_>, phase: Phase) -> bool {
        let client = &mut *self.request.client;
        // Of a request without a body, nothing is read before the first attempt.
        let is_read = self.body.transfer.is_read() || self.request.head.body == BodyLength::None;
        let is_told = is_read || client.connection.reports_departure();
        is_told && self.departure.poll(client, context, phase).is_ready()
    }

    /// Whether the client left while its request waits for a backend. Bytes of the body wait in the input meanwhile, as many as
    /// fit; behind more than that the end is not seen.
    #[cold]
    pub(super) fn has_waiting_client_left(&mut self, context: &mut Context<'_>) -> bool {
        let client = &mut *self.request.client;
        self.departure.poll(client, context, Phase::Waiting).is_ready()
    }

    /// How a client that left has failed.
    #[cold]
    pub(super) fn client_gone(&mut self) -> Failure {
        detail::client_gone(&mut self.request, &mut self.record)
    }
}
