//! Local responses: those that Evenkeel makes itself, for errors, redirects, refusals of policies and routes that respond. For
//! errors the body is a page, problem details or text, as the client's `Accept` asks for.

use std::borrow::Cow;
use std::rc::Rc;

use evenkeel_balance::action::{MissingHost, Redirect, Respond};
use evenkeel_balance::edits::Direction;
use evenkeel_balance::local::{self, Problem};
use evenkeel_balance::policy::Refusal;

use super::changes::HeaderChanges;
use super::deadlines::{Deadline, Deadlines};
use super::exchange::Exchange;
use super::headers::write_added;
use super::log::{self, Refused, log_refused};
use super::logged_response::head_for_log;
use super::request::Request;
use super::variables::RequestVariables;
use super::{
    Client, ConnectionDisposition, Failure, LocalReason, Peer, Worker, compress, detail, edited, error_page,
    grpc, listener_policy,
};
use crate::clock::{self, Instant};
use crate::head::{BodyLength, FieldName, Method, RequestHead, Version};
use crate::message::{HeadWriter, Malformed, OutgoingHead, ReadSoFar, name, reason_phrase};

/// Seconds after which a client may try again: the time in which a backend is probed again.
const RETRY_AFTER: &[u8] = b"1";
/// In place of an error code: nothing has to be explained.
pub(super) const NO_CONTENT: &str = "";
/// Most explanations in text or JSON are shorter.
const EXPLANATION: usize = 256;
/// About how many fields a local response has, and how many bytes of them.
const SIZE: (usize, usize) = (8, 256);

/// What a local response consists of, beside what all of them have.
#[derive(Default)]
pub(super) struct Content<'a> {
    pub(super) status: u16,
    /// Why, or [`NO_CONTENT`].
    pub(super) code: &'a str,
    /// Headers: name, value, and whether it may be a secret.
    pub(super) headers: Vec<(&'a [u8], &'a [u8], bool)>,
    /// The body with its media type, in place of one that explains the status.
    pub(super) body: Option<(&'a str, &'a [u8])>,
    /// Whether all but the body is a backend's: nothing is added to its headers.
    pub(super) is_backends: bool,
}

/// Responds in place of a backend.
pub(super) async fn respond(exchange: &mut Exchange<'_>, reason: LocalReason) -> ConnectionDisposition {
    match reason {
        LocalReason::Failure(failure) => respond_to_failure(exchange, failure).await,
        // Not with 301, after which old clients turn a POST into a GET.
        LocalReason::Redirect(port) => {
            let location = listener_policy::location(exchange.request.head, port);
            let content = Content {
                status: 308,
                code: "https_redirect",
                headers: vec![(b"Location", &location, false)],
                ..Content::default()
            };
            send(exchange, content, true).await
        }
        LocalReason::LastRecipient => respond_as_last(exchange).await,
        LocalReason::Refused(refusal) => refuse_request(exchange, refusal).await,
    }
}

/// Responds as the final recipient: to OPTIONS with an empty success. TRACE would repeat the request, which may contain secrets of
/// its sender, and is refused.
async fn respond_as_last(exchange: &mut Exchange<'_>) -> ConnectionDisposition {
    let content = match exchange.request.head.method {
        Method::Options => Content {
            status: 200,
            code: NO_CONTENT,
            ..Content::default()
        },
        _ => Content {
            status: 405,
            code: "max_forwards",
            headers: vec![(b"Allow", b"OPTIONS", false)],
            ..Content::default()
        },
    };
    send(exchange, content, true).await
}

/// Sends the response of a policy or of the route itself.
async fn refuse_request(exchange: &mut Exchange<'_>, mut refusal: Box<Refusal>) -> ConnectionDisposition {
    exchange.record.ending.code = (!refusal.code.is_empty()).then_some(refusal.code);
    exchange.record.detail = refusal.detail.take();
    if exchange.request.is_grpc && !refusal.code.is_empty() {
        let status = grpc::status_of(refusal.status);
        return send_grpc(exchange, (refusal.status, status), refusal.code, true).await;
    }
    let headers = refusal.headers.iter();
    let body = refusal.body.as_ref();
    let content = Content {
        status: refusal.status,
        code: refusal.code,
        headers: headers
            .map(|(name, value)| (name.as_bytes(), &**value, false))
            .collect(),
        body: body.map(|(media_type, body)| (&**media_type, &**body)),
        is_backends: false,
    };
    send(exchange, content, true).await
}

