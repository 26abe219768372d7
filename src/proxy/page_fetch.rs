//! Fetches an error page from the pool that serves it. The page of a failed page is never asked for: there is one backend and one
//! attempt, and a second one where an idle connection had ended meanwhile.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use super::departure::Phase;
use super::exchange::Exchange;
use super::in_flight::InFlight;
use super::own_request::{Body, OwnHeader, OwnRequest, OwnResponse, Route};
use super::{pick, via};
use crate::clock;

/// Largest page, in bytes, as for pages in files.
const MAX_PAGE: usize = 1 << 20;

/// A page that is there.
pub(super) struct Loaded {
    pub(super) media_type: Cow<'static, str>,
    pub(super) body: Arc<Vec<u8>>,
}

/// Fetches the page at `path` from the pool with this name, within its `first_byte`. `None` if there is none.
pub(super) async fn fetch(exchange: &mut Exchange<'_>, pool: &str, path: &[u8]) -> Option<Loaded> {
    // It would come back, be refused as this one is, and ask for its page in turn.
    if via::is_loop(exchange.request.head) {
        return None;
    }
    let worker = Rc::clone(&exchange.request.client.worker);
    let local = worker.local();
    let mut pools = local.snapshot.pools.iter();
    let index = pools.position(|known| *known.settings.name == *pool)?;
    let (pool, eligible) = local.pool(index)?;
    let member = eligible.pick(pick::context(exchange, pool, &[]))?;
    let _in_flight = InFlight::begin(member, worker.index, pool)?;
    let route = Route {
        worker: &worker,
        limits: &exchange.request.snapshot.limits.message,
        pool,
        member,
        introduction: None,
    };
    let request = request(exchange, &member.backend.address.authority(), path);
    let sending = clock::timeout(
        pool.settings.timeouts.first_byte,
        route.send(&request, Body::Keep(MAX_PAGE)),
    );
    let mut sending = std::pin::pin!(sending);
    let response = std::future::poll_fn(|context| {
        if let Poll::Ready(done) = sending.as_mut().poll(context) {
            return Poll::Ready(done.ok());
        }
        match exchange.has_client_left(context, Phase::Waiting) {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    })
    .await?;
    match response {
        Ok(response) => page(response),
        Err(error) => {
            tracing::debug!(backend = %member.backend.address, error = error.why, "Could not fetch an error page");
            None
        }
    }
}

/// The request for a page. It names the site, on which the page may depend; a request that comes back to this process is refused
/// as a loop.
fn request(exchange: &Exchange<'_>, authority: &str, path: &[u8]) -> OwnRequest {
    let head = exchange.request.head;
    let id = exchange.request.identity.request_id(head);
    let header = |name: &str, value: &[u8]| OwnHeader {
        name: name.as_bytes().into(),
        value: value.into(),
        is_secret: false,
    };
    let mut headers = vec![
        header("Accept", b"text/html, */*;q=0.1"),
        header("Accept-Encoding", b"identity"),
        header("X-Request-Id", id),
    ];
    headers.extend(OwnHeader::via(head));
    OwnRequest {
        method: b"GET"[..].into(),
        authority: match head.text(head.authority) {
            b"" => authority.as_bytes().into(),
            host => host.into(),
        },
        path: path.into(),
        headers,
        ..OwnRequest::default()
    }
}

/// The page of a response. One whose body is encoded is none: the client may not accept that.
fn page(response: OwnResponse) -> Option<Loaded> {
    let value = |wanted: &str| {
        let mut headers = response.headers.iter();
        let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(&**value)
    };
    let is_encoded =
        value("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    if response.status != 200 || is_encoded {
        return None;
    }
    let media_type = match value("content-type") {
        None => Cow::Borrowed("text/html"),
        Some(media_type) => Cow::Owned(std::str::from_utf8(media_type).ok()?.to_owned()),
    };
    Some(Loaded {
        media_type,
        body: Arc::new(response.body),
    })
}
