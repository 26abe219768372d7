//! Passive ejection: a backend whose requests fail leaves its pool for a while, and comes back after a few trial requests. Pure: time
//! is an argument.
//!
//! Workers count failures in a [`Signal`], one for each backend. The [`Arbiter`] of a pool, which the control plane owns, decides
//! from the signals of all its backends, because the share of a pool that may be ejected is bounded.

mod arbiter;
mod machine;
mod observed;
mod signal;
mod window;

use std::time::Duration;

pub use arbiter::{Arbiter, Judgement};
pub use machine::{Change, ChangeKind, Reason, Returned};
pub use observed::Observed;
pub use signal::{Effect, Signal};

use crate::retry::{AttemptEnd, Cause, Outcome};

/// The settings of `ejection:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Failures in a row that eject. Connect failures and timeouts weigh more: three fifths of this number are enough.
    pub consecutive: u32,
    /// Percentage of failed requests in [`Self::window`] that ejects.
    pub failure_ratio: u32,
    /// The time over which the ratio is computed.
    pub window: Duration,
    /// Requests in the window without which the ratio says nothing.
    pub min_requests: u32,
    /// How long the first ejection lasts; each one in a row adds as much.
    pub base: Duration,
    /// The longest ejection.
    pub max: Duration,
    /// Percentage of the backends of a pool that may be ejected at the same time.
    pub max_ejected: u32,
    /// The failures that count.
    pub failures: Failures,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive: 5,
            failure_ratio: 50,
            window: Duration::from_secs(10),
            min_requests: 20,
            base: Duration::from_secs(10),
            max: Duration::from_mins(5),
            max_ejected: 50,
            failures: Failures::default(),
        }
    }
}

impl Settings {
    /// How many of this number of backends may be ejected: rounded down, but one of two may always be.
    pub fn most_ejected(&self, backends: usize) -> usize {
        match backends {
            2 => 1,
            _ => backends * self.max_ejected as usize / 100,
        }
    }

    /// How long an ejection lasts that is number `times` in a row.
    fn duration(&self, times: u32) -> Duration {
        self.base.saturating_mul(times).min(self.max)
    }

    /// The points of failures in a row at which a backend is ejected.
    fn points(&self) -> u32 {
        self.consecutive.saturating_mul(Failure::POINTS)
    }
}

/// A failure of an attempt that speaks against its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection was established.
    Connect,
    /// The connection ended before a response.
    Reset,
    /// No response in time.
    Timeout,
    /// A response with this status: 500 or above.
    Status(u16),
}

impl Failure {
    /// The points of a failure that needs `consecutive` of its kind to eject.
    const POINTS: u32 = 3;
    /// The points of one that needs three fifths of them: each costs a client the whole timeout.
    const HEAVY_POINTS: u32 = 5;

    fn points(self) -> u32 {
        match self {
            Self::Connect | Self::Timeout => Self::HEAVY_POINTS,
            Self::Reset | Self::Status(_) => Self::POINTS,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect => f.write_str("connect failure"),
            Self::Reset => f.write_str("connection ended before a response"),
            Self::Timeout => f.write_str("no response in time"),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

/// What an attempt says about its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// It responded.
    Success,
    /// It failed.
    Failure(Failure),
    /// Nothing: the client left, or only a connection ended.
    None,
}

impl Evidence {
    /// The evidence of an attempt. An event of a connection, such as the end of a reused one, is none. 501 and 505 are about the
    /// request: a client must not be able to eject backends by asking for what no server has.
    #[inline]
    pub fn of(outcome: &Outcome) -> Self {
        match outcome.end {
            AttemptEnd::Response(..=499 | 501 | 505) => Self::Success,
            AttemptEnd::Response(status) => Self::Failure(Failure::Status(status)),
            AttemptEnd::Failure(None) => Self::None,
            AttemptEnd::Failure(Some(_)) if outcome.event.is_some() => Self::None,
            AttemptEnd::Failure(Some(cause)) => Self::Failure(match cause {
                Cause::ConnectFailure => Failure::Connect,
                Cause::Reset => Failure::Reset,
                Cause::Timeout => Failure::Timeout,
                Cause::Status(status) => Failure::Status(status),
            }),
        }
    }
}

/// A set of failures, by the names in the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures(u8);

impl Failures {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// The names in the config, in the order in which the docs list them.
    pub const NAMES: [&'static str; 4] = ["connect_failure", "reset", "timeout", "5xx"];

    /// Adds the failures with this name; `false` if there is none.
    pub fn insert(&mut self, name: &str) -> bool {
        let position = Self::NAMES.iter().position(|known| *known == name);
        self.0 |= position.map_or(0, |position| 1 << position);
        position.is_some()
    }

    /// Whether the failure is in the set.
    pub fn contains(self, failure: Failure) -> bool {
        let position = match failure {
            Failure::Connect => 0,
            Failure::Reset => 1,
            Failure::Timeout => 2,
            Failure::Status(_) => 3,
        };
        self.0 & (1 << position) != 0
    }

    /// The names of the failures in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let names = Self::NAMES.into_iter().enumerate();
        names.filter_map(move |(position, name)| (self.0 & (1 << position) != 0).then_some(name))
    }
}

impl Default for Failures {
    /// All of them.
    fn default() -> Self {
        Self((1 << Self::NAMES.len()) - 1)
    }
}

#[cfg(test)]
mod tests;
