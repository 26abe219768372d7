//! Which failures of an attempt may be followed by another attempt.

/// How many attempts a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// As many as the pool has backends, and those that failed by a [`ConnectionEvent`].
    All,
    /// At most so many of any kind, 1 or more, and never more than `All` allows.
    AtMost(u32),
}

/// Why an attempt did not give a usable answer. The names are those of `retry.causes` and of `retries[].reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `connect_failure`: no connection came about; nothing was sent.
    ConnectFailure,
    /// `reset`: the connection ended before the first byte of an answer.
    Reset,
    /// `timeout`: no answer within `first_byte`.
    Timeout,
    /// `502`, `503` or `504`: the backend's own answer.
    Status(u16),
}

impl Cause {
    /// All that `retry.causes` can name, in the order in which they are shown.
    pub const ALL: [Self; 6] = [
        Self::ConnectFailure,
        Self::Reset,
        Self::Timeout,
        Self::Status(502),
        Self::Status(503),
        Self::Status(504),
    ];

    /// As it stands in the config and in the log. A status that cannot be a cause is `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect_failure",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Status(502) => "502",
            Self::Status(503) => "503",
            Self::Status(504) => "504",
            Self::Status(_) => "status",
        }
    }

    /// The cause with this name, if there is one.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }

    /// Its bit in a set; 0 for a status that cannot be a cause.
    fn bit(self) -> u8 {
        let place = Self::ALL.iter().position(|cause| *cause == self);
        place.map_or(0, |place| 1 << place)
    }
}

/// A failure of a connection that tells nothing of its backend: but for the last kind, the attempt is none of those that the
/// backend has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// A connection that had carried other requests ended: it may have been closed before this one came. The next attempt has
    /// to use a new connection, so this happens once to a request.
    Stale,
    /// The backend ends the connection, and did nothing with the request: it came too late (RFC 9113 §6.8).
    Closing,
    /// The backend did nothing with the request, as it says itself (RFC 9113 §8.7) or as nothing of it was written.
    Unprocessed,
    /// This process or machine had nothing left to connect with, such as a local port. It still is one of the backend's attempts.
    Unconnectable,
}

/// Attempts of one request after which a backend that did nothing with it is not asked again. Where three of ten requests are
/// refused at random, one in a thousand million is refused so often.
const MOST_UNPROCESSED: u32 = 17;

/// A set of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Causes(u8);

impl Causes {
    /// The set without any cause.
    pub const NONE: Self = Self(0);

    /// Adds a cause. A status other than 502, 503 and 504 cannot be one and changes nothing.
    pub fn insert(&mut self, cause: Cause) {
        self.0 |= cause.bit();
    }

    /// Whether the cause is in the set.
    pub fn contains(self, cause: Cause) -> bool {
        self.0 & cause.bit() != 0
    }

    /// The causes in it, in the order of [`Cause::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Cause> {
        Cause::ALL.into_iter().filter(move |cause| self.contains(*cause))
    }

    /// The names of the causes in it, in the order of [`Cause::ALL`].
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.iter().map(Cause::name)
    }
}

impl Default for Causes {
    /// `connect_failure`, `reset`, `timeout` and `503`: what a backend that is down, or says that it cannot, gives.
    /// 502 and 504 may come after the request was acted on, further behind.
    fn default() -> Self {
        Self::from_iter([
            Cause::ConnectFailure,
            Cause::Reset,
            Cause::Timeout,
            Cause::Status(503),
        ])
    }
}

impl FromIterator<Cause> for Causes {
    fn from_iter<T: IntoIterator<Item = Cause>>(causes: T) -> Self {
        let mut set = Self::NONE;
        for cause in causes {
            set.insert(cause);
        }
        set
    }
}

/// The settings of `retry:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Upper bound of attempts for one request.
    pub attempts: Attempts,
    /// Which failures are retried at all.
    pub causes: Causes,
    /// Whether a 503 is retried for methods that are not idempotent too.
    pub non_idempotent_503: bool,
    /// How many bytes of a request body are kept for being sent again.
    pub replay_limit: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts: Attempts::All,
            causes: Causes::default(),
            non_idempotent_503: true,
            replay_limit: 64 << 10,
        }
    }
}

/// What is known when an attempt has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Why it gave no usable answer.
    pub cause: Cause,
    /// Whether the method is idempotent (RFC 9110 §9.2.2).
    pub is_idempotent: bool,
    /// Whether the kernel took at least one byte of the request for this backend.
    pub was_sent: bool,
    /// What happened to the connection, if that tells nothing of the backend.
    pub event: Option<ConnectionEvent>,
    /// Whether every byte of the body that has been taken from the client is still there to be sent again; true
    /// without a body, and while none of it has been taken.
    pub is_replayable: bool,
    /// Whether a byte of an answer has gone to the client.
    pub has_response_begun: bool,
    /// Attempts so far, this one included: 1 or more.
    pub attempts: u32,
    /// Those of them that were [`ConnectionEvent::Stale`].
    pub stale: u32,
    /// Those of them that were [`ConnectionEvent::Closing`] or [`ConnectionEvent::Unprocessed`].
    pub unprocessed: u32,
    /// Backends that the pool had for the request.
    pub backends: u32,
}

