//! The state machine of one backend's health, which also schedules its probes. Pure: time and chance are arguments.

use std::time::Duration;

use evenkeel_wire::instant::Instant;

use crate::rng;

/// The state of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not probed yet, or not probed at all: it receives requests.
    Unknown,
    /// It receives requests.
    Up,
    /// It receives no requests.
    Down,
}

impl State {
    /// Whether a backend in this state may receive requests.
    pub fn is_eligible(self) -> bool {
        self != Self::Down
    }

    /// Its name in logs and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// How often a backend is probed, and how many results in a row change its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Time between two probes while the state does not change.
    pub interval: Duration,
    /// The longest time between two probes of a backend that is down, if it is shorter than `interval`.
    pub down_interval: Duration,
    /// Number of successes in a row after which a backend that is down is up.
    pub healthy_after: u32,
    /// Number of failures in a row after which a backend that is up is down.
    pub unhealthy_after: u32,
}

/// Changes of the state that may follow each other without delay: down and up again, as at a restart. After that, each change takes
/// as many probes as one in each direction takes together.
const CHANGES_IN_A_ROW: u32 = 2;

/// Time to the next probe after a failed probe of a backend that is up, and while a change of state is pending. Up to [`SOON_SPREAD`] is added, so that
/// backends that failed together are not probed in step. Together they are below 1 s.
const SOON: Duration = Duration::from_millis(500);

/// Maximum random addition to [`SOON`].
const SOON_SPREAD: Duration = Duration::from_millis(400);

/// Minimum time between probes that failed requests trigger: a backend that fails requests and passes probes must not be probed
/// without pause.
const MIN_REQUESTED_GAP: Duration = Duration::from_millis(100);

/// The shortest interval.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Counts results in a row and decides on the state.
#[derive(Debug, Clone)]
pub struct Tracker {
    state: State,
    successes: u32,
    failures: u32,
    healthy_after: u32,
    unhealthy_after: u32,
    interval: Duration,
    down_interval: Duration,
    /// Probes since the last changes of the state: what another one costs.
    credit: u32,
    last: Option<Instant>,
}

impl Tracker {
    /// Creates a tracker that continues from `state`, because a reload does not reset the state of a backend.
    pub fn new(thresholds: Thresholds, state: State) -> Self {
        Self {
            state,
            successes: 0,
            failures: 0,
            healthy_after: thresholds.healthy_after.max(1),
            unhealthy_after: thresholds.unhealthy_after.max(1),
            interval: thresholds.interval.max(MIN_INTERVAL),
            down_interval: thresholds.down_interval.max(MIN_INTERVAL),
            credit: u32::MAX,
            last: None,
        }
    }

    /// The probes that a change of the state takes in a backend that goes up and down again and again.
    fn change_cost(&self) -> u32 {
        self.healthy_after.saturating_add(self.unhealthy_after)
    }

    /// The current state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Number of successes in a row.
    pub fn successes(&self) -> u32 {
        self.successes
    }

    /// Number of failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Records the result of a probe that ended at `now`. The first result decides at once. A backend that goes up and down again
    /// and again keeps its state longer. Returns the new state if it changed.
    pub fn record(&mut self, is_success: bool, now: Instant) -> Option<State> {
        self.last = Some(now);
        if is_success {
            self.successes = self.successes.saturating_add(1);
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.successes = 0;
        }
        let next = match self.state {
            State::Unknown if is_success => State::Up,
            State::Unknown => State::Down,
            State::Up if self.failures >= self.unhealthy_after => State::Down,
            State::Down if self.successes >= self.healthy_after => State::Up,
            same => same,
        };
        let most = self.change_cost().saturating_mul(CHANGES_IN_A_ROW);
        self.credit = self.credit.saturating_add(1).min(most);
        let is_free = self.state == State::Unknown;
        let is_change = next != self.state && (is_free || self.credit >= self.change_cost());
        if !is_change {
            return None;
        }
        self.credit -= if is_free { 0 } else { self.change_cost() };
        self.state = next;
        Some(next)
    }

