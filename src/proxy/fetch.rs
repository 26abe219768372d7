//! Requests to other servers on behalf of a policy, over connections that are kept for the next one.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use evenkeel_balance::policy::{Fetch, Fetched, Job};

use super::departure::Phase;
use super::exchange::Exchange;
use super::own_request::{Body, OwnHeader, OwnRequest, Route};
use super::{LocalReason, Worker};
use crate::clock;
use crate::message::Limits;
use crate::pool::Pool;

/// Maximum size of the body of a response. It goes to the client as a whole, and is a page at most.
const BODY_BOUND: usize = 64 << 10;

/// Sends the request to the only backend of `server`, and hands it back with its response. One that comes back to this process is
/// refused as a loop.
///
/// # Errors
/// The client has left meanwhile.
pub(super) async fn perform(
    exchange: &mut Exchange<'_>,
    server: Option<&Arc<Pool>>,
    mut fetch: Box<Fetch>,
) -> Result<Job, LocalReason> {
    let worker = Rc::clone(&exchange.request.client.worker);
    let limits = exchange.request.snapshot.limits.message;
    let response = {
        let via = OwnHeader::via(exchange.request.head).collect();
        let asking = clock::timeout(fetch.timeout, ask(&worker, &limits, server, &fetch, via));
        let mut asking = std::pin::pin!(asking);
        let done = std::future::poll_fn(|context| {
            if let Poll::Ready(done) = asking.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            if exchange.has_client_left(context, Phase::Waiting) {
                return Poll::Ready(Err(exchange.client_gone()));
            }
            Poll::Pending
        });
        done.await?
    };
    let timed_out = |_| Err(format!("no complete response within {:?}", fetch.timeout));
    fetch.response = response.unwrap_or_else(timed_out);
    Ok(Job::Fetch(fetch))
}

async fn ask(
    worker: &Rc<Worker>,
    limits: &Limits,
    server: Option<&Arc<Pool>>,
    fetch: &Fetch,
    via: Vec<OwnHeader>,
) -> Result<Fetched, String> {
    let unknown = || "no server for this URL".to_owned();
    let pool = server.ok_or_else(unknown)?;
    let roster = pool.roster();
    let member = roster.members().first().ok_or_else(unknown)?;
    let route = Route {
        worker,
        limits,
        pool,
        member,
        introduction: None,
    };
    let authority = member.backend.address.authority();
    let mut request = request(fetch, &authority);
    request.headers.extend(via);
    let response = route.send(&request, Body::Keep(BODY_BOUND)).await;
    let response = response.map_err(|error| error.why)?;
    Ok(Fetched {
        status: response.status,
        headers: response.headers,
        body: response.body.into(),
    })
}

/// The request to a URL, of whose authority this is the usual form.
fn request(fetch: &Fetch, authority: &str) -> OwnRequest {
    let (path, query) = target(&fetch.url);
    let headers = fetch.headers.iter().map(|(name, value)| OwnHeader {
        name: name.as_bytes().into(),
        value: value.clone(),
        // Most are the client's, such as cookies.
        is_secret: true,
    });
    OwnRequest {
        method: fetch.method.as_bytes().into(),
        authority: authority.as_bytes().into(),
        path: path.as_bytes().into(),
        query: query.map(|query| query.as_bytes().into()),
        headers: headers.collect(),
        body: None,
    }
}

/// The path and the query of a URL.
fn target(url: &str) -> (&str, Option<&str>) {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let begin = rest.find(['/', '?']).unwrap_or(rest.len());
    let target = rest.get(begin..).unwrap_or_default();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    (if path.is_empty() { "/" } else { path }, query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_what_follows_the_authority() {
        for (url, path, query) in [
            ("http://a", "/", None),
            ("http://a/", "/", None),
            ("https://a:9/check", "/check", None),
            ("http://a/check?x=/y?z", "/check", Some("x=/y?z")),
            ("http://[::1]:9?x", "/", Some("x")),
            ("http://a/?", "/", Some("")),
        ] {
            assert_eq!(target(url), (path, query), "{url}");
        }
    }
}
