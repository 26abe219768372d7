//! What exactly was wrong, for the access log and for whoever asks for the messages that were refused last. Nothing here runs
//! for a request that goes well.

use std::time::Duration;

use super::deadlines::Deadline;
use super::{Client, Exchange, Failure, Worker, grpc};
use crate::clock;
use crate::head::{BodyLength, Flaw, RequestHead};
use crate::http1::{
    BodyError, Fault, FaultPlace, Kind, Limits, Malformed, ReadSoFar, excerpt, framing_excerpt,
};
use crate::message::{BrokeOff, Connection, HeadError, Transfer, TransferError};
use crate::pool::Pool;
use crate::telemetry::{Label, Rejected, RejectedFrom, RejectedLimit};
use crate::tls;

/// A fault, and what was around it.
struct Evidence {
    fault: Fault,
    excerpt: String,
}

impl Evidence {
    /// Of a head, or of trailers, of HTTP/1.
    fn of_bytes(bytes: &[u8], kind: Kind, reason: Malformed, limits: &Limits) -> Self {
        let fault = Fault::find(bytes, kind, reason, limits);
        let mut binding = String::new();
        excerpt(bytes, fault.at, kind, &mut binding);
        Self {
            fault,
            excerpt: binding,
        }
    }

    /// Of fields of HTTP/2, written as lines: those in `before` and the one that was refused.
    fn of_flaw(reason: Malformed, flaw: &Flaw, mut before: Vec<u8>, limits: &Limits) -> Self {
        let mut fault = Fault::of_flaw(reason, flaw, limits);
        if flaw.number > 0 {
            fault.at = before.len();
            push_line(&mut before, &flaw.name, &flaw.value);
        }
        let mut binding = String::new();
        excerpt(&before, fault.at, Kind::Trailers, &mut binding);
        Self {
            fault,
            excerpt: binding,
        }
    }

    /// Of the framing or the trailers of a body that `source` sent.
    fn of_body(reason: Malformed, transfer: &Transfer, source: &Connection, limits: &Limits) -> Self {
        let input = source.input.unread();
        match transfer.fault() {
            Some((at, true)) => {
                let section = input.get(at..).unwrap_or_default();
                Self::of_bytes(section, Kind::Trailers, reason, limits)
            }
            Some((at, false)) => {
                let mut binding = String::new();
                framing_excerpt(input, at, &mut binding);
                Self {
                    fault: Fault {
                        at: 0,
                        ..Fault::in_chunks(reason, (input, at), transfer.moved, limits)
                    },
                    excerpt: binding,
                }
            }
            None => Self {
                fault: Fault::of(reason),
                excerpt: String::new(),
            },
        }
    }

    /// Keeps it for whoever asks.
    fn keep(self, worker: &Worker, (from, peer): (RejectedFrom, &Label), error: &'static str, detail: &str) {
        let Self { fault, excerpt } = self;
        worker.counters.rejected.push(Rejected {
            time: clock::wall(),
            from,
            peer: peer.clone(),
            error,
            code: fault.reason.code(),
            rule: fault.sentence(),
            line: match fault.place {
                FaultPlace::Line(number) | FaultPlace::Header(number) => Some(number),
                FaultPlace::Whole | FaultPlace::Chunks(_) => None,
            },
            header: fault.header,
            offset: fault.at,
            limit: fault.limit.map(|limit| RejectedLimit {
                key: limit.key,
                value: limit.value as u64,
                came: limit.came as u64,
            }),
            detail: detail.into(),
            excerpt: excerpt.into(),
        });
    }
}

/// What a refused request asked for, as far as that was read. One that came by HTTP/2 is in `head`.
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
    let limits = &local.snapshot.limits;
    let evidence = match head {
        Some(head) => {
            let flaw = head.flaw.as_deref().cloned().unwrap_or_default();
            Evidence::of_flaw(reason, &flaw, lines_of(head), &limits.message)
        }
        None => {
            let bytes = client.connection.input.unread();
            Evidence::of_bytes(bytes, Kind::Request, reason, &limits.message)
        }
    };
    let detail = evidence.fault.to_string();
    let peer = (RejectedFrom::Client, &client.peer.label);
    evidence.keep(&client.worker, peer, failure.code(), &detail);
    Some(detail)
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

/// What a head of HTTP/2 asked for, as lines.
fn lines_of(head: &RequestHead) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, text) in [
        (&b":method"[..], head.method_text),
        (b":authority", head.authority),
        (b":path", head.path),
    ] {
        if !text.is_empty() {
            push_line(&mut lines, name, head.text(text));
        }
    }
    lines
}

fn push_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        lines.extend_from_slice(part);
    }
}

/// Says which timeout it was.
pub(super) fn ran_out(key: &str, bound: Duration) -> String {
    format!("ran out: {key} is {bound:?}")
}

