//! Forwards a response to the client once its head is complete. From here on nothing is retried.

use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_balance::edits::Direction;
use evenkeel_balance::policy::Page;

use super::attempts::BackendResponse;
use super::body::is_larger;
use super::changes::{HeaderChange, HeaderChanges};
use super::deadlines::Deadline;
use super::departure::Phase;
use super::exchange::Exchange;
use super::headers::{ForwardedResponse, ResponseContext};
use super::local_response::{Content, NO_CONTENT};
use super::logged_response::head_for_log;
use super::request::Request;
use super::{
    ConnectionDisposition, Failure, Forwarded, compress, detail, edited, error_page, grpc, headers,
    local_response, pinned, reuse, sticky, tunnel,
};
use crate::coding::ContentEncoder;
use crate::head::{BodyLength, FieldName};
use crate::message::{Transfer, TransferError, Waiting, framing_for, may_have_trailers};
use crate::pool::{BackendConnection, Pool};

/// A response that is being forwarded.
struct Response<'a> {
    pool: &'a Pool,
    backend: Box<BackendConnection>,
    transfer: Transfer,
    /// Whether the length of the body was announced.
    has_known_end: bool,
    sending_failed: bool,
}

/// How a response goes to the client.
struct Form<'a> {
    framing: BodyLength,
    /// Whether the client's connection stays open.
    keep_alive: bool,
    changes: Option<HeaderChanges<'a>>,
    /// What compresses the body.
    encoder: Option<ContentEncoder>,
}

/// Forwards a final response.
///
/// # Errors
/// A failure before the first byte of the response was sent, so that a local response can take its place.
pub(super) async fn forward<'a>(
    exchange: &mut Exchange<'a>,
    response: BackendResponse<'a>,
) -> Result<Forwarded, Failure> {
    let BackendResponse {
        to,
        member,
        connection: mut backend,
        is_cut,
    } = response;
    let pool = to.pool;
    exchange.record.responded_by(member, backend.head.status);
    if exchange.request.is_grpc {
        let bytes = backend.connection.input.unread();
        exchange.record.ending.grpc_status = grpc::status_in_head(&backend.head, bytes);
    }
    exchange.body.replay.abandon(&exchange.request.worker().buffers);
    exchange.deadlines.reset();
    exchange.deadlines.forget_client_deadline();
    let before = exchange.request.client.connection.bytes_out;
    if backend.head.status == 101 {
        // In a box, because every client's connection has room for this one, and few are tunnels.
        let cookie = sticky::set_cookie(exchange, to, member);
        return Ok(Box::pin(tunnel::run(exchange, (pool, cookie), backend)).await);
    }
    if is_larger(backend.head.body, exchange.request.snapshot.limits.body) {
        exchange.record.detail = detail::of_length(exchange.request.snapshot.limits.body, backend.head.body);
        return Err(Failure::ResponseTooLarge);
    }
    if let Some(page) = error_page::find(exchange, backend.head.status, false) {
        // In a box, because few responses are replaced.
        backend = match Box::pin(replace(exchange, page, pool, backend)).await {
            Ok(after) => return Ok(Forwarded { after, failure: None }),
            Err(backend) => backend,
        };
    }
    if !is_whole(&backend) {
        let look =
            |context: &mut Context<'_>| Poll::Ready(exchange.has_client_left(context, Phase::Beginning));
        if std::future::poll_fn(look).await {
            return Err(exchange.client_gone());
        }
    }
    let form = form(exchange, &backend, sticky::set_cookie(exchange, to, member));
    let Form {
        framing, keep_alive, ..
    } = form;
    exchange.request.client.connection.ends_after_message = !keep_alive;
    let mut response = begin(exchange, pool, backend, form);
    response.sending_failed = is_cut;
    let result = std::future::poll_fn(|context| response.poll(exchange, context)).await;
    if exchange.request.is_grpc {
        let trailers = &response.transfer.trailers;
        let status = &mut exchange.record.ending.grpc_status;
        *status = status.or(grpc::status_in_trailers(trailers));
    }
    let Err(failure) = result else {
        keep(exchange, response.backend, keep_alive, pool);
        let after = after(&mut exchange.request, keep_alive);
        return Ok(Forwarded { after, failure: None });
    };
    let was_begun = exchange.request.client.connection.bytes_out != before;
    if !was_begun && failure != Failure::ClientGone && exchange.request.client.connection.discard_output() {
        return Err(failure);
    }
    let after = match framing {
        // Without a length a close would look like the end of the body, and so might the end of a stream.
        _ if exchange.request.client.connection.marks_message_ends() => ConnectionDisposition::Reset,
        BodyLength::UntilClose => ConnectionDisposition::Reset,
        _ => ConnectionDisposition::Close,
    };
    Ok(Forwarded {
        after,
        failure: Some(failure),
    })
}

