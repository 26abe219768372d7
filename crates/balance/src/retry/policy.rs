//! The retry policy: decides which failed attempts may be followed by another.

use std::time::Duration;

use evenkeel_wire::head::{BodyLength, RequestHead};

use super::backoff::Backoff;
use super::cause::{Cause, Causes};
use super::hedge::Hedge;
use super::idempotency::is_repeatable;

/// How many attempts a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// As many as the pool has backends; attempts that failed by a [`ConnectionEvent`] do not count.
    All,
    /// At most this many of any kind, 1 or more. Backends that failed are asked again once all have failed.
    AtMost(u32),
}

/// A failure of a connection that does not show that its backend fails. Except for the last variant, the attempt does not count
/// as one of the backend's attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// A reused connection ended: the backend may have closed it before this request arrived. The next attempt must use a new
    /// connection, so this happens at most once for a request.
    Stale,
    /// The backend closes the connection and did not process the request, which arrived too late (RFC 9113 §6.8).
    Closing,
    /// The backend did not process the request: it reported so (RFC 9113 §8.7), or nothing of the request was written.
    Unprocessed,
    /// This process or machine lacked a resource for connecting, such as a local port. This counts as one of the backend's
    /// attempts.
    Unconnectable,
}

/// Maximum number of attempts of one request that backends did not process. If a backend refuses three of ten requests at random,
/// one request in a thousand million is refused this often.
const MAX_UNPROCESSED: u32 = 17;

/// The settings of `retry:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Maximum number of attempts for one request.
    pub attempts: Attempts,
    /// Which failures are retried at all.
    pub causes: Causes,
    /// Whether a backend's refusal, a 503 or `grpc_unavailable`, is also retried for requests that are not idempotent.
    pub non_idempotent_503: bool,
    /// Maximum number of bytes of a request body that are kept for a retry.
    pub replay_limit: u64,
    /// For one attempt, from its beginning to the head of the response.
    pub per_try_timeout: Option<Duration>,
    /// The waits before a backend is asked again.
    pub backoff: Backoff,
    /// Whether picks avoid a backend that refused a request, for as long as its `Retry-After` says.
    pub respect_retry_after: bool,
    /// When a second attempt begins while the first still runs; `None` for never.
    pub hedge: Option<Hedge>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts: Attempts::All,
            causes: Causes::default(),
            non_idempotent_503: true,
            replay_limit: 64 << 10,
            per_try_timeout: None,
            backoff: Backoff::default(),
            respect_retry_after: true,
            hedge: None,
        }
    }
}

/// A failed attempt, as far as the policy needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Why it got no usable response.
    pub cause: Cause,
    /// Whether the request may be processed twice: see [`is_repeatable`].
    pub is_idempotent: bool,
    /// Whether at least one byte of the request was written to the socket.
    pub was_sent: bool,
    /// The failure of the connection, if it does not show that the backend fails.
    pub event: Option<ConnectionEvent>,
    /// Whether all bytes of the body that were read from the client are still kept; true without a body, and while none of it
    /// has been read.
    pub is_replayable: bool,
    /// Whether a byte of a response was sent to the client.
    pub has_response_begun: bool,
    /// Number of attempts so far, including this one: 1 or more.
    pub attempts: u32,
    /// How many of them were [`ConnectionEvent::Stale`].
    pub stale: u32,
    /// How many of them were [`ConnectionEvent::Closing`] or [`ConnectionEvent::Unprocessed`].
    pub unprocessed: u32,
    /// Number of backends of the pool.
    pub backends: u32,
}

impl Policy {
    /// Whether another attempt may follow, if the budget allows it.
    pub fn may_retry(&self, failure: &Failure) -> bool {
        !failure.has_response_begun
            && failure.is_replayable
            && self.causes.contains(failure.cause)
            && self.has_attempts_left(failure)
            && self.is_safe(failure)
    }

