//! Fetches an error page from the pool that serves it. The page of a failed page is never asked for: there is one attempt, and a
//! second one where an idle connection had ended meanwhile.

use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::attempt_error::AttemptError;
use super::attempts::InFlight;
use super::connect::Connector;
use super::deadlines::Deadline;
use super::departure::Phase;
use super::exchange::Exchange;
use super::request::Request;
use super::route::PoolMatch;
use super::{Failure, pick, via};
use crate::backend::{Address, Scheme};
use crate::clock;
use crate::head::{BodyLength, Method, ResponseHead};
use crate::message::{self, Collect, HeadWriter, OutgoingHead, ResponseError, Target, TransferError, name};
use crate::pool::{BackendConnection, Member, Pool};
use crate::retry::{AttemptEnd, Outcome};

/// Largest page, in bytes, as for pages in files.
const MAX_PAGE: usize = 1 << 20;
/// Interim responses (1xx) that are skipped.
const INTERIM_BOUND: usize = 8;

/// A page that is there.
pub(super) struct Loaded {
    pub(super) media_type: Cow<'static, str>,
    pub(super) body: Arc<Vec<u8>>,
}

/// Fetches the page at `path` from the pool with this name.
pub(super) async fn fetch(exchange: &mut Exchange<'_>, pool: &str, path: &[u8]) -> Option<Loaded> {
    let local = exchange.request.worker().local();
    let mut pools = local.snapshot.pools.iter();
    let index = pools.position(|known| *known.settings.name == *pool)?;
    let PoolMatch { pool, eligible } = PoolMatch::of(index, &local)?;
    for is_fresh in [false, true] {
        let member = eligible.pick(pick::context(&exchange.request, pool, &[]))?;
        let worker = exchange.request.worker().index;
        let _in_flight = InFlight::new(member, worker, pool.shares_in_flight);
        let began = clock::now();
        let mut attempt = PageAttempt {
            pool,
            member,
            path,
            was_reused: false,
        };
        let result = attempt.run(exchange, is_fresh).await;
        exchange.deadlines.reset();
        let mut outcome = Outcome {
            backend: member.backend.id,
            end: AttemptEnd::Failure(None),
            event: None,
            nothing_sent: false,
            was_refused: false,
            was_reused: attempt.was_reused,
            connect_time: None,
            total_time: clock::now().saturating_duration_since(began),
        };
        match result {
            Ok((status, page)) => {
                outcome.end = AttemptEnd::Response(status);
                member.observe(&outcome, worker);
                return page;
            }
            Err(error) => {
                outcome.end = AttemptEnd::Failure(error.failure.cause());
                outcome.event = error.event;
                outcome.nothing_sent = error.nothing_sent;
                outcome.was_refused = error.was_refused;
                member.observe(&outcome, worker);
                tracing::debug!(backend = %member.backend.address, error = %error.failure, "Could not fetch an error page");
                // Only what the end of an idle connection explains is worth another attempt.
                if error.event.is_none() || !attempt.was_reused {
                    return None;
                }
            }
        }
    }
    None
}

/// One attempt to fetch a page.
struct PageAttempt<'p> {
    pool: &'p Pool,
    member: &'p Member,
    path: &'p [u8],
    was_reused: bool,
}

impl PageAttempt<'_> {
    /// Gives the status, and the page if it is one.
    async fn run(
        &mut self,
        exchange: &mut Exchange<'_>,
        is_fresh: bool,
    ) -> Result<(u16, Option<Loaded>), AttemptError> {
        let connector = Connector::new(&exchange.request, self.pool, self.member);
        let mut backend = connector.connect(is_fresh).await?;
        self.was_reused = backend.is_reused;
        let before = backend.connection.bytes_out;
        let head = PageRequest {
            request: &exchange.request,
            backend: &self.member.backend.address,
            path: self.path,
        };
        let buffers = &exchange.request.worker().buffers;
        backend.connection.put_request(&head, Method::Get, buffers);
        backend.connection.finish(b"");
        match self.receive(exchange, &mut backend).await {
            Ok(received) => {
                let status = backend.head.status;
                keep(exchange, self.pool, backend);
                Ok((status, received.filter(|_| status == 200)))
            }
            Err(failure) => Err(AttemptError::over(&mut backend, failure, before)),
        }
    }

    /// Waits for the response with its whole body, for as long as the pool's `first_byte` allows. Gives nothing for one that is no
    /// page.
    async fn receive(
        &self,
        exchange: &mut Exchange<'_>,
        backend: &mut BackendConnection,
    ) -> Result<Option<Loaded>, Failure> {
        let bound = (Deadline::FirstByte, self.pool.settings.timeouts.first_byte);
        let mut body = None;
        let mut media_type = None;
        exchange.deadlines.reset();
        poll_fn(|context| {
            match poll_page(exchange, backend, (&mut body, &mut media_type), context) {
                Poll::Pending => {}
                ready => return ready,
            }
            if exchange.has_client_left(context, Phase::Waiting) {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            let timer = &exchange.request.client.timer;
            let ended = exchange.deadlines.poll(context, timer, bound, 0);
            ended.map(|_| Err(Failure::BackendTimeout))
        })
        .await?;
        let body = body.map(|collect: Collect| Arc::new(collect.body));
        Ok(media_type
            .zip(body)
            .map(|(media_type, body)| Loaded { media_type, body }))
    }
}