/// Decides how a response goes to the client.
#[inline]
fn form<'a>(
    exchange: &Exchange<'a>,
    backend: &BackendConnection,
    cookie: Option<HeaderChange<'a>>,
) -> Form<'a> {
    let mut changes = edited::of_response(exchange);
    if let Some(cookie) = cookie {
        changes.get_or_insert_default().add(cookie);
    }
    let encoder = changes.as_mut().and_then(|changes| {
        let head = (&backend.head, backend.connection.input.unread());
        compress::choose(exchange, head, changes)
    });
    let body = if encoder.is_some() {
        BodyLength::Chunked
    } else {
        backend.head.body
    };
    let framing = framing_for(body, exchange.request.head.version);
    let keep_alive = exchange.request.head.keep_alive
        && exchange.body.is_sent
        && (framing != BodyLength::UntilClose || exchange.request.client.connection.marks_message_ends())
        // What follows a request to upgrade may be meant for the other protocol: it is never read as a request.
        && exchange.request.head.upgrade.is_none()
        && !exchange.request.client.is_last_request
        && !exchange.request.client.is_draining();
    Form {
        framing,
        keep_alive,
        changes,
        encoder,
    }
}

/// Sends a page in place of the response, whose head has arrived.
///
/// # Errors
/// The response, if the page is not there.
async fn replace(
    exchange: &mut Exchange<'_>,
    page: &Page,
    pool: &Pool,
    mut backend: Box<BackendConnection>,
) -> Result<ConnectionDisposition, Box<BackendConnection>> {
    let Some(page) = error_page::load(exchange, page).await else {
        return Err(backend);
    };
    let fields = headers::of_response(&backend.head, backend.connection.input.unread());
    let content = Content {
        status: backend.head.status,
        code: NO_CONTENT,
        headers: fields
            .filter(|(name, ..)| !error_page::is_about_body(name))
            .collect(),
        body: Some((&page.media_type, &page.body)),
        is_backends: true,
    };
    let after = local_response::send_as_is(exchange, content, true).await;
    take_head(exchange, pool, &mut backend);
    if discard_body(&mut backend) {
        keep(exchange, backend, after == ConnectionDisposition::KeepAlive, pool);
    }
    Ok(after)
}

/// Drops the body of a response if all of it has arrived. Reading the rest would take longer than a new connection.
fn discard_body(backend: &mut BackendConnection) -> bool {
    let input = &mut backend.connection.input;
    let length = match backend.head.body {
        BodyLength::None => 0,
        BodyLength::Exact(length) => length,
        BodyLength::Chunked | BodyLength::UntilClose => return false,
    };
    let is_whole = input.unread().len() as u64 == length;
    if is_whole {
        input.consume(input.unread().len());
    }
    is_whole
}

/// What happens to the client's connection when request and response are complete.
fn after(request: &mut Request<'_>, keep_alive: bool) -> ConnectionDisposition {
    if keep_alive {
        return ConnectionDisposition::KeepAlive;
    }
    // Old clients send an empty line after a body, even on the last request.
    let head = request.head;
    let is_last = !head.keep_alive
        && matches!(head.body, BodyLength::None | BodyLength::Exact(0))
        && head.upgrade.is_none();
    let connection = &mut request.client.connection;
    if is_last && connection.input.is_empty() {
        // The response is sent together with the end, before anything that arrives can turn the close into a reset, which
        // would discard what the kernel has buffered.
        connection.end_sending();
        // A client that has sent more all the same may still lose the response to a reset.
        if !connection.is_ending() && !connection.is_readable_or_closed(true) {
            return ConnectionDisposition::End;
        }
    }
    ConnectionDisposition::Close
}

/// Writes the head into the client's output.
fn begin<'p>(
    exchange: &mut Exchange<'_>,
    pool: &'p Pool,
    mut backend: Box<BackendConnection>,
    form: Form<'_>,
) -> Response<'p> {
    let Form {
        framing, keep_alive, ..
    } = form;
    let worker = &exchange.request.client.worker;
    let context = ResponseContext {
        body: framing,
        keep_alive,
        version: exchange.request.head.version,
        date: &worker.date(),
        is_switch: false,
    };
    let bytes = backend.connection.input.unread();
    let response = ForwardedResponse {
        changes: form.changes.as_ref(),
        head: &backend.head,
        bytes,
        context,
    };
    exchange
        .request
        .client
        .connection
        .put_response(&response, &worker.buffers);
    exchange.record.response_head = head_for_log(worker, &response);
    take_head(exchange, pool, &mut backend);
    let limits = &exchange.request.snapshot.limits;
    let mut transfer = Transfer::of_response(&backend.head, framing, &limits.message, limits.body);
    if let Some(changes) = &form.changes
        && may_have_trailers(backend.head.version, backend.head.body)
    {
        transfer.withhold(Direction::Response, changes.removed());
    }
    if let Some(encoder) = form.encoder {
        transfer.filter(encoder);
    }
    Response {
        pool,
        has_known_end: matches!(backend.head.body, BodyLength::Exact(_)),
        backend,
        transfer,
        sending_failed: false,
    }
}

