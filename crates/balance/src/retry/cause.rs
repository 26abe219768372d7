//! Why an attempt got no usable response: the causes that `retry.causes` names.

/// Why an attempt got no usable response. Its names are used in `retry.causes` and `retries[].reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `connect_failure`: no connection was established; nothing was sent.
    ConnectFailure,
    /// `reset`: the connection ended before the first byte of a response.
    Reset,
    /// `timeout`: no response within `first_byte` or `per_try_timeout`.
    Timeout,
    /// `502`, `503` or `504`: the status of the backend's response.
    Status(u16),
    /// `grpc_unavailable`: the response to a gRPC call consists of its trailers, with the status `UNAVAILABLE`.
    GrpcUnavailable,
}

/// Makes the lists of the causes and of their names from one table.
macro_rules! causes {
    ($($cause:expr, $name:literal, $is_default:literal;)*) => {
        const TABLE: [(Cause, &str, bool); [$($name),*].len()] = [$(($cause, $name, $is_default)),*];

        impl Cause {
            /// All causes that `retry.causes` accepts, in the order in which the docs list them.
            pub const ALL: [Self; TABLE.len()] = [$($cause),*];

            /// Their names, in the same order.
            pub const NAMES: [&'static str; TABLE.len()] = [$($name),*];
        }
    };
}

// Each cause with its name and whether it is retried by default, in the order in which the docs list them. 502 and 504 are not
// retried by default, because a server behind the backend may have processed the request.
causes! {
    Cause::ConnectFailure, "connect_failure", true;
    Cause::Reset, "reset", true;
    Cause::Timeout, "timeout", true;
    Cause::Status(502), "502", false;
    Cause::Status(503), "503", true;
    Cause::Status(504), "504", false;
    Cause::GrpcUnavailable, "grpc_unavailable", true;
}

impl Cause {
    /// Its name in the config and the log. A status that cannot be a cause is `status`.
    pub fn name(self) -> &'static str {
        let row = TABLE.iter().find(|(cause, ..)| *cause == self);
        row.map_or("status", |(_, name, _)| name)
    }

    /// The cause with this name, if there is one.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }

    /// Its bit in a set; 0 for a status that cannot be a cause.
    fn bit(self) -> u8 {
        let index = TABLE.iter().position(|(cause, ..)| *cause == self);
        index.map_or(0, |index| 1 << index)
    }
}

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
    /// The failures of a backend that is down or refuses requests: see the table.
    fn default() -> Self {
        let retried = TABLE.iter().filter(|(_, _, is_default)| *is_default);
        retried.map(|(cause, ..)| *cause).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_found_by_their_names() {
        for (cause, name) in Cause::ALL.into_iter().zip(Cause::NAMES) {
            assert_eq!(cause.name(), name);
            assert_eq!(Cause::by_name(name), Some(cause));
        }
        assert_eq!(Cause::by_name("500"), None);
        let names: Vec<_> = Causes::default().names().collect();
        assert_eq!(
            names,
            ["connect_failure", "reset", "timeout", "503", "grpc_unavailable"]
        );
    }

    #[test]
    fn a_status_that_cannot_be_a_cause_is_never_in_a_set() {
        let mut causes = Causes::NONE;
        causes.insert(Cause::Status(500));
        assert_eq!(causes, Causes::NONE);
        let all: Causes = Cause::ALL.into_iter().collect();
        assert!(!all.contains(Cause::Status(500)));
        assert_eq!(Cause::Status(500).name(), "status");
    }
}
