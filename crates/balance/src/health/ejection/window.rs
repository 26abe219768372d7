//! How many of the requests of the last seconds have failed, from counters that only grow.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_wire::instant::Instant;

/// Samples in one window. The window reaches back up to one more of its parts.
const PARTS: u32 = 10;

/// The shortest time between two samples.
const MIN_STEP: Duration = Duration::from_millis(100);

/// Requests that have ended and failed, since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ended: u64,
    pub(super) failed: u64,
}

/// The counters of the last window.
#[derive(Debug, Default)]
pub(super) struct Window {
    samples: VecDeque<(Instant, Counts)>,
}

/// Time between two samples.
pub(super) fn step(window: Duration) -> Duration {
    (window / PARTS).max(MIN_STEP)
}

impl Window {
    /// Begins anew with these counters.
    pub(super) fn restart(&mut self, now: Instant, counts: Counts) {
        self.samples.clear();
        self.samples.push_back((now, counts));
    }

    /// What was counted in the window before `now`. Keeps a sample if a step has passed since the last one.
    pub(super) fn count(&mut self, now: Instant, counts: Counts, window: Duration) -> Counts {
        let is_due = |(last, _): &(Instant, Counts)| now.saturating_duration_since(*last) >= step(window);
        if self.samples.back().is_none_or(is_due) {
            self.samples.push_back((now, counts));
        }
        let is_old = |sample: Option<&(Instant, Counts)>| {
            sample.is_some_and(|(at, _)| now.saturating_duration_since(*at) >= window)
        };
        // The first sample is the last one at or before the begin of the window.
        while is_old(self.samples.get(1)) {
            self.samples.pop_front();
        }
        let base = self.samples.front().map_or(counts, |(_, counts)| *counts);
        Counts {
            ended: counts.ended.saturating_sub(base.ended),
            failed: counts.failed.saturating_sub(base.failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const WINDOW: Duration = Duration::from_secs(10);

    fn counts(ended: u64, failed: u64) -> Counts {
        Counts { ended, failed }
    }

    #[test]
    fn counts_what_happened_in_the_window_and_forgets_the_rest() {
        let start = clock::now();
        let mut window = Window::default();
        window.restart(start, counts(1_000, 100));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(window.count(at(1), counts(1_010, 101), WINDOW), counts(10, 1));
        assert_eq!(window.count(at(2), counts(1_030, 101), WINDOW), counts(30, 1));
        assert_eq!(window.count(at(11), counts(1_040, 101), WINDOW), counts(30, 0));
        assert_eq!(window.count(at(12), counts(1_040, 101), WINDOW), counts(10, 0));
        assert_eq!(window.count(at(60), counts(1_045, 105), WINDOW), counts(5, 4));
        assert_eq!(window.count(at(90), counts(1_045, 105), WINDOW), counts(0, 0));
    }

    #[test]
    fn keeps_a_bounded_number_of_samples_however_often_it_is_asked() {
        let start = clock::now();
        let mut window = Window::default();
        for millisecond in 0..60_000 {
            let now = start + Duration::from_millis(millisecond);
            window.count(now, counts(millisecond, 0), WINDOW);
            assert!(window.samples.len() <= PARTS as usize + 2);
        }
    }
}