/// The redirect of a route.
pub(super) fn redirect(exchange: &Exchange<'_>, redirect: &Redirect) -> LocalReason {
    let view = exchange.request.view(clock::wall());
    let mut location = Vec::with_capacity(exchange.request.head.bytes.len());
    match redirect.location(&view, &mut location) {
        Ok(()) => LocalReason::Refused(Refusal::new(redirect.status(), "").with("Location", location)),
        Err(MissingHost) => Failure::Malformed(Malformed::MissingHost).into(),
    }
}

/// The response of a route.
pub(super) fn fixed(exchange: &Exchange<'_>, respond: &Respond) -> LocalReason {
    let mut refusal = Refusal::new(respond.status(), "");
    let mut media_type = String::new();
    let variables = || RequestVariables::of(exchange, Cow::default());
    respond.write_headers(variables, &mut Vec::new(), |name, value, _| {
        match name.eq_ignore_ascii_case("Content-Type") {
            true => media_type = String::from_utf8_lossy(value.bytes()).into_owned(),
            false => refusal
                .headers
                .push((name.to_owned().into(), value.bytes().into())),
        }
    });
    // An error without a body may get a page.
    if !respond.body().is_empty() {
        refusal.body = Some((media_type.into(), respond.body().into()));
    }
    LocalReason::Refused(refusal)
}

async fn respond_to_failure(exchange: &mut Exchange<'_>, failure: Failure) -> ConnectionDisposition {
    log::failed(exchange, failure);
    if failure.status() == 499 {
        return ConnectionDisposition::Close;
    }
    if exchange.record.was_stream_reset {
        // Its stream was reset for that already (RFC 9113 §8.1.1), so no response can be sent.
        exchange.record.ending.status = failure.status();
        return ConnectionDisposition::End;
    }
    let may_keep = !failure.is_clients();
    if exchange.request.is_grpc {
        let status = (failure.status(), failure.grpc_status());
        return send_grpc(
            exchange,
            status,
            &format!("{}: {failure}", failure.code()),
            may_keep,
        )
        .await;
    }
    let content = Content {
        status: failure.status(),
        code: failure.code(),
        ..Content::default()
    };
    send(exchange, content, may_keep).await
}

/// Sends a gRPC status, for what would have been this HTTP status.
async fn send_grpc(
    exchange: &mut Exchange<'_>,
    (status, grpc_status): (u16, u32),
    message: &str,
    may_keep: bool,
) -> ConnectionDisposition {
    let request = &mut exchange.request;
    let response = GrpcStatus {
        status,
        grpc_status,
        message,
    };
    let id = request.identity.request_id(request.head);
    exchange.record.response_head = write_grpc(&response, Some(id), request.client);
    exchange.record.ending.status = 200;
    exchange.record.ending.grpc_status = Some(grpc_status);
    let keep_alive = keeps_client(exchange, may_keep);
    finish(exchange, keep_alive).await
}

/// Sends it, with a page in place of the explanation where the route has one for the status.
async fn send(exchange: &mut Exchange<'_>, content: Content<'_>, may_keep: bool) -> ConnectionDisposition {
    let page = match content.body {
        None => error_page::find(exchange, content.status, true),
        Some(_) => None,
    };
    let loaded = match page {
        // In a box, because few responses have one.
        Some(page) => Box::pin(error_page::load(exchange, page)).await,
        None => None,
    };
    let body = loaded
        .as_ref()
        .map(|page| (page.media_type.as_ref(), page.body.as_slice()));
    let body = content.body.or(body);
    send_as_is(exchange, Content { body, ..content }, may_keep).await
}

