//! The retry policy: decides which failed attempts may be followed by another.

/// How many attempts a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// As many as the pool has backends; attempts that failed by a [`ConnectionEvent`] do not count.
    All,
    /// At most this many of any kind, 1 or more, and never more than `All` allows.
    AtMost(u32),
}

/// Why an attempt got no usable response. Its names are used in `retry.causes` and `retries[].reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `connect_failure`: no connection was established; nothing was sent.
    ConnectFailure,
    /// `reset`: the connection ended before the first byte of a response.
    Reset,
    /// `timeout`: no response within `first_byte`.
    Timeout,
    /// `502`, `503` or `504`: the status of the backend's response.
    Status(u16),
}

impl Cause {
    /// All causes that `retry.causes` accepts, in the order in which the docs list them.
    pub const ALL: [Self; 6] = [
        Self::ConnectFailure,
        Self::Reset,
        Self::Timeout,
        Self::Status(502),
        Self::Status(503),
        Self::Status(504),
    ];

    /// Its name in the config and the log. A status that cannot be a cause is `status`.
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
        let index = Self::ALL.iter().position(|cause| *cause == self);
        index.map_or(0, |index| 1 << index)
    }
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
    /// `connect_failure`, `reset`, `timeout` and `503`: the failures of a backend that is down or refuses requests. 502 and 504
    /// are not among them, because a server behind the backend may have processed the request.
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
    /// Maximum number of attempts for one request.
    pub attempts: Attempts,
    /// Which failures are retried at all.
    pub causes: Causes,
    /// Whether a 503 is also retried for methods that are not idempotent.
    pub non_idempotent_503: bool,
    /// Maximum number of bytes of a request body that are kept for a retry.
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

/// A failed attempt, as far as the policy needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Why it got no usable response.
    pub cause: Cause,
    /// Whether the method is idempotent (RFC 9110 §9.2.2).
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

    fn has_attempts_left(&self, failure: &Failure) -> bool {
        let uncounted = failure.stale + failure.unprocessed;
        let is_allowed = match self.attempts {
            Attempts::All => true,
            Attempts::AtMost(most) => failure.attempts < most,
        };
        is_allowed
            && failure.unprocessed < MAX_UNPROCESSED
            && failure.attempts.saturating_sub(uncounted) < failure.backends
    }

    /// Whether a retry is safe: the request was not processed, or may be processed twice.
    fn is_safe(&self, failure: &Failure) -> bool {
        match failure.cause {
            Cause::ConnectFailure => true,
            // A FIN or RST does not tell what was processed before it (RFC 9110 §9.2.2).
            Cause::Reset | Cause::Timeout => failure.is_idempotent || !failure.was_sent,
            // The backend refused the request and did not process it, unless the config says otherwise.
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
        assert!(safe_for_post(&policy, Cause::Status(503), true));
        policy.non_idempotent_503 = false;
        assert!(!safe_for_post(&policy, Cause::Status(503), true));
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
        assert!(may(Attempts::AtMost(9), 2) && !may(Attempts::AtMost(9), 3));
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
    fn causes_are_found_by_their_names() {
        for cause in Cause::ALL {
            assert_eq!(Cause::by_name(cause.name()), Some(cause));
        }
        assert_eq!(Cause::by_name("500"), None);
        let names: Vec<_> = Causes::default().names().collect();
        assert_eq!(names, ["connect_failure", "reset", "timeout", "503"]);
    }

    #[test]
    fn a_status_that_cannot_be_a_cause_is_never_in_a_set() {
        let mut causes = Causes::NONE;
        causes.insert(Cause::Status(500));
        assert_eq!(causes, Causes::NONE);
        let all: Causes = Cause::ALL.into_iter().collect();
        assert!(!all.contains(Cause::Status(500)));
    }
}
