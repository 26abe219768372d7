//! What became of a request.

use std::fmt;

use super::request::{Class, Method, Request};
use super::response::Response;
use crate::nonce;

/// A request and its outcome. Times are microseconds of the machine's clock.
#[derive(Debug, Clone)]
pub struct Record {
    /// How it was sent.
    pub class: Class,
    /// Its method.
    pub method: Method,
    /// Its nonce.
    pub nonce: u64,
    /// Whether it asked for a response that is cut.
    pub is_cut: bool,
    /// Whether it asked for a response that never comes.
    pub is_held: bool,
    /// Whether the response said that the connection ends with it.
    pub is_last: bool,
    /// Whose cookies it carried.
    pub client: Option<u32>,
    /// When it was due.
    pub due: u64,
    /// When it was sent.
    pub sent: u64,
    /// When the response was whole, or had failed.
    pub ended: u64,
    /// The status; 0 without a response.
    pub status: u16,
    /// Bytes of the response's body.
    pub bytes: usize,
    /// The number of the backend that responded.
    pub backend: Option<usize>,
    /// Why it failed; `None` when everything was as it must be.
    pub failure: Option<Failure>,
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The connection to the balancer could not be established.
    Connect,
    /// The connection ended before a response.
    Closed,
    /// The connection, or the stream, ended inside the response: a visible failure.
    Truncated,
    /// The response could not be understood.
    Malformed,
    /// No response in time.
    Timeout,
    /// A status that was not expected.
    Status(u16),
    /// The response to another request.
    WrongNonce,
    /// A response that seemed whole, with another body than the backend sent.
    WrongBody,
    /// The backend received another body than was sent.
    WrongHash,
    /// Not sent, since too many requests were waiting for their responses.
    TooManyInFlight,
}

impl Record {
    pub(crate) fn new(request: &Request, due: u64, nonce: u64) -> Self {
        Self {
            class: request.class,
            method: request.method,
            nonce,
            is_cut: request.behaviour.cut.is_some(),
            is_held: request.behaviour.is_hanging,
            is_last: false,
            client: request.client,
            due,
            sent: due,
            ended: due,
            status: 0,
            bytes: 0,
            backend: None,
            failure: None,
        }
    }

    pub(super) fn fail(mut self, failure: Failure) -> Self {
        self.failure = Some(failure);
        self
    }

    /// Verifies a whole response.
    pub(super) fn complete(&mut self, request: &Request, response: &Response) {
        self.status = response.status;
        self.bytes = response.body.len();
        self.backend = response.backend;
        self.is_last = response.is_last;
        let is_expected = response.status == request.behaviour.status;
        self.failure = if !is_expected {
            Some(Failure::Status(response.status))
        } else if response.nonce != Some(self.nonce) {
            Some(Failure::WrongNonce)
        } else if response.body != nonce::body(self.nonce, request.behaviour.size) {
            Some(Failure::WrongBody)
        } else if self.method == Method::Post && !self.is_hash_right(request, response) {
            Some(Failure::WrongHash)
        } else {
            None
        };
    }

    fn is_hash_right(&self, request: &Request, response: &Response) -> bool {
        let sent = request.outgoing(self.nonce, None).body;
        response.body_hash == Some(nonce::hash(&sent))
    }

    /// Whether it succeeded.
    pub fn is_ok(&self) -> bool {
        self.failure.is_none()
    }

    /// Time from when it was due to its end, in microseconds.
    pub fn latency(&self) -> u64 {
        self.ended.saturating_sub(self.due)
    }

    /// Whether it was under way at `time`, or within `slack` of it.
    pub fn was_in_flight(&self, time: u64, slack: u64) -> bool {
        self.sent <= time + slack && self.ended + slack >= time
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Connect => "could not connect",
            Self::Closed => "closed before a response",
            Self::Truncated => "truncated response",
            Self::Malformed => "malformed response",
            Self::Timeout => "no response in time",
            Self::Status(status) => return write!(formatter, "status {status}"),
            Self::WrongNonce => "response to another request",
            Self::WrongBody => "wrong response body",
            Self::WrongHash => "wrong request body",
            Self::TooManyInFlight => "too many in flight",
        };
        formatter.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_body_is_a_failure() {
        let request = Request::new(Class::KeepAlive, Method::Get);
        let mut record = Record::new(&request, 0, 5);
        let mut response = Response {
            status: 200,
            nonce: Some(5),
            body: nonce::body(5, 1_024),
            ..Response::default()
        };
        record.complete(&request, &response);
        assert_eq!(record.failure, None);
        response.body.pop();
        record.complete(&request, &response);
        assert_eq!(record.failure, Some(Failure::WrongBody));
        response.nonce = Some(6);
        record.complete(&request, &response);
        assert_eq!(record.failure, Some(Failure::WrongNonce));
        response.status = 503;
        record.complete(&request, &response);
        assert_eq!(record.failure, Some(Failure::Status(503)));
    }
}
