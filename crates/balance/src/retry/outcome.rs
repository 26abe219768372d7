//! How one attempt ended: the value from which the retry policy, the counters and the health of the backend, and the log learn.

use std::time::Duration;

use super::{Cause, ConnectionEvent};
use crate::backend::BackendId;
use crate::latency::Sample;

/// How one attempt at a backend ended. It ends with the head of the final response, or with a failure before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The backend.
    pub backend: BackendId,
    /// The response, or why there is none.
    pub end: AttemptEnd,
    /// The failure of the connection, if it does not show that the backend fails.
    pub event: Option<ConnectionEvent>,
    /// Whether the backend cannot have seen any byte of the request.
    pub nothing_sent: bool,
    /// Whether the backend said that it did not process the request (RFC 9113 §8.7).
    pub was_refused: bool,
    /// Whether the response to a gRPC call consists of its trailers, with the status `UNAVAILABLE`.
    pub is_grpc_unavailable: bool,
    /// Whether the connection had carried a request before.
    pub was_reused: bool,
    /// Time from the beginning of the attempt until a new connection was established; `None` without a new connection.
    pub connect_time: Option<Duration>,
    /// Time from the beginning of the attempt to its end.
    pub total_time: Duration,
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The head of a final response with this status.
    Response(u16),
    /// No usable response. Without a cause, the backend did not bring it about, or another attempt could not end otherwise.
    Failure(Option<Cause>),
}

impl Outcome {
    /// That of an attempt at this backend which begins.
    #[inline]
    pub fn of(backend: BackendId) -> Self {
        Self {
            backend,
            end: AttemptEnd::Failure(None),
            event: None,
            nothing_sent: false,
            was_refused: false,
            is_grpc_unavailable: false,
            was_reused: false,
            connect_time: None,
            total_time: Duration::ZERO,
        }
    }

    /// The cause for which another attempt may follow.
    #[inline]
    pub fn cause(&self) -> Option<Cause> {
        match self.end {
            AttemptEnd::Response(status @ 502..=504) => Some(Cause::Status(status)),
            AttemptEnd::Response(_) => self.is_grpc_unavailable.then_some(Cause::GrpcUnavailable),
            AttemptEnd::Failure(cause) => cause,
        }
    }

    /// Whether the backend responded, and not with an error of its own.
    #[inline]
    pub fn is_success(&self) -> bool {
        matches!(self.end, AttemptEnd::Response(..500)) && !self.is_grpc_unavailable
    }

    /// Whether it says that the backend has more requests than it can serve.
    #[inline]
    pub fn says_overload(&self) -> bool {
        self.is_grpc_unavailable
            || matches!(
                self.end,
                AttemptEnd::Response(429 | 503 | 504) | AttemptEnd::Failure(Some(Cause::Timeout))
            )
    }

    /// Time from the beginning of the attempt to the head of the final response.
    #[inline]
    pub fn response_time(&self) -> Option<Duration> {
        matches!(self.end, AttemptEnd::Response(_)).then_some(self.total_time)
    }

    /// What it says of the latency of the backend. A response that says that the backend failed counts as a failure: it may come
    /// sooner than others. A switch of protocols (101) says nothing.
    pub fn latency(&self) -> Option<Sample> {
        match self.end {
            AttemptEnd::Response(101) => None,
            AttemptEnd::Response(_) if self.is_grpc_unavailable => Some(Sample::Failure(self.total_time)),
            AttemptEnd::Response(500 | 502..=504) => Some(Sample::Failure(self.total_time)),
            AttemptEnd::Response(_) => Some(Sample::Response(self.total_time)),
            AttemptEnd::Failure(_) => self.is_suspicious().then_some(Sample::Failure(self.total_time)),
        }
    }

    /// Whether it counts as a failure of the backend. What this machine lacked is no failure of the backend.
    #[inline]
    pub fn is_backend_failure(&self) -> bool {
        matches!(self.end, AttemptEnd::Failure(Some(_))) && self.event != Some(ConnectionEvent::Unconnectable)
    }