/// Sends it.
pub(super) async fn send_as_is(
    exchange: &mut Exchange<'_>,
    content: Content<'_>,
    may_keep: bool,
) -> ConnectionDisposition {
    exchange.record.ending.status = content.status;
    let keep_alive = keeps_client(exchange, may_keep);
    let mut changes = edited::of_response(exchange);
    let head = exchange.request.head;
    let mut explanation = Vec::new();
    let (media, body) = content.body(
        Some(head),
        Some(exchange.request.identity.request_id(head)),
        &mut explanation,
    );
    let compressed = compress(exchange, &content, (media, body), changes.as_mut()).await;
    let Request { identity, client, .. } = &mut exchange.request;
    let local_response = LocalResponse {
        content: &content,
        changes: changes.as_ref(),
        request_id: (!content.is_backends).then(|| identity.request_id(head)),
        media,
        body: compressed.as_deref().unwrap_or(body),
        has_body: head.method != Method::Head,
        keep_alive,
        version: head.version,
    };
    exchange.record.response_head = local_response.write(client);
    finish(exchange, keep_alive).await
}

/// Compresses the body where the route says so.
async fn compress(
    exchange: &Exchange<'_>,
    content: &Content<'_>,
    (media, body): (&str, &[u8]),
    changes: Option<&mut HeaderChanges<'_>>,
) -> Option<Vec<u8>> {
    let compression = exchange.changes.as_ref()?.plan.compression()?;
    let response = compress::Local {
        status: content.status,
        headers: &content.headers,
        media,
        body,
    };
    // In a box, because few routes compress.
    Box::pin(compress::local(exchange, compression, response, changes?)).await
}

/// Whether the client's connection may carry another request after a local response that allows it.
fn keeps_client(exchange: &Exchange<'_>, may_keep: bool) -> bool {
    let Request { head, client, .. } = &exchange.request;
    let is_read =
        exchange.body.transfer.is_read() || matches!(head.body, BodyLength::None | BodyLength::Exact(0));
    head.keep_alive
        && is_read
        && may_keep
        && head.upgrade.is_none()
        && !client.is_last_request
        && !client.is_draining()
}

/// Writes what is left of the response.
async fn finish(exchange: &mut Exchange<'_>, keep_alive: bool) -> ConnectionDisposition {
    let request = &mut exchange.request;
    match flush(request.client, &mut exchange.deadlines).await {
        Ok(()) if keep_alive => ConnectionDisposition::KeepAlive,
        Ok(()) => ConnectionDisposition::Close,
        Err(failure) => {
            log::failed(exchange, failure);
            let request = &mut exchange.request;
            let bound = request.snapshot.timeouts.header;
            let is_stalled = failure == Failure::ClientStalled;
            exchange.record.detail = is_stalled.then(|| detail::ran_out("timeouts.client_header", bound));
            match request.client.connection.marks_message_ends() {
                // A plain end would mark the response as complete.
                true => ConnectionDisposition::Reset,
                false => ConnectionDisposition::Close,
            }
        }
    }
}

/// How a gRPC call failed.
struct GrpcStatus<'a> {
    /// The HTTP status of the same failure.
    status: u16,
    grpc_status: u32,
    message: &'a str,
}

/// Responds to a gRPC call with trailers only, which are a head without a body. The HTTP status is 200. Returns the head if the
/// access log needs it.
fn write_grpc(status: &GrpcStatus<'_>, id: Option<&[u8]>, client: &mut Client) -> Option<Box<[u8]>> {
    let worker = Rc::clone(&client.worker);
    let response = GrpcResponse {
        status,
        request_id: id,
        date: &worker.date(),
    };
    client.connection.put_response(&response, &worker.buffers);
    client.connection.finish(b"");
    head_for_log(&worker, &response)
}

/// The head of a local response to a gRPC call.
struct GrpcResponse<'a> {
    status: &'a GrpcStatus<'a>,
    request_id: Option<&'a [u8]>,
    date: &'a [u8],
}

