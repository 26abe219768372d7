//! For how long an idle connection to a backend can be expected to stay open: learnt from the idle connections that the backend
//! closed. A request that cannot be sent again takes no older one. Pure: time is an argument.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_wire::instant::Instant;

/// What was seen counts for one to two periods. A backend that was restarted closes all its connections, young ones too: after
/// this time the window is as wide again as before.
const PERIOD: Duration = Duration::from_secs(60);
/// Number of bits for each of the two times.
const TIME_BITS: u32 = 20;
/// The largest time in milliseconds, 17 minutes: it stands for "no close was seen".
const NONE: u64 = (1 << TIME_BITS) - 1;

/// The shortest times after which one backend closed idle connections.
#[derive(Debug, Default)]
pub struct ReuseWindow {
    /// When the first close was seen. Unset for most backends: nothing is ever written for them.
    started: OnceLock<Instant>,
    /// The number of the period, the shortest time in it, and the shortest time in the one before.
    state: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    period: u64,
    shortest: u64,
    before: u64,
}

impl ReuseWindow {
    /// A connection was found closed by the backend after it had been idle for `idle`.
    pub fn closed_after(&self, idle: Duration, now: Instant) {
        let started = *self.started.get_or_init(|| now);
        let period = period(started, now);
        let idle = u64::try_from(idle.as_millis()).unwrap_or(NONE).min(NONE);
        let update = |packed| {
            let state = State::unpacked(packed).at(period);
            let shortest = state.shortest.min(idle);
            Some(State { shortest, ..state }.packed()).filter(|new| *new != packed)
        };
        let _ = self
            .state
            .try_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    /// How long a connection may have been idle that a request takes which cannot be sent again: half of the shortest time seen,
    /// since the next close may come sooner than those before. `None` if no close was seen lately.
    #[inline]
    pub fn safe_age(&self, now: Instant) -> Option<Duration> {
        let started = *self.started.get()?;
        let state = State::unpacked(self.state.load(Ordering::Relaxed)).at(period(started, now));
        let shortest = state.shortest.min(state.before);
        (shortest < NONE).then(|| Duration::from_millis(shortest) / 2)
    }
}

impl State {
    /// The first state, 0, is one without any time: the times are stored as what is missing to `NONE`.
    fn unpacked(packed: u64) -> Self {
        Self {
            period: packed >> (2 * TIME_BITS),
            shortest: NONE - ((packed >> TIME_BITS) & NONE),
            before: NONE - (packed & NONE),
        }
    }

    fn packed(self) -> u64 {
        let times = ((NONE - self.shortest) << TIME_BITS) | (NONE - self.before);
        (self.period << (2 * TIME_BITS)) | times
    }

    /// The state in a later period. One in the past changes nothing: the clock of another worker may be ahead.
    fn at(self, period: u64) -> Self {
        match period.saturating_sub(self.period) {
            0 => self,
            1 => Self {
                period,
                shortest: NONE,
                before: self.shortest,
            },
            _ => Self {
                period,
                shortest: NONE,
                before: NONE,
            },
        }
    }
}

fn period(started: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(started).as_secs() / PERIOD.as_secs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_close_every_age_is_safe() {
        assert_eq!(ReuseWindow::default().safe_age(crate::clock::now()), None);
    }

    #[test]
    fn half_of_the_shortest_time_is_safe() {
        let (window, now) = (ReuseWindow::default(), crate::clock::now());
        for (closed, safe) in [(9, 4_500), (5, 2_500), (7, 2_500)] {
            window.closed_after(closed * SECOND, now);
            assert_eq!(window.safe_age(now), Some(Duration::from_millis(safe)));
        }
        window.closed_after(Duration::ZERO, now);
        assert_eq!(window.safe_age(now), Some(Duration::ZERO));
    }

    #[test]
    fn a_close_is_forgotten_after_two_periods() {
        let (window, now) = (ReuseWindow::default(), crate::clock::now());
        window.closed_after(SECOND, now);
        window.closed_after(5 * SECOND, now + PERIOD);
        assert_eq!(window.safe_age(now + PERIOD), Some(SECOND / 2));
        assert_eq!(window.safe_age(now + 2 * PERIOD), Some(5 * SECOND / 2));
        assert_eq!(window.safe_age(now + 3 * PERIOD), None);
        window.closed_after(3 * SECOND, now + 9 * PERIOD);
        assert_eq!(window.safe_age(now + 9 * PERIOD), Some(3 * SECOND / 2));
    }

    #[test]
    fn a_clock_that_is_behind_neither_forgets_nor_fails() {
        let (window, now) = (ReuseWindow::default(), crate::clock::now());
        window.closed_after(4 * SECOND, now + PERIOD);
        window.closed_after(2 * SECOND, now);
        assert_eq!(window.safe_age(now), Some(SECOND));
    }

    #[test]
    fn a_close_after_a_very_long_time_says_nothing() {
        let (window, now) = (ReuseWindow::default(), crate::clock::now());
        window.closed_after(Duration::MAX, now);
        assert_eq!(window.safe_age(now), None);
    }

    proptest! {
        #[test]
        fn a_state_survives_packing(period in 0_u64..1 << 24, shortest in 0..=NONE, before in 0..=NONE) {
            let state = State { period, shortest, before };
            prop_assert_eq!(State::unpacked(state.packed()), state);
        }

        #[test]
        fn what_is_safe_is_at_most_half_of_every_recent_time(
            closes in proptest::collection::vec((0_u64..100, 0_u64..1_000_000), 1..50),
        ) {
            let (window, start) = (ReuseWindow::default(), crate::clock::now());
            let mut now = start;
            for (pause, idle) in closes {
                now += Duration::from_secs(pause);
                let idle = Duration::from_millis(idle);
                window.closed_after(idle, now);
                prop_assert!(window.safe_age(now).unwrap() <= idle / 2);
                prop_assert!(window.safe_age(now + PERIOD).unwrap() <= idle / 2);
            }
        }
    }
}
