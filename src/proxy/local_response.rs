//! Local responses: those that Evenkeel makes itself, for errors and redirects. Short text, or JSON for clients that ask for
//! it.

use std::rc::Rc;
use std::time::Instant;

use super::deadlines::{Deadline, Deadlines};
use super::exchange::Exchange;
use super::log::{Refused, log_refused};
use super::request::Request;
use super::{
    Client, ConnectionDisposition, Failure, LocalReason, Peer, Worker, detail, grpc, listener_policy,
};
use crate::head::{BodyLength, FieldName, Method, RequestHead, Version};
use crate::message::{HeadWriter, OutgoingHead, ReadSoFar, name, reason_phrase};

/// Seconds after which a client may try again: the time in which a backend is probed again.
const RETRY_AFTER: &[u8] = b"1";
/// In place of an error code: nothing has to be explained.
const NO_CONTENT: &str = "";
/// About how many fields a local response has, and how many bytes of them.
const SIZE: (usize, usize) = (8, 256);

/// A header that a local response needs for its status: name and value.
type OwnField<'a> = (&'static [u8], &'a [u8]);

/// Responds in place of a backend.
pub(super) async fn respond(exchange: &mut Exchange<'_>, reason: LocalReason) -> ConnectionDisposition {
    match reason {
        LocalReason::Failure(failure) => respond_to_failure(exchange, failure).await,
        // Not with 301, after which old clients turn a POST into a GET.
        LocalReason::Redirect(port) => {
            let location = listener_policy::location(exchange.request.head, port);
            let code = (308, "https_redirect");
            send(exchange, code, Some((b"Location", &location)), true).await
        }
        // As the final recipient: to OPTIONS with an empty success. TRACE would repeat the request, which may contain secrets of
        // its sender, and is refused.
        LocalReason::LastRecipient => match exchange.request.head.method {
            Method::Options => send(exchange, (200, NO_CONTENT), None, true).await,
            _ => {
                let allow: OwnField<'_> = (b"Allow", b"OPTIONS");
                send(exchange, (405, "max_forwards"), Some(allow), true).await
            }
        },
    }
}

async fn respond_to_failure(exchange: &mut Exchange<'_>, failure: Failure) -> ConnectionDisposition {
    exchange.record.failed(failure);
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
        let request = &mut exchange.request;
        let id = request.identity.request_id(request.head);
        exchange.record.ending.status = 200;
        exchange.record.ending.grpc_status = Some(write_grpc(failure, Some(id), request.client));
        let keep_alive = keeps_client(exchange, may_keep);
        return finish(exchange, keep_alive).await;
    }
    send(exchange, (failure.status(), failure.code()), None, may_keep).await
}

async fn send(
    exchange: &mut Exchange<'_>,
    (status, code): (u16, &'static str),
    field: Option<OwnField<'_>>,
    may_keep: bool,
) -> ConnectionDisposition {
    exchange.record.ending.status = status;
    let keep_alive = keeps_client(exchange, may_keep);
    let request = &mut exchange.request;
    let local_response = LocalResponse {
        status,
        code,
        field,
        request_id: Some(request.identity.request_id(request.head)),
        wants_json: wants_json(request.head),
        has_body: request.head.method != Method::Head,
        keep_alive,
        version: request.head.version,
    };
    local_response.write(request.client);
    finish(exchange, keep_alive).await
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
        && !client.worker.is_draining.get()
}

/// Writes what is left of the response.
async fn finish(exchange: &mut Exchange<'_>, keep_alive: bool) -> ConnectionDisposition {
    let request = &mut exchange.request;
    match flush(request.client, &mut exchange.deadlines).await {
        Ok(()) if keep_alive => ConnectionDisposition::KeepAlive,
        Ok(()) => ConnectionDisposition::Close,
        Err(failure) => {
            exchange.record.failed(failure);
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

/// Responds to a gRPC call with trailers only, which are a head without a body. The HTTP status is 200. Returns the gRPC
/// status.
fn write_grpc(failure: Failure, id: Option<&[u8]>, client: &mut Client) -> u32 {
    let worker = Rc::clone(&client.worker);
    let response = GrpcResponse {
        failure,
        grpc_status: failure.grpc_status(),
        request_id: id,
        date: &worker.date(),
    };
    client.connection.put_response(&response, &worker.buffers);
    client.connection.finish(b"");
    response.grpc_status
}

/// The head of a local response to a gRPC call.
struct GrpcResponse<'a> {
    failure: Failure,
    grpc_status: u32,
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
        if self.failure.status() == 503 {
            out.set(name!("Retry-After"), RETRY_AFTER);
        }
        out.set_number(name!("Grpc-Status"), self.grpc_status.into());
        let mut message = Vec::new();
        grpc::write_message(
            &format!("{}: {}", self.failure.code(), self.failure),
            &mut message,
        );
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
        refused.grpc_status = Some(write_grpc(refused.failure, None, client));
        return;
    }
    let is_head = match head {
        Some(head) => head.method == Method::Head,
        None => is_head(client.connection.input.unread()),
    };
    let local_response = LocalResponse {
        status: refused.status,
        code: refused.failure.code(),
        field: None,
        request_id: None,
        wants_json: false,
        has_body: !is_head,
        keep_alive: false,
        version: Version::default(),
    };
    local_response.write(client);
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
        let progress = client.connection.bytes_out;
        deadlines
            .poll(context, &client.timer, (Deadline::ClientTakes, bound), progress)
            .map(|_| Err(Failure::ClientStalled))
    })
    .await
}