/// Takes the head out of the input, once what it says of the connection is known.
fn take_head(exchange: &Exchange<'_>, pool: &Pool, backend: &mut BackendConnection) {
    let mut credentials = exchange.request.head.values(FieldName::Authorization);
    backend.is_of_one_user |= reuse::authenticates_connection(&mut credentials, backend);
    reuse::note_keep_alive(backend, pool);
    backend.connection.input.consume(backend.head_end);
}

/// Keeps the backend's connection for another request, if the end of this exchange is proved on both sides. One with a
/// user is for this client alone, as long as its own connection stays open.
fn keep(exchange: &mut Exchange<'_>, backend: Box<BackendConnection>, keep_alive: bool, pool: &Pool) {
    if !exchange.body.is_sent || !reuse::is_possible(&backend) {
        return;
    }
    if !backend.is_of_one_user {
        reuse::give_back(backend, pool, &exchange.request.client.worker);
    } else if keep_alive {
        let keep_for = backend.keep_for.min(pool.settings.timeouts.backend_idle);
        pinned::pin(&mut exchange.request, backend, keep_for);
    }
}

impl Response<'_> {
    fn poll(&mut self, exchange: &mut Exchange<'_>, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let client = &mut *exchange.request.client;
        let backend = &mut self.backend.connection;
        match self.transfer.poll(
            context,
            backend,
            &mut client.connection,
            &client.worker.buffers,
            None,
        ) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                let moved = (&self.transfer, backend);
                detail::explain_body(&error, moved, &exchange.request, &mut exchange.record);
                return Poll::Ready(Err(failure_of(&error)));
            }
            Poll::Pending => {}
        }
        if exchange.has_client_left(context, Phase::Responding) {
            return Poll::Ready(Err(exchange.client_gone()));
        }
        if !exchange.body.is_sent && !self.sending_failed {
            match exchange.poll_body(&mut self.backend, context) {
                Poll::Ready(Ok(())) => exchange.body.is_sent = true,
                // The backend has responded and accepts no more of the request: its response counts.
                Poll::Ready(Err(None)) => self.sending_failed = true,
                Poll::Ready(Err(Some(failure))) => return Poll::Ready(Err(failure)),
                Poll::Pending => {}
            }
        }
        let deadline = self.deadline();
        let progress = match deadline.0 {
            Deadline::ClientTakes => exchange.request.client.connection.sent(),
            // In a two-way stream either direction shows that it lives.
            _ => self.transfer.moved + exchange.body.transfer.moved,
        };
        exchange
            .deadlines
            .poll(context, &exchange.request.client.timer, deadline, progress)
            .map(|ended| {
                exchange.record.detail = detail::of_wait(
                    &exchange.request,
                    (ended, deadline.1),
                    &self.pool.settings.timeouts,
                );
                Err(if ended == Deadline::ClientTakes {
                    Failure::ClientStalled
                } else {
                    Failure::ResponseStalled
                })
            })
    }

    fn deadline(&self) -> (Deadline, Duration) {
        let timeouts = &self.pool.settings.timeouts;
        match self.transfer.waiting {
            Waiting::ForSink => (Deadline::ClientTakes, timeouts.progress),
            // Event streams and long polls pause; a message of known length that does not move is stalled.
            Waiting::ForSource if self.has_known_end => (Deadline::ResponseBody, timeouts.progress),
            Waiting::ForSource => (Deadline::ResponseBody, timeouts.stream_idle),
        }
    }
}

fn failure_of(error: &TransferError) -> Failure {
    match error {
        TransferError::Sink(_) => Failure::ClientGone,
        TransferError::TooLarge => Failure::ResponseTooLarge,
        TransferError::Encode(_) => Failure::CompressionFailed,
        TransferError::Source(_) | TransferError::Body(_) => Failure::ResponseTruncated,
    }
}

/// Whether all of a response has arrived, judging by its head, so that it is written in one go.
fn is_whole(backend: &BackendConnection) -> bool {
    let received = backend.connection.input.unread();
    let body = received.get(backend.head_end..).unwrap_or_default();
    match backend.head.body {
        BodyLength::None => true,
        BodyLength::Exact(length) => length <= body.len() as u64,
        BodyLength::Chunked => body.ends_with(b"0\r\n\r\n"),
        BodyLength::UntilClose => false,
    }
}
