//! The current time, for tests: everything else gets it as an argument.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "tests have to begin at some time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
