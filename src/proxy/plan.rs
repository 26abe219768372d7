//! The plan of a route: what is done with its requests before a backend is picked, and with their responses.

use std::sync::Arc;

use evenkeel_balance::action::Mirror;
use evenkeel_balance::edits::{Direction, HeaderEdits};
use evenkeel_balance::policy::{Compression, Decision, ErrorPages, Job, Policy};
use evenkeel_balance::request::Request as View;
use evenkeel_balance::rewrite::Rewrite;

use super::body::{RequestBody, is_larger};
use super::changes::Changes;
use super::exchange::Exchange;
use super::record::Record;
use super::request::Request;
use super::{Failure, LocalReason, jobs};
use crate::head::BodyLength;
use crate::message::may_have_trailers;
use crate::pool::Pool;
use crate::telemetry::metrics::{PolicyCounters, PolicyOutcome};

/// What a route does beside forwarding.
#[derive(Debug, Default)]
pub struct Plan {
    /// Its policies, in the order in which they act.
    pub steps: Vec<Step>,
    /// How many of them, from the first, decide about requests: the others act on responses only.
    pub deciding: usize,
    /// Changes the path and the host for the backend.
    pub rewrite: Option<Rewrite>,
    /// Changes headers of requests.
    pub request_headers: Option<HeaderEdits>,
    /// Changes headers of responses.
    pub response_headers: Option<HeaderEdits>,
    /// Sends copies of requests to another pool, with this index.
    pub mirror: Option<(Mirror, usize)>,
    /// Maximum size of a request body in bytes, in place of `limits.body`.
    pub body_limit: Option<u64>,
    /// Those of its policies that act on responses.
    pub response: ResponsePolicies,
}

/// The policies of a route that act on responses. Chosen once, so that no response looks through all policies.
#[derive(Debug, Default)]
pub struct ResponsePolicies {
    /// The one that compresses.
    compression: Option<Arc<dyn Policy>>,
    /// The one that has the pages in place of errors.
    error_pages: Option<Arc<dyn Policy>>,
}

impl ResponsePolicies {
    /// Those among `steps`. Of several of one kind the first one counts.
    pub fn of(steps: &[Step]) -> Self {
        let first = |acts: fn(&dyn Policy) -> bool| {
            let mut policies = steps.iter().map(|step| &step.policy);
            policies.find(|policy| acts(&***policy)).cloned()
        };
        Self {
            compression: first(|policy| policy.compression().is_some()),
            error_pages: first(|policy| policy.error_pages().is_some()),
        }
    }
}

impl Plan {
    /// How it compresses responses, if it does.
    pub(super) fn compression(&self) -> Option<&Compression> {
        self.response.compression.as_ref()?.compression()
    }

    /// Its pages in place of errors, if it has any.
    pub(super) fn error_pages(&self) -> Option<&ErrorPages> {
        self.response.error_pages.as_ref()?.error_pages()
    }
}

/// A policy as one step of a plan. Routes share the policies that the config names.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name in the config.
    pub name: Arc<str>,
    /// What it does.
    pub policy: Arc<dyn Policy>,
    /// The server that it asks, as a pool with one backend.
    pub server: Option<Arc<Pool>>,
    /// Counts its decisions.
    pub counters: Arc<PolicyCounters>,
}

/// A policy that waits before it decides. In a box, because few requests meet one.
pub(super) struct Waiting {
    /// Its index among the steps of the plan.
    step: usize,
    /// What it waits for.
    job: Job,
}

/// Begins with the changes of a request: lets the policies decide, up to the first that has to wait. `None` once all have passed the
/// request and it is rewritten.
///
/// # Errors
/// The response of a policy, or why there cannot be another one.
pub(super) fn begin<'a>(
    exchange: &mut Exchange<'a>,
    plan: &'a Plan,
    route: usize,
) -> Result<Option<Box<Waiting>>, LocalReason> {
    let waiting = if plan.deciding == 0 {
        exchange.changes = Some(Changes::new(plan, route, None));
        None
    } else {
        let notes = exchange.request.worker().lend_notes();
        exchange.changes = Some(Changes::new(plan, route, Some(notes)));
        check_from(exchange, plan, 0)?
    };
    if waiting.is_none() {
        finish(exchange, plan)?;
    }
    Ok(waiting)
}

