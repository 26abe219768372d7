//! What exactly was wrong, for the access log and for whoever asks for the messages that were refused last. Nothing here runs
//! for a request that goes well.

use std::time::Duration;

use super::body::RequestBody;
use super::deadlines::Deadline;
use super::record::Record;
use super::request::Request;
use super::{Client, Failure, Worker, grpc};
use crate::clock;
use crate::head::{BodyLength, RequestHead};
use crate::message::{
    BodyError, Connection, Evidence, HeadError, Malformed, ReadSoFar, Transfer, TransferError, explain_break,
};
use crate::pool::{Pool, Timeouts};
use crate::telemetry::{Label, Rejected, RejectedFrom, RejectedLimit};
use crate::tls;

/// What a refused request asked for, as far as that was read. One that came as fields is in `head`.
pub(super) fn read_so_far<'a>(client: &'a Client, head: Option<&'a RequestHead>) -> ReadSoFar<'a> {
    let Some(head) = head else {
        return ReadSoFar::of(client.connection.input.unread());
    };
    let some = |text: &'a [u8]| (!text.is_empty()).then_some(text);
    ReadSoFar {
        method: some(head.text(head.method_text)),
        path: ReadSoFar::of_target(head.text(head.path)).path,
        host: some(head.text(head.authority)),
        version: Some(head.version.as_str()),
    }
}

/// Why a request was refused before anything else was done with it; keeps what was malformed.
pub(super) fn of_refused(client: &Client, head: Option<&RequestHead>, failure: Failure) -> Option<String> {
    let Failure::Malformed(reason) = failure else {
        return of_half_head(&client.worker, failure);
    };
    let local = client.worker.local();
    let limits = &local.snapshot.limits.message;
    let evidence = Evidence::of_request(reason, &client.connection, head, limits);
    Some(keep_request(evidence, client).1)
}

/// Why a request ended before its head was whole, where that broke no rule.
pub(super) fn of_half_head(worker: &Worker, failure: Failure) -> Option<String> {
    let local = worker.local();
    let snapshot = &local.snapshot;
    match failure {
        Failure::HeaderTimeout => Some(ran_out("timeouts.client_header", snapshot.timeouts.header)),
        Failure::Evicted => {
            let limit = snapshot.limits.connections?;
            Some(format!(
                "limits.connections is {limit}, and others had waited less long"
            ))
        }
        Failure::ClientGone => Some("the connection ended before the head was whole".to_owned()),
        _ => None,
    }
}

/// Says which timeout it was.
pub(super) fn ran_out(key: &str, bound: Duration) -> String {
    format!("ran out: {key} is {bound:?}")
}

/// Says by how much a body is beyond `limits.body`.
#[cold]
pub(super) fn of_length(limit: Option<u64>, body: BodyLength) -> Option<String> {
    let limit = limit?;
    Some(match body {
        BodyLength::Exact(length) if length > limit => {
            format!("limits.body is {limit}, Content-Length is {length}")
        }
        _ => format!(
            "limits.body is {limit}, at least {} came",
            limit.saturating_add(1)
        ),
    })
}

/// What is said where nothing was noted while the request ran.
#[cold]
pub(super) fn of_failure(failure: Failure, request: &Request<'_>, pool: Option<&Pool>) -> Option<String> {
    match failure {
        Failure::BackendsFull => {
            let limit = pool?.settings.in_flight_per_backend?;
            Some(format!("limits.in_flight_per_backend is {limit}"))
        }
        Failure::QueueFull => {
            let size = pool?.settings.queue?.size;
            Some(format!("queue.size is {size}, and as many requests wait"))
        }
        Failure::Malformed(reason) | Failure::MalformedResponse(reason) => Some(reason.rule().to_owned()),
        Failure::BodyTooLarge => of_length(request.snapshot.limits.body, request.head.body),
        _ => None,
    }
}

/// A wait has `ended` without what was waited for, which had this bound.
#[cold]
pub(super) fn of_wait(
    request: &Request<'_>,
    (ended, bound): (Deadline, Duration),
    timeouts: &Timeouts,
) -> Option<String> {
    let key = match ended {
        Deadline::Client => {
            let timeout = grpc::timeout(request.head)?;
            return Some(format!("ran out: grpc-timeout is {timeout:?}"));
        }
        Deadline::FirstByte if bound < timeouts.first_byte => {
            return Some(ran_out("timeouts.request", timeouts.request));
        }
        Deadline::FirstByte => "timeouts.first_byte",
        Deadline::Call => "timeouts.stream_idle",
        Deadline::ResponseBody if bound == timeouts.progress => "timeouts.progress",
        Deadline::ResponseBody => "timeouts.stream_idle",
        Deadline::Tunnel => "timeouts.tunnel_idle",
        Deadline::Slot => "queue.timeout",
        Deadline::Backoff => "retry.backoff",
        Deadline::Attempt => "retry.per_try_timeout",
        Deadline::ClientBody | Deadline::BackendTakes | Deadline::ClientTakes => "timeouts.progress",
    };
    let rate = request.snapshot.limits.min_body_rate;
    let is_rated = matches!(ended, Deadline::ClientBody | Deadline::ClientTakes);
    let rate = rate.filter(|_| is_rated).map_or_else(String::new, |rate| {
        format!(", limits.min_body_rate is {rate} bytes a second")
    });
    Some(ran_out(key, bound) + &rate)
}