impl Policy {
    /// Whether another attempt may follow, budget apart.
    pub fn may_retry(&self, failure: &Failure) -> bool {
        !failure.has_response_begun
            && failure.is_replayable
            && self.causes.contains(failure.cause)
            && self.has_attempts_left(failure)
            && self.is_safe(failure)
    }

    /// Whether the retry takes a token of the budget. One that a connection's end has caused needs none, or requests would fail
    /// because there are many on that connection, or because others have emptied the budget. That is bounded all the same: it
    /// happens once or twice to a request.
    pub fn needs_token(failure: &Failure) -> bool {
        match failure.event {
            // Nothing has left this machine, so nobody is hit harder.
            Some(ConnectionEvent::Stale | ConnectionEvent::Unconnectable) => false,
            Some(ConnectionEvent::Closing) => failure.unprocessed > 1,
            Some(ConnectionEvent::Unprocessed) | None => true,
        }
    }

    fn has_attempts_left(&self, failure: &Failure) -> bool {
        let of_connections = failure.stale + failure.unprocessed;
        let is_allowed = match self.attempts {
            Attempts::All => true,
            Attempts::AtMost(most) => failure.attempts < most,
        };
        is_allowed
            && failure.unprocessed < MOST_UNPROCESSED
            && failure.attempts.saturating_sub(of_connections) < failure.backends
    }

    /// Whether a second backend cannot act on what a first one acted on already.
    fn is_safe(&self, failure: &Failure) -> bool {
        match failure.cause {
            Cause::ConnectFailure => true,
            // A FIN or RST tells nothing about what was done before it (RFC 9110 §9.2.2).
            Cause::Reset | Cause::Timeout => failure.is_idempotent || !failure.was_sent,
            // The backend's own refusal: it did not act, unless the operator says that it may have.
            Cause::Status(503) => failure.is_idempotent || self.non_idempotent_503,
            Cause::Status(_) => failure.is_idempotent,
        }
    }
}

#[cfg(test)]
mod tests {
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
            let is_default = !matches!(cause, Cause::Status(502 | 504));
            assert_eq!(is_retried, is_default, "{cause:?}");
            assert!(all_causes().may_retry(&Failure { cause, ..FAILURE }), "{cause:?}");
        }
    }

    #[test]
    fn post_is_not_resent_after_a_cut_or_a_timeout() {
        let policy = all_causes();
        assert!(!safe_for_post(&policy, Cause::Reset, true));
        assert!(!safe_for_post(&policy, Cause::Timeout, true));
        assert!(!safe_for_post(&policy, Cause::Status(502), true));
        assert!(!safe_for_post(&policy, Cause::Status(504), true));
    }

    #[test]
    fn post_is_resent_while_nothing_was_sent_and_after_a_refusal() {
        let mut policy = all_causes();
        assert!(safe_for_post(&policy, Cause::ConnectFailure, false));
        assert!(safe_for_post(&policy, Cause::Reset, false));
        assert!(safe_for_post(&policy, Cause::Status(503), true));
        policy.non_idempotent_503 = false;
        assert!(!safe_for_post(&policy, Cause::Status(503), true));
    }

    #[test]
    fn nothing_is_retried_once_the_answer_has_begun_or_the_body_is_gone() {
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
    fn attempts_end_with_the_backends_or_with_the_configured_number() {
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
        assert!(may(Attempts::AtMost(9), 2) && !may(Attempts::AtMost(9), 3));
    }

    #[test]
    fn a_stale_connection_is_none_of_the_attempts_that_backends_have() {
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
        // Then the new connection fails too.
        assert!(!may(&Failure {
            event: None,
            attempts: 2,
            ..stale
        }));
        // With two backends each has an attempt by a new one.
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
    fn a_written_number_bounds_attempts_of_any_kind() {
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
    fn what_was_not_processed_is_sent_again_to_the_only_backend_a_bounded_number_of_times() {
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
            assert!((1..MOST_UNPROCESSED).all(may), "{event:?}");
            assert!(!may(MOST_UNPROCESSED), "{event:?}");
        }
    }

    #[test]
    fn the_end_of_a_connection_takes_no_token_once() {
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
    fn names_lead_back_to_their_causes() {
        for cause in Cause::ALL {
            assert_eq!(Cause::by_name(cause.name()), Some(cause));
        }
        assert_eq!(Cause::by_name("500"), None);
        let names: Vec<_> = Causes::default().names().collect();
        assert_eq!(names, ["connect_failure", "reset", "timeout", "503"]);
    }

    #[test]
    fn a_status_that_is_no_cause_is_never_in_a_set() {
        let mut causes = Causes::NONE;
        causes.insert(Cause::Status(500));
        assert_eq!(causes, Causes::NONE);
        let all: Causes = Cause::ALL.into_iter().collect();
        assert!(!all.contains(Cause::Status(500)));
    }
}
