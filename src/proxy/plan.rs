//! The plan of a route: what is done with its requests before a backend is picked, and with their responses.

use std::sync::Arc;

use evenkeel_balance::action::Mirror;
use evenkeel_balance::edits::HeaderEdits;
use evenkeel_balance::policy::{Compression, Decision, ErrorPages, Job, Policy};
use evenkeel_balance::request::Request as View;
use evenkeel_balance::rewrite::Rewrite;

use super::body::is_larger;
use super::changes::Changes;
use super::exchange::Exchange;
use super::{Failure, LocalReason, jobs};
use crate::pool::Pool;
use crate::telemetry::metrics::{PolicyCounters, PolicyOutcome};

/// What a route does beside forwarding.
#[derive(Debug, Default)]
pub struct Plan {
    /// Its policies, in the order in which they act.
    pub steps: Vec<Step>,
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

/// A policy that waits before it decides.
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
) -> Result<Option<Waiting>, LocalReason> {
    let notes = exchange.request.worker().lend_notes();
    exchange.changes = Some(Changes::new(plan, route, notes));
    let waiting = match plan.steps.is_empty() {
        true => None,
        false => decide_from(exchange, plan, 0, None)?,
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
    mut waiting: Waiting,
) -> Result<(), LocalReason> {
    loop {
        let server = plan.steps.get(waiting.step).and_then(|step| step.server.as_ref());
        let done = jobs::perform(exchange, server, waiting.job).await?;
        match decide_from(exchange, plan, waiting.step, Some(done))? {
            Some(next) => waiting = next,
            None => return finish(exchange, plan),
        }
    }
}

/// Lets the policies from this one on decide; `done` is what the first of them waited for. Returns the first that has to wait.
fn decide_from(
    exchange: &mut Exchange<'_>,
    plan: &Plan,
    first: usize,
    mut done: Option<Job>,
) -> Result<Option<Waiting>, LocalReason> {
    // Nothing of it but `random` differs from policy to policy.
    let view = exchange.request.view(exchange.request.worker().wall());
    for (index, step) in plan.steps.iter().enumerate().skip(first) {
        if let Some(job) = decide(exchange, step, done.take(), view)? {
            return Ok(Some(Waiting { step: index, job }));
        }
    }
    Ok(None)
}

/// All policies have passed the request.
fn finish(exchange: &mut Exchange<'_>, plan: &Plan) -> Result<(), LocalReason> {
    let head = exchange.request.head;
    let Some(changes) = &mut exchange.changes else {
        return Ok(());
    };
    let limits = plan.body_limit.into_iter().chain(changes.notes.body_limit);
    let limit = limits.min();
    exchange.body.transfer.set_limit(limit);
    if is_larger(head.body, limit) {
        return Err(Failure::BodyTooLarge.into());
    }
    Ok(changes.rewrite(head.text(head.path))?)
}

/// Lets a policy decide, with what it waited for. Returns what it has to wait for next.
fn decide(
    exchange: &mut Exchange<'_>,
    step: &Step,
    done: Option<Job>,
    view: View<'_>,
) -> Result<Option<Job>, LocalReason> {
    let view = View {
        random: exchange.request.worker().random(),
        ..view
    };
    let Some(changes) = &mut exchange.changes else {
        return Ok(None);
    };
    let decision = match done {
        None => step.policy.check(&view, &mut changes.notes),
        Some(done) => step.policy.resume(&view, &mut changes.notes, done),
    };
    let outcome = match &decision {
        Decision::Continue => PolicyOutcome::Passed,
        Decision::Wait(_) => PolicyOutcome::Waited,
        Decision::Refuse(refusal) if refusal.code.is_empty() => PolicyOutcome::Responded,
        Decision::Refuse(_) => PolicyOutcome::Refused,
    };
    step.counters.count(exchange.request.worker().index, outcome);
    match decision {
        Decision::Continue => Ok(None),
        Decision::Wait(job) => Ok(Some(job)),
        Decision::Refuse(refusal) => {
            exchange.record.policy = Some(Arc::clone(&step.name));
            Err(LocalReason::Refused(refusal))
        }
    }
}