    /// Records that a probe ended at `now` without a result for the backend.
    pub fn postpone(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// When the next probe is due: at `now` if there was none yet. `random` are fresh uniform bits.
    pub fn next_probe(&self, now: Instant, random: u64) -> Instant {
        let Some(last) = self.last else { return now };
        let is_settled = self.state == State::Up && self.failures == 0;
        let settled = rng::jittered(self.interval, random);
        let soon = SOON + rng::part(SOON_SPREAD, random);
        // Never later than said, and up to a fifth earlier.
        let down = self.down_interval - rng::part(self.down_interval / 5, random);
        last + match self.state {
            State::Up | State::Unknown if is_settled => settled,
            State::Up | State::Unknown => settled.min(soon),
            State::Down if self.successes > 0 => settled.min(soon).min(down),
            State::Down => settled.min(down),
        }
    }

    /// When a probe that a failed request triggered is due.
    pub fn next_requested(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| now.max(last + MIN_REQUESTED_GAP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::rng::Rng;

    const THRESHOLDS: Thresholds = Thresholds {
        interval: Duration::from_secs(10),
        down_interval: Duration::from_secs(1),
        healthy_after: 2,
        unhealthy_after: 3,
    };

    /// The state after each of these results.
    fn states(start: State, results: &[bool]) -> Vec<State> {
        let mut tracker = Tracker::new(THRESHOLDS, start);
        let now = clock::now();
        results
            .iter()
            .map(|is_success| {
                let before = tracker.state();
                let change = tracker.record(*is_success, now);
                assert_eq!(change, (tracker.state() != before).then_some(tracker.state()));
                tracker.state()
            })
            .collect()
    }

    #[test]
    fn the_first_result_decides_at_once() {
        assert_eq!(states(State::Unknown, &[true]), [State::Up]);
        assert_eq!(states(State::Unknown, &[false]), [State::Down]);
    }

    #[test]
    fn only_failures_in_a_row_take_a_backend_down() {
        use State::{Down, Up};
        assert_eq!(states(Up, &[false, false, false]), [Up, Up, Down]);
        assert_eq!(states(Up, &[false, false, true, false, false]), [Up; 5]);
    }

    #[test]
    fn only_successes_in_a_row_bring_a_backend_back() {
        use State::{Down, Up};
        assert_eq!(states(Down, &[true, true]), [Down, Up]);
        assert_eq!(states(Down, &[true, false, true, false]), [Down; 4]);
    }

    #[test]
    fn the_first_probe_is_due_at_once() {
        let now = clock::now();
        assert_eq!(Tracker::new(THRESHOLDS, State::Unknown).next_probe(now, 7), now);
    }

    #[test]
    fn a_settled_backend_is_probed_after_the_interval_give_or_take_a_tenth() {
        let now = clock::now();
        let mut tracker = Tracker::new(THRESHOLDS, State::Unknown);
        tracker.record(true, now);
        assert_eq!(tracker.next_probe(now, 0), now + Duration::from_secs(9));
        assert_eq!(tracker.next_probe(now, u64::MAX), now + Duration::from_secs(11));
    }

    #[test]
    fn after_a_failure_and_before_a_recovery_the_next_probe_follows_within_a_second() {
        let now = clock::now();
        for (start, is_success) in [(State::Up, false), (State::Down, true)] {
            let mut tracker = Tracker::new(THRESHOLDS, start);
            tracker.record(is_success, now);
            assert_eq!(tracker.next_probe(now, 0), now + Duration::from_millis(500));
            assert!(tracker.next_probe(now, u64::MAX) <= now + Duration::from_millis(900));
        }
    }

    #[test]
    fn a_backend_that_is_down_is_probed_at_its_own_interval_if_that_is_shorter() {
        let now = clock::now();
        for (down_interval, [earliest, latest]) in
            [(1_000, [800, 1_000]), (50, [40, 50]), (60_000, [11_000, 9_000])]
        {
            let thresholds = Thresholds {
                down_interval: Duration::from_millis(down_interval),
                ..THRESHOLDS
            };
            let mut tracker = Tracker::new(thresholds, State::Down);
            tracker.record(false, now);
            assert_eq!(tracker.next_probe(now, 0), now + Duration::from_millis(latest));
            assert_eq!(
                tracker.next_probe(now, u64::MAX),
                now + Duration::from_millis(earliest)
            );
        }
    }

    #[test]
    fn a_flapping_backend_changes_its_state_at_most_once_per_the_probes_of_both_directions() {
        let mut tracker = Tracker::new(THRESHOLDS, State::Up);
        let pattern = [false, false, false, true, true];
        let results = pattern.iter().cycle().take(1_000);
        let changes = results.filter(|is_success| tracker.record(**is_success, clock::now()).is_some());
        let changes = changes.count() as u32;
        assert!(
            (150..=1_000 / 5 + CHANGES_IN_A_ROW).contains(&changes),
            "{changes}"
        );
    }

    #[test]
    fn a_restart_is_followed_without_delay_and_so_is_another_one_later() {
        let mut tracker = Tracker::new(THRESHOLDS, State::Up);
        let mut record = |is_success| tracker.record(is_success, clock::now());
        for _ in 0..3 {
            let down = [false, false, false].map(&mut record);
            assert_eq!(down, [None, None, Some(State::Down)]);
            assert_eq!([true, true].map(&mut record), [None, Some(State::Up)]);
            assert_eq!([true; 10].map(&mut record), [None; 10]);
        }
    }

    #[test]
    fn probes_that_requests_trigger_keep_a_gap() {
        let now = clock::now();
        let mut tracker = Tracker::new(THRESHOLDS, State::Up);
        assert_eq!(tracker.next_requested(now), now);
        tracker.record(true, now);
        assert_eq!(tracker.next_requested(now), now + MIN_REQUESTED_GAP);
        let later = now + Duration::from_secs(3);
        assert_eq!(tracker.next_requested(later), later);
    }

    /// A backend that dies and recovers at random, in simulated time.
    #[test]
    fn simulation_follows_the_backend_within_the_documented_time() {
        for seed in 0..300 {
            let mut rng = Rng::seeded(seed);
            let mut now = clock::now();
            let mut tracker = Tracker::new(THRESHOLDS, State::Unknown);
            let mut is_healthy = true;
            // When `is_healthy` last changed.
            let mut since = now;
            for step in 0..300 {
                let due = tracker.next_probe(now, rng.bits());
                assert!(due >= now, "seed {seed}, step {step}");
                now = due;
                // Rarely enough that no change has to wait for those before.
                if rng::below(rng.bits(), 8) == 0 && tracker.credit >= 2 * tracker.change_cost() {
                    is_healthy = !is_healthy;
                    since = now;
                }
                let before = tracker.state();
                tracker.record(is_healthy, now);
                let state = tracker.state();
                if state != before && before != State::Unknown {
                    assert_eq!(state == State::Up, is_healthy, "seed {seed}, step {step}");
                }
                // Down after two more failures, each within 0.9 s; up after a probe within 1 s, and another within 0.9 s.
                let is_late = now - since > Duration::from_millis(1_900);
                assert!(
                    !is_late || (state == State::Up) == is_healthy,
                    "seed {seed}, step {step}"
                );
            }
        }
    }
}
