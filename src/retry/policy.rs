//! Which failures of an attempt may be followed by another attempt.

/// How many attempts a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// As many as the pool has backends.
    All,
    /// At most so many, 1 or more.
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

/// A set of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Causes(u8);

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