/// Sends the request and reads its response; ready when the body is whole.
fn poll_page(
    exchange: &Exchange<'_>,
    backend: &mut BackendConnection,
    (body, media_type): (&mut Option<Collect>, &mut Option<Cow<'static, str>>),
    context: &mut Context<'_>,
) -> Poll<Result<(), Failure>> {
    let buffers = &exchange.request.worker().buffers;
    let limits = &exchange.request.snapshot.limits.message;
    let connection = &mut backend.connection;
    // The backend may have responded before it closed.
    let _ = connection.poll_flush(context);
    let mut interim = 0;
    while body.is_none() {
        let parsed = (&mut backend.scan, &mut backend.head);
        let end = ready!(message::poll_response(
            context,
            connection,
            parsed,
            (Method::Get, limits),
            buffers
        ));
        let end = end.map_err(|error| match error {
            ResponseError::Malformed(reason) => Failure::MalformedResponse(reason),
            ResponseError::Ended(_) | ResponseError::BrokeOff(_) => Failure::BackendReset,
        })?;
        match backend.head.status {
            101 => return Poll::Ready(Err(Failure::UnexpectedUpgrade)),
            200.. => {
                *media_type = media_type_of(&backend.head, connection.input.unread());
                *body = Some(Collect::of_response(&backend.head, limits, MAX_PAGE));
            }
            _ if interim == INTERIM_BOUND => return Poll::Ready(Err(Failure::TooManyInterimResponses)),
            _ => interim += 1,
        }
        connection.input.consume(end);
    }
    match body {
        Some(body) => body
            .poll(context, connection, buffers)
            .map_err(|error| match error {
                TransferError::TooLarge => Failure::ResponseTooLarge,
                _ => Failure::ResponseTruncated,
            }),
        None => Poll::Pending,
    }
}

/// The media type of a page, unless its body is encoded: the client may not accept that.
fn media_type_of(head: &ResponseHead, bytes: &[u8]) -> Option<Cow<'static, str>> {
    let value = |wanted: &[u8]| {
        let mut fields = head.fields.iter();
        let field = fields.find(|field| field.name.of(bytes).eq_ignore_ascii_case(wanted))?;
        Some(field.value.of(bytes))
    };
    if value(b"content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return None;
    }
    match value(b"content-type") {
        None => Some(Cow::Borrowed("text/html")),
        Some(media_type) => Some(Cow::Owned(std::str::from_utf8(media_type).ok()?.to_owned())),
    }
}

/// Keeps the connection for another request, if the end of this exchange is proved.
fn keep(exchange: &Exchange<'_>, pool: &Pool, backend: Box<BackendConnection>) {
    let is_clean = backend.connection.is_sequential()
        && backend.head.keep_alive
        && backend.head.body != BodyLength::UntilClose
        && !backend.connection.has_output()
        && backend.connection.input.is_empty()
        && !backend.connection.input_ended;
    if is_clean {
        let worker = exchange.request.worker();
        let keep_for = pool.settings.timeouts.backend_idle;
        worker
            .idle
            .give_back(backend, worker.wheel.now(), keep_for, &worker.buffers);
    }
}

/// The head of the request for a page.
struct PageRequest<'e> {
    /// Of the request that failed.
    request: &'e Request<'e>,
    backend: &'e Address,
    path: &'e [u8],
}

impl OutgoingHead for PageRequest<'_> {
    fn size(&self) -> (usize, usize) {
        (10, 256)
    }

    fn write<W: HeadWriter>(&self, out: &mut W) {
        let head = self.request.head;
        // The page may depend on the site.
        let own = self.backend.authority();
        let authority = match head.text(head.authority) {
            b"" => own.as_bytes(),
            host => host,
        };
        out.request(&Target {
            method: b"GET",
            is_secure: self.backend.scheme == Scheme::Https,
            authority,
            path: self.path,
            query: None,
        });
        out.set(name!("Accept"), b"text/html, */*;q=0.1");
        out.set(name!("Accept-Encoding"), b"identity");
        out.set(name!("X-Request-Id"), self.request.identity.request_id(head));
        // A request that comes back to this process is refused as a loop.
        via::of_instances(head).for_each(|element| out.set(name!("Via"), element));
        out.set(name!("Via"), via::element(head.version));
        out.finish();
    }
}