    /// Whether the request may wait until a backend is back, after it has failed at all of them: if it could not connect, or if its
    /// connection was cut and it may be sent again. The number of attempts does not count, except that one attempt is one.
    pub fn may_wait(&self, failure: &Failure) -> bool {
        !failure.has_response_begun
            && failure.is_replayable
            && matches!(failure.cause, Cause::ConnectFailure | Cause::Reset)
            && failure.event != Some(ConnectionEvent::Unconnectable)
            && self.causes.contains(failure.cause)
            && self.attempts != Attempts::AtMost(1)
            && self.is_safe(failure)
    }

    /// Whether the retry takes a token of the budget. A retry after the end of a connection takes none: otherwise requests would
    /// fail because many of them shared the connection, or because others had emptied the budget. This happens at most once or
    /// twice for a request, so it is bounded all the same.
    pub fn needs_token(failure: &Failure) -> bool {
        match failure.event {
            // The failed attempt put no load on the backend.
            Some(ConnectionEvent::Stale | ConnectionEvent::Unconnectable) => false,
            Some(ConnectionEvent::Closing) => failure.unprocessed > 1,
            Some(ConnectionEvent::Unprocessed) | None => true,
        }
    }

    /// Whether a request can be sent again if the connection that carries it ends, as far as that is known before it is sent.
    #[inline]
    pub fn survives_reset(&self, head: &RequestHead) -> bool {
        let is_kept = match head.body {
            BodyLength::None => true,
            BodyLength::Exact(length) => length <= self.replay_limit,
            _ => false,
        };
        is_kept
            && self.attempts != Attempts::AtMost(1)
            && is_repeatable(head)
            && self.causes.contains(Cause::Reset)
    }

    /// What would become of a request after the first failure of each cause, once all of it was sent to one of this number of
    /// backends: whether it is retried, as long as budget is left. For people who ask what this policy does.
    pub fn verdict(&self, is_idempotent: bool, backends: u32) -> impl Iterator<Item = (Cause, bool)> {
        let retried = move |cause| Failure {
            cause,
            is_idempotent,
            was_sent: cause != Cause::ConnectFailure,
            event: None,
            is_replayable: true,
            has_response_begun: false,
            attempts: 1,
            stale: 0,
            unprocessed: 0,
            backends,
        };
        let all = Cause::ALL.into_iter();
        all.map(move |cause| (cause, self.may_retry(&retried(cause))))
    }

    fn has_attempts_left(&self, failure: &Failure) -> bool {
        let uncounted = failure.stale + failure.unprocessed;
        let is_allowed = match self.attempts {
            Attempts::All => failure.attempts.saturating_sub(uncounted) < failure.backends,
            Attempts::AtMost(most) => failure.attempts < most,
        };
        is_allowed && failure.unprocessed < MAX_UNPROCESSED
    }