/// The connection ended before the head of the response was whole. Without an error, nothing had come.
#[cold]
pub(super) fn of_reset(error: Option<&HeadError>) -> String {
    match error {
        None | Some(HeadError::Malformed(_)) => {
            "the backend closed the connection without a response".to_owned()
        }
        Some(HeadError::Cut) => {
            "the backend closed the connection within the head of its response".to_owned()
        }
        Some(HeadError::Io(error)) => tls::reason(error),
    }
}

/// The head of the response that came by `backend` is malformed.
#[cold]
pub(super) fn explain_malformed(
    reason: Malformed,
    backend: &mut Connection,
    request: &Request<'_>,
    record: &mut Record<'_>,
) {
    let limits = &request.snapshot.limits.message;
    let evidence = Evidence::of_response(reason, backend, limits);
    keep_response(evidence, "malformed_response", request, record);
}

/// The response's body, which came by `backend`, could not be moved to its end.
#[cold]
pub(super) fn explain_body(
    error: &TransferError,
    (transfer, backend): (&Transfer, &mut Connection),
    request: &Request<'_>,
    record: &mut Record<'_>,
) {
    let limits = &request.snapshot.limits;
    let moved = transfer.moved;
    record.detail = match error {
        TransferError::Sink(_) => None,
        TransferError::Encode(error) => Some(format!("{error}, behind {moved} bytes of the body")),
        TransferError::TooLarge => of_length(limits.body, BodyLength::None),
        TransferError::Body(BodyError::Malformed(reason)) => {
            let evidence = Evidence::of_body(*reason, transfer, backend, &limits.message);
            return keep_response(evidence, "response_truncated", request, record);
        }
        TransferError::Body(BodyError::Cut) => Some(match transfer.missing() {
            Some(missing) => {
                let length = moved.saturating_add(missing);
                format!("the connection was closed after {moved} of {length} bytes of the body")
            }
            None => {
                format!("the connection was closed within the chunks, behind {moved} bytes of the body")
            }
        }),
        TransferError::Source(error) => {
            if let Some(evidence) = Evidence::of_refused(backend, &limits.message) {
                return keep_response(evidence, "response_truncated", request, record);
            }
            let why = match backend.is_sequential() {
                true => Some(tls::reason(error)),
                false => backend.broke_off().map(explain_break),
            };
            why.map(|why| format!("{why}, behind {moved} bytes of the body"))
        }
    };
}

/// What the client did when its body could not be moved on; `None` when it was the backend that did not take it.
#[cold]
pub(super) fn blame_client(
    error: &TransferError,
    body: &RequestBody,
    request: &mut Request<'_>,
    record: &mut Record<'_>,
) -> Option<Failure> {
    match error {
        // Requests are not compressed.
        TransferError::Sink(_) | TransferError::Encode(_) => None,
        TransferError::TooLarge => Some(Failure::BodyTooLarge),
        TransferError::Body(BodyError::Malformed(reason)) => {
            let limits = &request.snapshot.limits.message;
            let evidence = Evidence::of_body(*reason, &body.transfer, &request.client.connection, limits);
            Some(explain_request(evidence, request, record))
        }
        TransferError::Source(_) | TransferError::Body(BodyError::Cut) => Some(client_gone(request, record)),
    }
}

/// The client has broken off; or its stream was reset because what came by that was malformed.
#[cold]
pub(super) fn client_gone(request: &mut Request<'_>, record: &mut Record<'_>) -> Failure {
    let limits = &request.snapshot.limits.message;
    let Some(evidence) = Evidence::of_refused(&mut request.client.connection, limits) else {
        return Failure::ClientGone;
    };
    record.was_stream_reset = true;
    explain_request(evidence, request, record)
}

fn explain_request(evidence: Evidence, request: &Request<'_>, record: &mut Record<'_>) -> Failure {
    let (failure, detail) = keep_request(evidence, request.client);
    record.detail = Some(detail);
    failure
}

fn keep_request(evidence: Evidence, client: &Client) -> (Failure, String) {
    let failure = Failure::Malformed(evidence.fault.reason);
    let peer = (RejectedFrom::Client, &client.peer.label);
    (failure, keep(evidence, &client.worker, peer, failure.code()))
}

fn keep_response(evidence: Evidence, error: &'static str, request: &Request<'_>, record: &mut Record<'_>) {
    let backend = record.backend();
    record.detail = backend.map(|label| {
        let backend = (RejectedFrom::Backend, label);
        keep(evidence, request.worker(), backend, error)
    });
}

/// Keeps evidence for whoever asks, and returns what the log says. Where the error does not name the reason, the log does.
fn keep(
    evidence: Evidence,
    worker: &Worker,
    (from, peer): (RejectedFrom, &Label),
    error: &'static str,
) -> String {
    let line = evidence.line();
    let Evidence { fault, excerpt } = evidence;
    let code = fault.reason.code();
    let detail = match from {
        RejectedFrom::Client => fault.to_string(),
        RejectedFrom::Backend => format!("{code}: {fault}"),
    };
    worker.counters.rejected.push(Rejected {
        time: clock::wall(),
        from,
        peer: peer.clone(),
        error,
        code,
        rule: fault.sentence(),
        line,
        header: fault.header,
        offset: fault.at,
        limit: fault.limit.map(|limit| RejectedLimit {
            key: limit.key,
            value: limit.value as u64,
            came: limit.came as u64,
        }),
        detail: detail.as_str().into(),
        excerpt: excerpt.into(),
    });
    detail
}