impl OutgoingHead for GrpcResponse<'_> {
    fn size(&self) -> (usize, usize) {
        SIZE
    }

    fn write<W: HeadWriter>(&self, out: &mut W) {
        out.status(200, b"");
        out.set(name!("Date"), self.date);
        out.set(name!("Content-Type"), grpc::MEDIA);
        if let Some(id) = self.request_id {
            write_request_id(id, out);
        }
        if self.status.status == 503 {
            out.set(name!("Retry-After"), RETRY_AFTER);
        }
        out.set_number(name!("Grpc-Status"), self.status.grpc_status.into());
        let mut message = Vec::new();
        grpc::write_message(self.status.message, &mut message);
        out.set(name!("Grpc-Message"), &message);
        out.finish();
    }
}

/// Responds to a client whose request has no usable head, and logs it. `head` is what was read of the head of a stream,
/// `received` when it began and how many of its bytes came.
pub async fn refuse(
    client: &mut Client,
    failure: Failure,
    head: Option<&RequestHead>,
    received: (Instant, usize),
) -> ConnectionDisposition {
    // Before the response: whoever has it finds the request in the list of rejected ones.
    let detail = detail::of_refused(client, head, failure);
    let before = client.connection.bytes_out;
    let mut refused = Refused::new(failure, received);
    if head.is_some() && refused.status == 400 {
        // RFC 9113 §8.1.1: a malformed request is an error of its stream.
        client.connection.refuse_stream();
    } else if refused.status != 499 {
        write_refusal(client, head, &mut refused);
        if let Err(failure) = flush(client, &mut Deadlines::default()).await {
            refused.status = failure.status();
            refused.grpc_status = None;
        }
    }
    client.worker.counters.heads_rejected.increment();
    refused.sent = client.connection.bytes_out - before;
    let read = detail::read_so_far(client, head);
    log_refused(&client.worker, &client.peer, &refused, &read, detail.as_deref());
    ConnectionDisposition::Close
}

/// Logs a request whose head was incomplete when its HTTP/2 connection ended: there is no stream to respond on.
/// `received` says when it began and how many of its bytes came.
pub fn log_half_head(worker: &Worker, peer: &Peer, failure: Failure, received: (Instant, usize)) {
    worker.counters.heads_rejected.increment();
    let refused = Refused::new(failure, received);
    let detail = detail::of_half_head(worker, failure);
    log_refused(worker, peer, &refused, &ReadSoFar::default(), detail.as_deref());
}

/// Puts the local response to a request without a usable head into the client's output.
fn write_refusal(client: &mut Client, head: Option<&RequestHead>, refused: &mut Refused) {
    if head.is_some_and(grpc::is_call) {
        refused.status = 200;
        let failure = refused.failure;
        let status = GrpcStatus {
            status: failure.status(),
            grpc_status: failure.grpc_status(),
            message: &format!("{}: {failure}", failure.code()),
        };
        refused.response_head = write_grpc(&status, None, client);
        refused.grpc_status = Some(status.grpc_status);
        return;
    }
    let is_head = match head {
        Some(head) => head.method == Method::Head,
        None => is_head(client.connection.input.unread()),
    };
    let content = Content {
        status: refused.status,
        code: refused.failure.code(),
        ..Content::default()
    };
    let mut explanation = Vec::new();
    let (media, body) = content.body(None, None, &mut explanation);
    let local_response = LocalResponse {
        content: &content,
        changes: None,
        request_id: None,
        media,
        body,
        has_body: !is_head,
        keep_alive: false,
        version: Version::default(),
    };
    refused.response_head = local_response.write(client);
}

/// Whether invalid bytes began as a HEAD request: the response has no body even so (RFC 9110 §9.3.2).
fn is_head(received: &[u8]) -> bool {
    let first_line = received.strip_prefix(b"\r\n").unwrap_or(received);
    first_line.starts_with(b"HEAD ")
}

/// Writes the client's output. Each `client_header` some of it has to be written: no pool is known whose `progress` could be
/// used.
async fn flush(client: &mut Client, deadlines: &mut Deadlines) -> Result<(), Failure> {
    let bound = client.worker.local().snapshot.timeouts.header;
    deadlines.reset();
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(result) = client.connection.poll_flush(context) {
            return std::task::Poll::Ready(result.map_err(|_| Failure::ClientGone));
        }
        let progress = client.connection.sent();
        deadlines
            .poll(context, &client.timer, (Deadline::ClientTakes, bound), progress)
            .map(|_| Err(Failure::ClientStalled))
    })
    .await
}