    /// Whether a retry is safe: the request was not processed, or may be processed twice.
    fn is_safe(&self, failure: &Failure) -> bool {
        match failure.cause {
            Cause::ConnectFailure => true,
            // A FIN or RST does not tell what was processed before it (RFC 9110 §9.2.2).
            Cause::Reset | Cause::Timeout => failure.is_idempotent || !failure.was_sent,
            // The backend refused the request and did not process it, unless the config says otherwise.
            Cause::Status(503) | Cause::GrpcUnavailable => failure.is_idempotent || self.non_idempotent_503,
            Cause::Status(_) => failure.is_idempotent,
        }
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_wire::head::Method;

    use super::*;

    const FAILURE: Failure = Failure {
        cause: Cause::Reset,
        is_idempotent: true,
        was_sent: true,
        event: None,
        is_replayable: true,
        has_response_begun: false,
        attempts: 1,
        stale: 0,
        unprocessed: 0,
        backends: 3,
    };

    fn all_causes() -> Policy {
        Policy {
            causes: Cause::ALL.into_iter().collect(),
            ..Policy::default()
        }
    }

    fn safe_for_post(policy: &Policy, cause: Cause, was_sent: bool) -> bool {
        policy.may_retry(&Failure {
            cause,
            was_sent,
            is_idempotent: false,
            ..FAILURE
        })
    }

    #[test]
    fn idempotent_requests_are_retried_after_every_default_cause() {
        for cause in Cause::ALL {
            let is_retried = Policy::default().may_retry(&Failure { cause, ..FAILURE });
            let is_default = Causes::default().contains(cause);
            assert_eq!(is_retried, is_default, "{cause:?}");
            assert!(all_causes().may_retry(&Failure { cause, ..FAILURE }), "{cause:?}");
        }
    }

    #[test]
    fn post_is_not_retried_after_a_reset_or_timeout() {
        let policy = all_causes();
        assert!(!safe_for_post(&policy, Cause::Reset, true));
        assert!(!safe_for_post(&policy, Cause::Timeout, true));
        assert!(!safe_for_post(&policy, Cause::Status(502), true));
        assert!(!safe_for_post(&policy, Cause::Status(504), true));
    }

    #[test]
    fn post_is_retried_if_nothing_was_sent_or_after_a_503() {
        let mut policy = all_causes();
        assert!(safe_for_post(&policy, Cause::ConnectFailure, false));
        assert!(safe_for_post(&policy, Cause::Reset, false));
        for refusal in [Cause::Status(503), Cause::GrpcUnavailable] {
            policy.non_idempotent_503 = true;
            assert!(safe_for_post(&policy, refusal, true));
            policy.non_idempotent_503 = false;
            assert!(!safe_for_post(&policy, refusal, true));
        }
    }

    #[test]
    fn only_requests_that_a_restart_may_have_failed_wait_for_it() {
        let may = |failure: &Failure| Policy::default().may_wait(failure);
        for cause in Cause::ALL {
            let is_restart = matches!(cause, Cause::ConnectFailure | Cause::Reset);
            let failure = Failure {
                cause,
                attempts: 99,
                backends: 1,
                ..FAILURE
            };
            assert_eq!(may(&failure), is_restart, "{cause:?}");
            let post = Failure {
                is_idempotent: false,
                ..failure
            };
            assert_eq!(may(&post), cause == Cause::ConnectFailure, "{cause:?}");
            let is_replayable = false;
            assert!(!may(&Failure {
                is_replayable,
                ..failure
            }));
        }
        let off = Policy {
            attempts: Attempts::AtMost(1),
            ..Policy::default()
        };
        let refused = Failure {
            cause: Cause::ConnectFailure,
            ..FAILURE
        };
        assert!(!off.may_wait(&refused) && may(&refused));
        let event = Some(ConnectionEvent::Unconnectable);
        assert!(!may(&Failure { event, ..refused }));
    }

    #[test]
    fn nothing_is_retried_once_the_response_has_begun_or_the_body_is_lost() {
        for cause in Cause::ALL {
            let begun = Failure {
                cause,
                has_response_begun: true,
                ..FAILURE
            };
            let gone = Failure {
                cause,
                is_replayable: false,
                ..FAILURE
            };
            assert!(!all_causes().may_retry(&begun), "{cause:?}");
            assert!(!all_causes().may_retry(&gone), "{cause:?}");
        }
    }

    #[test]
    fn attempts_are_limited_by_backends_and_by_the_configured_number() {
        let may = |attempts, made| {
            let policy = Policy {
                attempts,
                ..Policy::default()
            };
            policy.may_retry(&Failure {
                attempts: made,
                ..FAILURE
            })
        };
        assert!(may(Attempts::All, 2) && !may(Attempts::All, 3));
        assert!(may(Attempts::AtMost(2), 1) && !may(Attempts::AtMost(2), 2));
        assert!(
            may(Attempts::AtMost(9), 8) && !may(Attempts::AtMost(9), 9),
            "more than there are backends"
        );
    }

    #[test]
    fn a_stale_connection_does_not_count_as_an_attempt_of_a_backend() {
        let stale = Failure {
            event: Some(ConnectionEvent::Stale),
            stale: 1,
            backends: 1,
            ..FAILURE
        };
        let may = |failure: &Failure| Policy::default().may_retry(failure);
        assert!(!may(&Failure {
            backends: 1,
            ..FAILURE
        }));
        assert!(may(&stale));
        // The new connection fails too.
        assert!(!may(&Failure {
            event: None,
            attempts: 2,
            ..stale
        }));
        // With two backends, each gets an attempt on a new connection.
        for (attempts, is_left) in [(2, true), (3, false)] {
            let failure = Failure {
                event: None,
                attempts,
                backends: 2,
                ..stale
            };
            assert_eq!(may(&failure), is_left, "{attempts}");
        }
    }

    #[test]
    fn a_configured_number_limits_attempts_of_any_kind() {
        let stale = Failure {
            event: Some(ConnectionEvent::Stale),
            stale: 1,
            ..FAILURE
        };
        let may = |most| {
            let policy = Policy {
                attempts: Attempts::AtMost(most),
                ..Policy::default()
            };
            policy.may_retry(&stale)
        };
        assert!(!may(1) && may(2));
    }

    #[test]
    fn an_unprocessed_request_is_retried_on_the_only_backend_a_limited_number_of_times() {
        for event in [ConnectionEvent::Closing, ConnectionEvent::Unprocessed] {
            let may = |unprocessed| {
                Policy::default().may_retry(&Failure {
                    event: Some(event),
                    is_idempotent: false,
                    was_sent: false,
                    attempts: unprocessed,
                    unprocessed,
                    backends: 1,
                    ..FAILURE
                })
            };
            assert!((1..MAX_UNPROCESSED).all(may), "{event:?}");
            assert!(!may(MAX_UNPROCESSED), "{event:?}");
        }
    }

    #[test]
    fn the_first_retry_after_the_end_of_a_connection_takes_no_token() {
        let needs = |event, unprocessed| {
            Policy::needs_token(&Failure {
                event,
                unprocessed,
                ..FAILURE
            })
        };
        assert!(needs(None, 0));
        assert!(!needs(Some(ConnectionEvent::Stale), 0));
        assert!(!needs(Some(ConnectionEvent::Unconnectable), 0));
        assert!(!needs(Some(ConnectionEvent::Closing), 1));
        assert!(needs(Some(ConnectionEvent::Closing), 2));
        assert!(needs(Some(ConnectionEvent::Unprocessed), 1));
    }

    #[test]
    fn the_verdict_says_for_each_cause_what_would_happen() {
        let retried = |is_idempotent, backends| -> Vec<&str> {
            let policy = Policy::default();
            let verdict = policy.verdict(is_idempotent, backends);
            let verdict = verdict.filter(|(_, is_retried)| *is_retried);
            verdict.map(|(cause, _)| cause.name()).collect()
        };
        assert_eq!(
            retried(true, 2),
            ["connect_failure", "reset", "timeout", "503", "grpc_unavailable"]
        );
        assert_eq!(retried(false, 2), ["connect_failure", "503", "grpc_unavailable"]);
        assert!(retried(true, 1).is_empty(), "there is no other backend");
    }

    #[test]
    fn a_request_survives_a_reset_if_it_is_idempotent_and_its_body_is_kept() {
        let head = |method, body| RequestHead {
            method,
            body,
            ..RequestHead::default()
        };
        let policy = Policy::default();
        for (method, body, expected) in [
            (Method::Get, BodyLength::None, true),
            (Method::Put, BodyLength::Exact(64 << 10), true),
            (Method::Put, BodyLength::Exact((64 << 10) + 1), false),
            (Method::Put, BodyLength::Chunked, false),
            (Method::Post, BodyLength::None, false),
        ] {
            assert_eq!(
                policy.survives_reset(&head(method, body)),
                expected,
                "{method:?} {body:?}"
            );
        }
        let off = Policy {
            attempts: Attempts::AtMost(1),
            ..Policy::default()
        };
        assert!(!off.survives_reset(&head(Method::Get, BodyLength::None)));
        let other = Policy {
            causes: Causes::from_iter([Cause::Status(503)]),
            ..Policy::default()
        };
        assert!(!other.survives_reset(&head(Method::Get, BodyLength::None)));
    }
}
