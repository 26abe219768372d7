//! The state of a backend, from everything that has a say in it. What logs, metrics and the API call its state is this.

use super::State;

/// The state of a backend. Whether it receives requests also depends on its weight, and on `fail_open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendState {
    /// No check has ended yet, or there are no checks: it receives requests.
    Unknown,
    /// Its checks succeed: it receives requests.
    Up,
    /// Its checks fail: it receives no requests.
    Down,
    /// Its requests have failed: for a while it receives none, then a few on trial.
    Ejected,
    /// An operator drains it: it receives no new requests.
    Draining,
}

impl BackendState {
    /// All states, in the order in which the docs list them.
    pub const ALL: [Self; 5] = [Self::Unknown, Self::Up, Self::Down, Self::Ejected, Self::Draining];

    /// The state that follows from what the checks say, whether it is ejected, and whether an operator drains it. The operator
    /// comes first; a backend that is ejected and down by its checks is down, because it needs them to come back.
    pub fn of(checks: State, is_ejected: bool, is_drained: bool) -> Self {
        match checks {
            _ if is_drained => Self::Draining,
            State::Down => Self::Down,
            _ if is_ejected => Self::Ejected,
            State::Up => Self::Up,
            State::Unknown => Self::Unknown,
        }
    }

    /// Whether a backend in this state may receive requests.
    pub fn is_eligible(self) -> bool {
        matches!(self, Self::Unknown | Self::Up)
    }

    /// Its name in logs and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_comes_first_then_the_checks_then_the_requests() {
        use BackendState::{Down, Draining, Ejected, Unknown, Up};
        for (checks, is_ejected, is_drained, state) in [
            (State::Unknown, false, false, Unknown),
            (State::Up, false, false, Up),
            (State::Down, false, false, Down),
            (State::Up, true, false, Ejected),
            (State::Unknown, true, false, Ejected),
            (State::Down, true, false, Down),
            (State::Up, true, true, Draining),
            (State::Down, false, true, Draining),
        ] {
            let found = BackendState::of(checks, is_ejected, is_drained);
            assert_eq!(found, state, "{checks:?} {is_ejected} {is_drained}");
            assert_eq!(found.is_eligible(), matches!(found, Unknown | Up));
        }
    }

    #[test]
    fn names_are_those_of_the_checks_where_both_have_one() {
        for (checks, state) in [
            (State::Unknown, BackendState::Unknown),
            (State::Up, BackendState::Up),
            (State::Down, BackendState::Down),
        ] {
            assert_eq!(checks.as_str(), state.as_str());
        }
        let names = BackendState::ALL.map(BackendState::as_str);
        assert_eq!(names, ["unknown", "up", "down", "ejected", "draining"]);
    }
}