/// The bytes of a request ID that are repeated to the client: a trusted proxy may have sent anything, and these need no
/// escaping anywhere.
fn repeatable(id: &[u8]) -> impl Iterator<Item = &u8> {
    id.iter()
        .filter(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte))
}

fn write_request_id<W: HeadWriter>(id: &[u8], out: &mut W) {
    out.begin(name!("X-Request-Id"));
    for byte in repeatable(id) {
        out.part(std::slice::from_ref(byte));
    }
    out.end();
}

/// Whether the client asks for JSON by name.
fn wants_json(head: &RequestHead) -> bool {
    head.values(FieldName::Accept)
        .any(|value| memchr::memmem::find(value, b"application/json").is_some())
}

struct LocalResponse<'a> {
    status: u16,
    /// Why, or [`NO_CONTENT`].
    code: &'static str,
    /// What else the status calls for.
    field: Option<OwnField<'a>>,
    request_id: Option<&'a [u8]>,
    wants_json: bool,
    has_body: bool,
    keep_alive: bool,
    version: Version,
}

/// The head of a local response.
struct LocalHead<'a> {
    response: &'a LocalResponse<'a>,
    /// The media type of the body, and its length.
    media: &'a [u8],
    length: usize,
    date: &'a [u8],
}

impl OutgoingHead for LocalHead<'_> {
    fn size(&self) -> (usize, usize) {
        SIZE
    }

    fn write<W: HeadWriter>(&self, out: &mut W) {
        let response = self.response;
        out.status(response.status, b"");
        out.set(name!("Date"), self.date);
        if self.length > 0 {
            out.set(name!("Content-Type"), self.media);
        }
        if response.status == 503 {
            out.set(name!("Retry-After"), RETRY_AFTER);
        }
        if let Some((name, value)) = response.field {
            out.field(name, value, false);
        }
        if let Some(id) = response.request_id {
            write_request_id(id, out);
        }
        out.framing(BodyLength::Exact(self.length as u64));
        out.keep_alive(response.keep_alive, response.version);
        out.finish();
    }
}

impl LocalResponse<'_> {
    fn write(&self, client: &mut Client) {
        let mut body = Vec::with_capacity(256);
        let media = match self.wants_json {
            _ if self.code == NO_CONTENT => b"",
            true => self.json(&mut body),
            false => self.text(&mut body),
        };
        let worker = &client.worker;
        let head = LocalHead {
            response: self,
            media,
            length: body.len(),
            date: &worker.date(),
        };
        client.connection.put_response(&head, &worker.buffers);
        if self.has_body {
            client.connection.output(&worker.buffers).extend_from_slice(&body);
        }
        client.connection.finish(b"");
    }

    fn text(&self, body: &mut Vec<u8>) -> &'static [u8] {
        body.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
        for part in [" ", reason_phrase(self.status), ": ", self.code, "\n"] {
            body.extend_from_slice(part.as_bytes());
        }
        if let Some(id) = self.request_id {
            body.extend_from_slice(b"request_id: ");
            body.extend(repeatable(id));
            body.push(b'\n');
        }
        b"text/plain; charset=utf-8"
    }

    fn json(&self, body: &mut Vec<u8>) -> &'static [u8] {
        body.extend_from_slice(b"{\"status\":");
        body.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
        for part in [",\"error\":\"", self.code, "\""] {
            body.extend_from_slice(part.as_bytes());
        }
        if let Some(id) = self.request_id {
            body.extend_from_slice(b",\"request_id\":\"");
            body.extend(repeatable(id));
            body.push(b'"');
        }
        body.extend_from_slice(b"}\n");
        b"application/json"
    }
}
