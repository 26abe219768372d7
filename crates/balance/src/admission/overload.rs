//! Tells sustained overload from a burst, in the manner of CoDel (RFC 8289): a burst leaves a queue that drains, overload one in
//! which even the shortest wait stays long. Pure.

use std::time::Duration;

use evenkeel_wire::instant::Instant;

/// The time over which the smallest wait is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// The smallest wait of an interval above which the pool is overloaded.
const TARGET: Duration = Duration::from_millis(20);

/// Intervals without overload after which it has ended. One alone is chance where few requests are served in an interval.
const CALM: u32 = 5;

/// Whether a pool is overloaded. It is once the smallest wait of an interval was above the target, until a few intervals in a row had a
/// small one, or one had none. Because waits are then cut short, small ones alone do not end it while requests are still dropped: it
/// would begin and end in turn.
#[derive(Debug, Default)]
pub struct Overload {
    is_overloaded: bool,
    /// The end of the current interval; `None` before the first event.
    ends: Option<Instant>,
    /// The smallest wait that ended in this interval.
    smallest: Option<Duration>,
    has_dropped: bool,
    /// Intervals in a row, while it is overloaded, in which no request was dropped and not all waits were long.
    calm: u32,
    /// Until then, waits are those of an outage.
    suspended_until: Option<Instant>,
}

impl Overload {
    /// Takes down that a request has waited this long and goes on.
    pub fn served(&mut self, waited: Duration, now: Instant) {
        self.roll(now, false);
        let smallest = self.smallest.get_or_insert(waited);
        *smallest = waited.min(*smallest);
    }

    /// Takes down that a request has waited as long as it may.
    pub fn dropped(&mut self, now: Instant) {
        self.roll(now, false);
        self.has_dropped = true;
    }

    /// The queue is empty: what its requests have waited through is over.
    pub fn emptied(&mut self) {
        self.suspended_until = None;
    }

    /// The backends come back from an outage. Its backlog is not overload: until `until`, or until the queue is empty, waits are
    /// not counted.
    pub fn suspend(&mut self, until: Instant) {
        *self = Self {
            suspended_until: Some(until),
            ..Self::default()
        };
    }

    /// Whether the pool is overloaded now. `is_empty` says whether nobody waits.
    pub fn is_overloaded(&mut self, now: Instant, is_empty: bool) -> bool {
        self.roll(now, is_empty);
        self.is_overloaded && !self.is_suspended(now)
    }

    fn is_suspended(&self, now: Instant) -> bool {
        self.suspended_until.is_some_and(|until| now < until)
    }

    /// Ends the interval if it is over, and decides.
    fn roll(&mut self, now: Instant, is_empty: bool) {
        let ends = *self.ends.get_or_insert(now + INTERVAL);
        if now < ends {
            return;
        }
        let is_stale = now >= ends + INTERVAL;
        let is_strained = match self.smallest {
            _ if self.has_dropped && self.is_overloaded => true,
            Some(smallest) => smallest > TARGET,
            // Slow backends end less than one wait an interval.
            None => self.is_overloaded && !is_empty,
        };
        self.calm = if is_strained { 0 } else { self.calm + 1 };
        // Where nobody has waited at all, it is no chance.
        let has_none = is_empty && (is_stale || self.smallest.is_none() && !self.has_dropped);
        let is_over = self.is_suspended(now) || has_none;
        self.is_overloaded = !is_over && (is_strained || self.is_overloaded && self.calm < CALM);
        self.ends = Some(now + INTERVAL);
        self.smallest = None;
        self.has_dropped = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const MS: Duration = Duration::from_millis(1);

    /// Serves a request each 5 ms, from one moment in ms to another, after this wait.
    fn serve(overload: &mut Overload, start: Instant, (from, to): (u32, u32), waited: Duration) {
        for at in (from..to).step_by(5) {
            overload.served(waited, start + at * MS);
        }
    }

    #[test]
    fn long_waits_of_a_whole_interval_are_overload_and_one_short_wait_is_not() {
        let (mut overload, start) = (Overload::default(), clock::now());
        serve(&mut overload, start, (0, 100), 25 * MS);
        overload.served(MS, start + 98 * MS);
        assert!(!overload.is_overloaded(start + 100 * MS, false));
        serve(&mut overload, start, (100, 200), 25 * MS);
        assert!(!overload.is_overloaded(start + 199 * MS, false));
        assert!(overload.is_overloaded(start + 200 * MS, false));
    }

    #[test]
    fn overload_lasts_while_requests_are_dropped_and_ends_after_calm_intervals() {
        let (mut overload, start) = (Overload::default(), clock::now());
        serve(&mut overload, start, (0, 100), 25 * MS);
        assert!(overload.is_overloaded(start + 100 * MS, false));
        serve(&mut overload, start, (100, 195), 10 * MS);
        overload.dropped(start + 196 * MS);
        assert!(overload.is_overloaded(start + 200 * MS, false));
        // Long waits alone among them let the count begin anew.
        serve(&mut overload, start, (200, 500), 10 * MS);
        serve(&mut overload, start, (500, 600), 25 * MS);
        serve(&mut overload, start, (600, 1_000), 10 * MS);
        assert!(overload.is_overloaded(start + 1_000 * MS, false));
        serve(&mut overload, start, (1_000, 1_100), 10 * MS);
        assert!(!overload.is_overloaded(start + 1_100 * MS, false));
    }

    #[test]
    fn a_drop_alone_begins_no_overload() {
        let (mut overload, start) = (Overload::default(), clock::now());
        overload.dropped(start);
        assert!(!overload.is_overloaded(start + 150 * MS, false));
    }

    #[test]
    fn an_interval_without_events_ends_overload_only_if_nobody_waits() {
        for (is_empty, is_overloaded) in [(false, true), (true, false)] {
            let (mut overload, start) = (Overload::default(), clock::now());
            serve(&mut overload, start, (0, 100), 25 * MS);
            assert!(overload.is_overloaded(start + 100 * MS, false));
            assert_eq!(
                overload.is_overloaded(start + 210 * MS, is_empty),
                is_overloaded,
                "{is_empty}"
            );
        }
    }

    #[test]
    fn the_backlog_of_an_outage_is_no_overload_until_the_queue_was_empty() {
        let (mut overload, start) = (Overload::default(), clock::now());
        overload.suspend(start + 5_000 * MS);
        serve(&mut overload, start, (0, 500), 900 * MS);
        assert!(!overload.is_overloaded(start + 500 * MS, false));
        overload.emptied();
        serve(&mut overload, start, (500, 750), 25 * MS);
        assert!(overload.is_overloaded(start + 750 * MS, false));
    }
}
