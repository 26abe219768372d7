//! The current time, for tests: everything else gets it as an argument.

use std::sync::LazyLock;

use crate::instant::Instant;

#[expect(clippy::disallowed_methods, reason = "tests have to begin at some time")]
pub(crate) fn now() -> Instant {
    static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    Instant::from_nanos(START.elapsed().as_nanos() as u64)
}