/// Goes on after [`begin`] until no policy has to wait.
///
/// # Errors
/// Those of [`begin`].
pub(super) async fn resume(
    exchange: &mut Exchange<'_>,
    plan: &Plan,
    mut waiting: Box<Waiting>,
) -> Result<(), LocalReason> {
    loop {
        let Waiting { step: index, job } = *waiting;
        let server = plan.steps.get(index).and_then(|step| step.server.as_ref());
        let done = jobs::perform(exchange, server, job).await?;
        match resume_at(exchange, plan, index, done)? {
            Some(next) => waiting = next,
            None => return finish(exchange, plan),
        }
    }
}

/// Lets the policies from this one on decide. Returns the first that has to wait.
#[inline(always)] // As part of `begin`, which runs for every request of a route with a plan.
fn check_from(
    exchange: &mut Exchange<'_>,
    plan: &Plan,
    first: usize,
) -> Result<Option<Box<Waiting>>, LocalReason> {
    let Exchange {
        request,
        changes,
        record,
        ..
    } = exchange;
    let Some(notes) = changes.as_mut().and_then(|changes| changes.notes.as_deref_mut()) else {
        return Ok(None);
    };
    let worker = request.worker();
    // Nothing of it but `random` differs from policy to policy.
    let mut view = request.view(worker.wall());
    let steps = plan.steps.get(first..plan.deciding).unwrap_or_default();
    for (index, step) in (first..).zip(steps) {
        view.random = worker.random();
        let decision = step.policy.check(&view, notes);
        if !decision.continues() {
            return stop(record, (index, step), decision, worker.index);
        }
        decision.discard();
        step.counters.count(worker.index, PolicyOutcome::Passed);
    }
    Ok(None)
}

/// Lets the policy decide that has waited for this, and those after it. Returns the next that has to wait.
fn resume_at(
    exchange: &mut Exchange<'_>,
    plan: &Plan,
    index: usize,
    done: Job,
) -> Result<Option<Box<Waiting>>, LocalReason> {
    let Exchange {
        request,
        changes,
        record,
        ..
    } = &mut *exchange;
    let notes = changes.as_mut().and_then(|changes| changes.notes.as_deref_mut());
    let (Some(notes), Some(step)) = (notes, plan.steps.get(index)) else {
        return Ok(None);
    };
    let worker = request.worker();
    let view = View {
        random: worker.random(),
        ..request.view(worker.wall())
    };
    match step.policy.resume(&view, notes, done) {
        Decision::Continue => step.counters.count(worker.index, PolicyOutcome::Passed),
        decision => return stop(record, (index, step), decision, worker.index),
    }
    check_from(exchange, plan, index + 1)
}

/// A policy does not let the request pass, or not yet.
#[inline(never)]
fn stop(
    record: &mut Record<'_>,
    (index, step): (usize, &Step),
    decision: Decision,
    worker: usize,
) -> Result<Option<Box<Waiting>>, LocalReason> {
    let (outcome, result) = match decision {
        Decision::Continue => (PolicyOutcome::Passed, Ok(None)),
        Decision::Wait(job) => (
            PolicyOutcome::Waited,
            Ok(Some(Box::new(Waiting { step: index, job }))),
        ),
        Decision::Refuse(refusal) => {
            record.policy = Some(Arc::clone(&step.name));
            let outcome = match refusal.code.is_empty() {
                true => PolicyOutcome::Responded,
                false => PolicyOutcome::Refused,
            };
            (outcome, Err(LocalReason::Refused(refusal)))
        }
    };
    step.counters.count(worker, outcome);
    result
}

/// A header that the route or its policies set or remove must not come as a trailer instead: some backends merge trailers into the
/// headers.
fn withhold_trailers(body: &mut RequestBody, changes: &Changes<'_>, request: &Request<'_>) {
    if may_have_trailers(request.head.version, request.head.body) {
        let names = changes.removed_from_request(request.identity.is_trusted);
        body.transfer.withhold(Direction::Request, names);
    }
}

/// All policies have passed the request.
#[inline(always)] // As part of `begin`, which runs for every request of a route with a plan.
fn finish(exchange: &mut Exchange<'_>, plan: &Plan) -> Result<(), LocalReason> {
    let head = exchange.request.head;
    let Some(changes) = &mut exchange.changes else {
        return Ok(());
    };
    let of_policies = changes.notes.as_ref().and_then(|notes| notes.body_limit);
    let limit = match (plan.body_limit, of_policies) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    exchange.body.transfer.set_limit(limit);
    if head.body != BodyLength::None {
        withhold_trailers(&mut exchange.body, changes, &exchange.request);
        if is_larger(head.body, limit) {
            return Err(Failure::BodyTooLarge.into());
        }
    }
    match plan.rewrite {
        None => Ok(()),
        Some(_) => Ok(changes.rewrite(head.text(head.path))?),
    }
}