/// Writes the bytes of a request ID that may be repeated to the client.
fn write_request_id<W: HeadWriter>(id: &[u8], out: &mut W) {
    out.begin(name!("X-Request-Id"));
    local::repeatable(id).for_each(|part| out.part(part));
    out.end();
}

/// A local response to one client.
struct LocalResponse<'a> {
    content: &'a Content<'a>,
    /// What the route changes.
    changes: Option<&'a HeaderChanges<'a>>,
    request_id: Option<&'a [u8]>,
    /// The media type of the body.
    media: &'a str,
    body: &'a [u8],
    has_body: bool,
    keep_alive: bool,
    version: Version,
}

/// The head of a local response.
struct LocalHead<'a> {
    response: &'a LocalResponse<'a>,
    date: &'a [u8],
}

impl OutgoingHead for LocalHead<'_> {
    fn size(&self) -> (usize, usize) {
        SIZE
    }

    fn write<W: HeadWriter>(&self, out: &mut W) {
        let LocalResponse {
            content,
            changes,
            media,
            body,
            ..
        } = self.response;
        out.status(content.status, b"");
        out.set(name!("Date"), self.date);
        if !body.is_empty() && !media.is_empty() {
            out.set(name!("Content-Type"), media.as_bytes());
        }
        let has_retry_after = |(name, ..): &(&[u8], &[u8], bool)| name.eq_ignore_ascii_case(b"retry-after");
        if content.status == 503 && !content.is_backends && !content.headers.iter().any(has_retry_after) {
            out.set(name!("Retry-After"), RETRY_AFTER);
        }
        for (name, value, is_secret) in &content.headers {
            if !changes.is_some_and(|changes| changes.removes(Direction::Response, name)) {
                out.field(name, value, *is_secret);
            }
        }
        if let Some(changes) = changes {
            write_added(changes, out);
        }
        if let Some(id) = self.response.request_id {
            write_request_id(id, out);
        }
        // The length of a body that would be compressed is not known before that is done.
        let hides_length = !self.response.has_body && changes.is_some_and(|changes| changes.hides_length);
        if !has_no_content(content.status) && !hides_length {
            out.framing(BodyLength::Exact(body.len() as u64));
        }
        out.keep_alive(self.response.keep_alive, self.response.version);
        out.finish();
    }
}

impl LocalResponse<'_> {
    /// Puts it into the client's output. Returns its head if the access log needs it.
    fn write(&self, client: &mut Client) -> Option<Box<[u8]>> {
        let worker = &client.worker;
        let head = LocalHead {
            response: self,
            date: &worker.date(),
        };
        client.connection.put_response(&head, &worker.buffers);
        if self.has_body && !has_no_content(self.content.status) {
            let output = client.connection.output(&worker.buffers);
            output.extend_from_slice(self.body);
        }
        client.connection.finish(b"");
        head_for_log(worker, &head)
    }
}

impl Content<'_> {
    /// The media type and the body; `explanation` gets one that explains the status where there is none, in the form that the
    /// request accepts.
    fn body<'b>(
        &'b self,
        head: Option<&RequestHead>,
        request_id: Option<&[u8]>,
        explanation: &'b mut Vec<u8>,
    ) -> (&'b str, &'b [u8]) {
        match self.body {
            Some(body) => body,
            None if self.code == NO_CONTENT => ("", b""),
            None => {
                let problem = Problem {
                    status: self.status,
                    code: self.code,
                    title: reason_phrase(self.status),
                    request_id,
                };
                explanation.reserve(EXPLANATION);
                let accept = head.into_iter().flat_map(|head| head.values(FieldName::Accept));
                (local::render(accept, &problem, explanation), explanation)
            }
        }
    }
}

/// Whether a response with this status has no body (RFC 9110 §6.4.1), and no length.
fn has_no_content(status: u16) -> bool {
    matches!(status, 204 | 304)
}