    /// Whether the backend should be probed. The end of a reused connection concerns that connection only, and a backend that
    /// refuses a request responds; but a new connection that was closed at once is a bad sign.
    #[inline]
    pub fn is_suspicious(&self) -> bool {
        let is_suspicious_event = match self.event {
            None => true,
            Some(ConnectionEvent::Unprocessed) => !self.was_refused,
            Some(_) => false,
        };
        self.is_backend_failure() && is_suspicious_event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(end: AttemptEnd, event: Option<ConnectionEvent>) -> Outcome {
        Outcome {
            end,
            event,
            total_time: Duration::from_millis(5),
            ..Outcome::of(BackendId::next())
        }
    }

    #[test]
    fn a_response_is_no_failure_of_the_backend_but_may_be_retried() {
        for (status, cause) in [
            (200, None),
            (500, None),
            (501, None),
            (502, Some(Cause::Status(502))),
            (504, Some(Cause::Status(504))),
            (505, None),
        ] {
            let outcome = outcome(AttemptEnd::Response(status), None);
            assert_eq!(outcome.cause(), cause, "{status}");
            assert!(
                !outcome.is_backend_failure() && !outcome.is_suspicious(),
                "{status}"
            );
            assert_eq!(outcome.response_time(), Some(outcome.total_time), "{status}");
        }
    }

    #[test]
    fn an_unavailable_grpc_service_refuses_like_a_503() {
        let refused = Outcome {
            is_grpc_unavailable: true,
            ..outcome(AttemptEnd::Response(200), None)
        };
        assert_eq!(refused.cause(), Some(Cause::GrpcUnavailable));
        assert!(!refused.is_backend_failure() && !refused.is_suspicious());
    }

    #[test]
    fn a_failure_is_never_a_short_latency() {
        let of = |end, event| outcome(end, event).latency();
        let took = outcome(AttemptEnd::Failure(None), None).total_time;
        let reset = AttemptEnd::Failure(Some(Cause::Reset));
        assert_eq!(of(AttemptEnd::Response(200), None), Some(Sample::Response(took)));
        assert_eq!(of(AttemptEnd::Response(501), None), Some(Sample::Response(took)));
        assert_eq!(of(AttemptEnd::Response(503), None), Some(Sample::Failure(took)));
        assert_eq!(of(reset, None), Some(Sample::Failure(took)));
        for (end, event) in [
            (AttemptEnd::Response(101), None),
            (reset, Some(ConnectionEvent::Stale)),
            (reset, Some(ConnectionEvent::Unconnectable)),
            (AttemptEnd::Failure(None), None),
        ] {
            assert_eq!(of(end, event), None, "{end:?} {event:?}");
        }
    }

    #[test]
    fn refusals_and_timeouts_say_overload() {
        for (end, is_success, says_overload) in [
            (AttemptEnd::Response(200), true, false),
            (AttemptEnd::Response(429), true, true),
            (AttemptEnd::Response(500), false, false),
            (AttemptEnd::Response(503), false, true),
            (AttemptEnd::Failure(Some(Cause::Timeout)), false, true),
            (AttemptEnd::Failure(Some(Cause::Reset)), false, false),
            (AttemptEnd::Failure(None), false, false),
        ] {
            let outcome = outcome(end, None);
            assert_eq!(
                (outcome.is_success(), outcome.says_overload()),
                (is_success, says_overload),
                "{end:?}"
            );
        }
    }

    #[test]
    fn an_attempt_without_a_response_has_no_response_time() {
        let outcome = outcome(AttemptEnd::Failure(Some(Cause::Timeout)), None);
        assert_eq!(outcome.response_time(), None);
        assert_eq!(outcome.cause(), Some(Cause::Timeout));
    }

    #[test]
    fn what_the_client_did_is_no_failure_of_the_backend() {
        let outcome = outcome(AttemptEnd::Failure(None), None);
        assert_eq!(outcome.cause(), None);
        assert!(!outcome.is_backend_failure() && !outcome.is_suspicious());
    }

    #[test]
    fn only_failures_that_say_something_of_the_backend_count_or_lead_to_a_probe() {
        for (event, was_refused, counts, is_suspicious) in [
            (None, false, true, true),
            (Some(ConnectionEvent::Stale), false, true, false),
            (Some(ConnectionEvent::Closing), true, true, false),
            (Some(ConnectionEvent::Unprocessed), false, true, true),
            (Some(ConnectionEvent::Unprocessed), true, true, false),
            (Some(ConnectionEvent::Unconnectable), false, false, false),
        ] {
            let outcome = Outcome {
                was_refused,
                ..outcome(AttemptEnd::Failure(Some(Cause::Reset)), event)
            };
            assert_eq!(outcome.is_backend_failure(), counts, "{event:?}");
            assert_eq!(outcome.is_suspicious(), is_suspicious, "{event:?} {was_refused}");
        }
    }
}
