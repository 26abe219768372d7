//! The request path. Read [`serve_request`] first: it is the whole life of one request. It knows no listener, no admin
//! API and no config file; it works on one immutable snapshot.

mod attempt;
mod attempt_error;
mod attempts;
mod backoff;
mod body;
mod changes;
mod checks;
mod client;
mod compress;
mod computations;
mod connect;
mod deadlines;
mod departure;
mod detail;
mod edited;
mod error;
mod error_page;
mod exchange;
mod fetch;
mod forwarded;
mod forwarding;
mod giving_up;
mod grpc;
mod headers;
mod hedge;
mod in_flight;
mod jobs;
mod learn;
mod listener_policy;
mod local_response;
mod log;
mod logged_response;
mod max_forwards;
mod mirror;
mod outgoing;
mod own_request;
mod page_fetch;
mod pick;
mod pinned;
mod plan;
mod record;
mod request;
mod response;
mod response_head;
mod reuse;
mod route;
mod route_settings;
mod seen;
mod settings;
mod snapshot;
mod spans;
mod sticky;
mod target;
mod trace;
mod tried;
mod tunnel;
mod variables;
mod via;
mod waiting;
mod websocket;
mod worker;

use std::rc::Rc;

use crate::clock::Instant;

pub use client::{Certificate, Client, Peer};
pub use computations::Computations;
pub use departure::HalfClose;
pub use error::Failure;
pub use forwarded::{Identity, TrustedProxies};
pub use headers::write_request;
pub use listener_policy::ListenerPolicy;
pub use local_response::{log_half_head, refuse};
pub use plan::{Plan, ResponsePolicies, Step};
pub use route::{Route, SplitTarget, Target};
pub use route_settings::{Action, PolicySettings, PoolUse, RouteSettings, StoreSettings};
pub use settings::{ClientTimeouts, Limits};
pub use snapshot::{Snapshot, SnapshotCell, SnapshotHandle};
pub use worker::{Incoming, Worker};

use attempts::Attempts;
use changes::Changes;
use error::LocalReason;
use exchange::Exchange;
use request::Request;
use seen::Seen;

/// What happens to the client's connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionDisposition {
    /// The next request may come.
    KeepAlive,
    /// No more requests, as the client itself announced: nothing more is received or sent.
    End,
    /// No more requests; what the client still sends is read for a moment, so that the response arrives.
    Close,
    /// The connection is reset, since that is the only sign of an incomplete response.
    Reset,
}

/// A response that was forwarded, perhaps not to its end.
struct Forwarded {
    after: ConnectionDisposition,
    failure: Option<Failure>,
}

/// Serves one request whose head is complete, and logs one line whatever happens. Each phase is in the file of its name.
pub async fn serve_request(
    client: &mut Client,
    incoming: &Incoming,
    started: Instant,
) -> ConnectionDisposition {
    let worker = Rc::clone(&client.worker);
    let seen = Seen::new(worker.local());
    let request = Request::identify(client, &incoming.head, &seen.first().snapshot);
    let mut exchange = Exchange::begin(request, started);
    let after = match forward(&mut exchange, &seen).await {
        Ok(forwarded) => {
            if let Some(failure) = forwarded.failure {
                log::failed(&mut exchange, failure);
            }
            forwarded.after
        }
        Err(reason) => local_response::respond(&mut exchange, reason).await,
    };
    log::write(&mut exchange);
    after
}

/// Forwards a request to a backend, and its response to the client.
///
/// # Errors
/// Why the client gets a local response.
async fn forward<'a>(exchange: &mut Exchange<'a>, seen: &'a Seen) -> Result<Forwarded, LocalReason> {
    let local = seen.first();
    let Request {
        client,
        head,
        identity,
        ..
    } = &exchange.request;
    client.peer.policy.check(head, identity)?;
    let snapshot = &*local.snapshot;
    let Some((index, route)) = route::find(&exchange.request, snapshot) else {
        checks::check(head, snapshot.limits.body)?;
        return Err(Failure::NoRoute.into());
    };
    exchange.record.route = Some(route);
    let plan = route.plan.as_deref();
    let body_limit = plan.map_or(snapshot.limits.body, |plan| plan.body_limit);
    if let Err(reason) = checks::check(head, body_limit) {
        // The response is the route's all the same: its headers, and its pages.
        exchange.changes = plan.map(|plan| Changes::new(plan, index, None));
        return Err(reason);
    }
    let mut has_waited = false;
    if let Some(plan) = plan
        && let Some(waiting) = plan::begin(exchange, plan, index)?
    {
        Box::pin(plan::resume(exchange, plan, waiting)).await?;
        has_waited = true;
    }
    let mut to = target::choose(exchange, route, seen)?;
    if has_waited {
        // The eligible backends may be others by now.
        to = to.current(&exchange.request.worker().local());
    }
    if let Some(plan) = plan {
        mirror::begin(exchange, plan, local);
    }
    let mut attempts = Attempts::new(to);
    let first = match pick::first(exchange, &to) {
        Ok(first) => first,
        Err(failure) => Box::pin(attempts.wait_first(exchange, failure)).await?,
    };
    let response = attempts.run(exchange, first).await;
    if exchange.changes.is_some() {
        mirror::finish(exchange, local);
    }
    Ok(response::forward(exchange, response?).await?)
}
