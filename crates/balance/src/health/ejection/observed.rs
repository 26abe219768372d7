//! A backend as the arbiter of its pool sees it.

use evenkeel_wire::instant::Instant;

use super::Signal;
use super::window::Counts;
use crate::backend::BackendId;

/// A backend as the arbiter sees it.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The backend.
    pub backend: BackendId,
    /// What its workers count.
    pub signal: &'a Signal,
    /// Whether its checks have it down.
    pub is_down: bool,
    /// Whether it gets no requests anyway: an operator drains it, or its weight is 0.
    pub is_excluded: bool,
    /// When a check of it last succeeded.
    pub last_good_check: Option<Instant>,
    /// Attempts that have ended since the process started.
    pub ended: u64,
    /// Those of them whose failure was counted by the signal.
    pub failed: u64,
}

impl Observed<'_> {
    /// Whether it gets no requests, whatever the arbiter decides.
    pub(super) fn is_out(&self) -> bool {
        self.is_down || self.is_excluded
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            ended: self.ended,
            failed: self.failed,
        }
    }
}