/// Says by how much a body is beyond `limits.body`.
fn too_large(limit: Option<u64>, body: BodyLength) -> Option<String> {
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

impl Exchange<'_> {
    /// What is said where the failure itself says all that there is to say.
    #[cold]
    pub(super) fn plain_detail(&self, failure: Failure) -> Option<String> {
        match failure {
            Failure::Malformed(reason) | Failure::MalformedResponse(reason) => Some(reason.rule().to_owned()),
            Failure::BodyTooLarge => too_large(self.snapshot.limits.body, self.head.body),
            _ => None,
        }
    }

    /// A response's body that announces too much.
    #[cold]
    pub(super) fn explain_length(&mut self, body: BodyLength) {
        self.record.detail = too_large(self.snapshot.limits.body, body);
    }

    /// A wait for this has run out, which had this bound in this pool.
    #[cold]
    pub(super) fn explain_wait(&mut self, ended: Deadline, bound: Duration, pool: &Pool) {
        let timeouts = &pool.settings.timeouts;
        let key = match ended {
            Deadline::Client => {
                let timeout = grpc::timeout(self.head);
                self.record.detail = timeout.map(|timeout| format!("ran out: grpc-timeout is {timeout:?}"));
                return;
            }
            Deadline::FirstByte if bound < timeouts.first_byte => {
                self.record.detail = Some(ran_out("timeouts.request", timeouts.request));
                return;
            }
            Deadline::FirstByte => "timeouts.first_byte",
            Deadline::Call => "timeouts.stream_idle",
            Deadline::ResponseBody if bound == timeouts.progress => "timeouts.progress",
            Deadline::ResponseBody => "timeouts.stream_idle",
            Deadline::Tunnel => "timeouts.tunnel_idle",
            Deadline::ClientBody | Deadline::BackendTakes | Deadline::ClientTakes => "timeouts.progress",
        };
        let rate = self.snapshot.limits.min_body_rate;
        let is_rated = matches!(ended, Deadline::ClientBody | Deadline::ClientTakes);
        let rate = rate.filter(|_| is_rated).map_or_else(String::new, |rate| {
            format!(", limits.min_body_rate is {rate} bytes a second")
        });
        self.record.detail = Some(ran_out(key, bound) + &rate);
    }

    /// The head of the response that came by `backend` is malformed.
    #[cold]
    pub(super) fn explain_answer(&mut self, reason: Malformed, backend: &mut Connection) {
        let limits = &self.snapshot.limits.message;
        let evidence = match backend.take_refused() {
            Some((reason, flaw)) => Evidence::of_flaw(reason, &flaw, Vec::new(), limits),
            None if !backend.is_sequential() => {
                Evidence::of_flaw(reason, &Flaw::default(), Vec::new(), limits)
            }
            None => Evidence::of_bytes(backend.input.unread(), Kind::Response, reason, limits),
        };
        self.keep_answer(evidence, "malformed_response");
    }

    /// The connection ended before the head of the response was whole. Without an error, nothing had come.
    #[cold]
    pub(super) fn explain_reset(&mut self, error: Option<&HeadError>) {
        self.record.detail = Some(match error {
            None | Some(HeadError::Malformed(_)) => {
                "the backend closed the connection without a response".to_owned()
            }
            Some(HeadError::Cut) => {
                "the backend closed the connection within the head of its response".to_owned()
            }
            Some(HeadError::Io(error)) => tls::reason(error),
        });
    }

    /// The stream broke off before the head of the response was whole.
    #[cold]
    pub(super) fn explain_broken_stream(&mut self, broke_off: Option<BrokeOff>) {
        self.record.detail = broke_off.map(explain_break);
    }

    /// The response's body, which came by `backend`, could not be moved to its end.
    #[cold]
    pub(super) fn explain_body(
        &mut self,
        error: &TransferError,
        transfer: &Transfer,
        backend: &mut Connection,
    ) {
        let limits = &self.snapshot.limits;
        let moved = transfer.moved;
        self.record.detail = match error {
            TransferError::Sink(_) => None,
            TransferError::TooLarge => too_large(limits.body, BodyLength::None),
            TransferError::Body(BodyError::Malformed(reason)) => {
                let evidence = Evidence::of_body(*reason, transfer, backend, &limits.message);
                return self.keep_answer(evidence, "response_truncated");
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
                if let Some((reason, flaw)) = backend.take_refused() {
                    let evidence = Evidence::of_flaw(reason, &flaw, Vec::new(), &limits.message);
                    return self.keep_answer(evidence, "response_truncated");
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
    pub(super) fn blame_client(&mut self, error: &TransferError) -> Option<Failure> {
        match error {
            TransferError::Sink(_) => None,
            TransferError::TooLarge => Some(Failure::BodyTooLarge),
            TransferError::Body(BodyError::Malformed(reason)) => {
                let limits = &self.snapshot.limits.message;
                let evidence =
                    Evidence::of_body(*reason, &self.body.transfer, &self.client.connection, limits);
                Some(self.keep_request(evidence))
            }
            TransferError::Source(_) | TransferError::Body(BodyError::Cut) => Some(self.client_gone()),
        }
    }

    /// The client has broken off; or its stream was reset because what came by that was malformed.
    #[cold]
    pub(super) fn client_gone(&mut self) -> Failure {
        let Some((reason, flaw)) = self.client.connection.take_refused() else {
            return Failure::ClientGone;
        };
        self.record.was_stream_reset = true;
        let limits = &self.snapshot.limits.message;
        let evidence = Evidence::of_flaw(reason, &flaw, Vec::new(), limits);
        self.keep_request(evidence)
    }

    fn keep_request(&mut self, evidence: Evidence) -> Failure {
        let failure = Failure::Malformed(evidence.fault.reason);
        let detail = evidence.fault.to_string();
        let peer = (RejectedFrom::Client, &self.client.peer.label);
        evidence.keep(&self.client.worker, peer, failure.code(), &detail);
        self.record.detail = Some(detail);
        failure
    }

    fn keep_answer(&mut self, evidence: Evidence, error: &'static str) {
        let detail = format!("{}: {}", evidence.fault.reason.code(), evidence.fault);
        if let Some(label) = self.record.backend() {
            evidence.keep(
                &self.client.worker,
                (RejectedFrom::Backend, label),
                error,
                &detail,
            );
        }
        self.record.detail = Some(detail);
    }
}

fn explain_break(broke_off: BrokeOff) -> String {
    match broke_off {
        BrokeOff::Stream(reason) => format!("the backend reset the stream with {reason}"),
        BrokeOff::Connection(reason) => {
            format!("what the backend sent ended its HTTP/2 connection with {reason}")
        }
    }
}
