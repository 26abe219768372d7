//! What workers count for the ejection of one backend. Written on failures, and on successes that follow them: while none fails, a
//! request costs one load of a line that nobody writes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_wire::instant::Instant;

use super::{Failure, Failures, Settings};

/// Set in [`Signal::streak`] while the backend is on trial.
const ON_TRIAL: u32 = 1 << 31;

/// Points are not added above this, so that they never reach [`ON_TRIAL`].
const MOST_POINTS: u32 = 1 << 24;

/// What workers count for the ejection of one backend, and the trial requests that they may send to it. Lives as long as the
/// backend.
#[derive(Debug)]
pub struct Signal {
    /// Times are stored as the time since then.
    epoch: Instant,
    /// The points that eject, and in the lowest four bits the failures that count. 0: ejection is off.
    rules: AtomicU32,
    /// The points of failures in a row, or [`ON_TRIAL`].
    streak: AtomicU32,
    /// Attempts that began before this time, in nanoseconds, do not count: they belong to the time before an ejection.
    counts_from: AtomicU64,
    /// The last failure that counted.
    last: AtomicU32,
    trial: Trial,
}

/// The trial of a backend that was ejected.
#[derive(Debug, Default)]
struct Trial {
    /// Requests that may still be sent.
    permits: AtomicU32,
    /// Whether requests may be sent that cannot be repeated elsewhere.
    is_open_to_all: AtomicBool,
    passed: AtomicU32,
    failed: AtomicU32,
}

/// What follows from a failure or a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does not count.
    Ignored,
    /// It counts.
    Counted,
    /// It counts, and the arbiter of the pool has to decide now.
    Decide,
}

impl Signal {
    /// The signal of a new backend. Nothing counts before an [`super::Arbiter`] has seen it.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            rules: AtomicU32::new(0),
            streak: AtomicU32::new(0),
            counts_from: AtomicU64::new(0),
            last: AtomicU32::new(0),
            trial: Trial::default(),
        }
    }

    /// Whether a success has nothing to tell: no failure came before it, and the backend is not on trial.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.streak.load(Ordering::Relaxed) == 0
    }

    /// An attempt that began then has succeeded. Needs to be called only when the signal is not quiet.
    pub fn succeed(&self, began: Instant) -> Effect {
        if self.streak.load(Ordering::Acquire) & ON_TRIAL == 0 {
            // Keeps the bit, in case a trial begins now.
            self.streak.fetch_and(ON_TRIAL, Ordering::Relaxed);
            return Effect::Counted;
        }
        if !self.counts(began) {
            return Effect::Ignored;
        }
        self.trial.passed.fetch_add(1, Ordering::Release);
        Effect::Decide
    }

    /// An attempt that began then has failed.
    pub fn fail(&self, failure: Failure, began: Instant) -> Effect {
        let rules = self.rules.load(Ordering::Relaxed);
        if rules == 0 || !Failures(rules as u8 & 0xf).contains(failure) || !self.counts(began) {
            return Effect::Ignored;
        }
        self.last.store(encode(failure), Ordering::Relaxed);
        let before = self.streak.load(Ordering::Acquire);
        if before & ON_TRIAL != 0 {
            self.trial.failed.fetch_add(1, Ordering::Release);
            return Effect::Decide;
        }
        if before >= MOST_POINTS {
            return Effect::Counted;
        }
        let before = self.streak.fetch_add(failure.points(), Ordering::Relaxed) & !ON_TRIAL;
        let threshold = rules >> 4;
        // Once for each streak: the arbiter looks again by itself if it may not eject now.
        match before < threshold && before + failure.points() >= threshold {
            true => Effect::Decide,
            false => Effect::Counted,
        }
    }

    /// Takes a permit for a trial request, if the backend is on trial and one is left. `is_repeatable`: whether another backend
    /// can be tried if it fails.
    pub fn take_trial(&self, is_repeatable: bool) -> bool {
        let trial = &self.trial;
        if !is_repeatable && !trial.is_open_to_all.load(Ordering::Relaxed) {
            return false;
        }
        let take = |permits: u32| permits.checked_sub(1);
        trial
            .permits
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// The last failure that counted.
    pub fn last_failure(&self) -> Option<Failure> {
        decode(self.last.load(Ordering::Relaxed))
    }

    /// Lets failures count by these settings; `None`: not at all.
    pub(super) fn configure(&self, settings: Option<&Settings>) {
        let rules = settings.map_or(0, |settings| {
            (settings.points().min(MOST_POINTS) << 4) | u32::from(settings.failures.0)
        });
        self.rules.store(rules, Ordering::Relaxed);
    }

    /// Whether the failures in a row are enough to eject.
    pub(super) fn is_over(&self, settings: &Settings) -> bool {
        let streak = self.streak.load(Ordering::Relaxed);
        streak & ON_TRIAL == 0 && streak >= settings.points().min(MOST_POINTS)
    }

    /// Counts from now on, and forgets what was before.
    pub(super) fn restart(&self, now: Instant) {
        self.trial.permits.store(0, Ordering::Relaxed);
        self.counts_from.store(self.since_epoch(now), Ordering::Relaxed);
        self.streak.store(0, Ordering::Release);
    }

    /// Lets this number of requests through on trial.
    pub(super) fn begin_trial(&self, now: Instant, permits: u32) {
        self.trial.passed.store(0, Ordering::Relaxed);
        self.trial.failed.store(0, Ordering::Relaxed);
        self.trial.is_open_to_all.store(false, Ordering::Relaxed);
        self.counts_from.store(self.since_epoch(now), Ordering::Relaxed);
        self.streak.store(ON_TRIAL, Ordering::Release);
        self.trial.permits.store(permits, Ordering::Release);
    }

    /// Lets requests of any method through on trial, because there seem to be no others.
    pub(super) fn open_to_all(&self) {
        self.trial.is_open_to_all.store(true, Ordering::Relaxed);
    }

    /// Lets another request through.
    pub(super) fn add_permit(&self) {
        self.trial.permits.fetch_add(1, Ordering::Release);
    }

    /// Trial requests that could still be sent.
    pub(super) fn permits(&self) -> u32 {
        self.trial.permits.load(Ordering::Relaxed)
    }

    /// Trial requests that have passed and failed.
    pub(super) fn trial_results(&self) -> (u32, u32) {
        let Trial { passed, failed, .. } = &self.trial;
        (passed.load(Ordering::Acquire), failed.load(Ordering::Acquire))
    }

    /// Whether an attempt that began then counts.
    fn counts(&self, began: Instant) -> bool {
        self.since_epoch(began) >= self.counts_from.load(Ordering::Relaxed)
    }

    fn since_epoch(&self, time: Instant) -> u64 {
        let since = time
            .saturating_duration_since(self.epoch)
            .min(Duration::from_nanos(u64::MAX));
        since.as_nanos() as u64
    }
}

fn encode(failure: Failure) -> u32 {
    match failure {
        Failure::Connect => 1,
        Failure::Reset => 2,
        Failure::Timeout => 3,
        Failure::Status(status) => u32::from(status),
    }
}

fn decode(code: u32) -> Option<Failure> {
    match code {
        0 => None,
        1 => Some(Failure::Connect),
        2 => Some(Failure::Reset),
        3 => Some(Failure::Timeout),
        status => u16::try_from(status).ok().map(Failure::Status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn signal(now: Instant) -> Signal {
        let signal = Signal::new(now);
        signal.configure(Some(&Settings::default()));
        signal
    }

    /// How many of these failures it takes until the arbiter has to decide.
    fn until_decision(failures: &[Failure]) -> usize {
        let now = clock::now();
        let signal = signal(now);
        let effects = failures.iter().cycle().map(|failure| signal.fail(*failure, now));
        1 + effects
            .take(100)
            .position(|effect| effect == Effect::Decide)
            .unwrap()
    }

    #[test]
    fn five_failures_in_a_row_or_three_that_cost_a_timeout_call_for_a_decision() {
        assert_eq!(until_decision(&[Failure::Status(500)]), 5);
        assert_eq!(until_decision(&[Failure::Reset]), 5);
        assert_eq!(until_decision(&[Failure::Timeout]), 3);
        assert_eq!(until_decision(&[Failure::Connect]), 3);
        assert_eq!(until_decision(&[Failure::Connect, Failure::Reset]), 4);
    }

    #[test]
    fn a_decision_is_called_for_once_and_again_after_a_success() {
        let now = clock::now();
        let signal = signal(now);
        let fail = || signal.fail(Failure::Timeout, now);
        assert_eq!(
            [fail(), fail(), fail(), fail()],
            [Effect::Counted, Effect::Counted, Effect::Decide, Effect::Counted]
        );
        assert!(signal.is_over(&Settings::default()) && !signal.is_quiet());
        assert_eq!(signal.succeed(now), Effect::Counted);
        assert!(signal.is_quiet() && !signal.is_over(&Settings::default()));
        assert_eq!(
            [fail(), fail(), fail()],
            [Effect::Counted, Effect::Counted, Effect::Decide]
        );
        assert_eq!(signal.last_failure(), Some(Failure::Timeout));
    }

    #[test]
    fn nothing_counts_while_ejection_is_off_or_the_failure_is_not_chosen() {
        let now = clock::now();
        let signal = Signal::new(now);
        assert_eq!(signal.fail(Failure::Timeout, now), Effect::Ignored);
        let mut failures = Failures::NONE;
        assert!(failures.insert("5xx") && !failures.insert("4xx"));
        let settings = Settings {
            failures,
            ..Settings::default()
        };
        signal.configure(Some(&settings));
        assert_eq!(signal.fail(Failure::Timeout, now), Effect::Ignored);
        assert!(signal.is_quiet());
        assert_eq!(signal.fail(Failure::Status(503), now), Effect::Counted);
        signal.configure(None);
        assert_eq!(signal.fail(Failure::Status(503), now), Effect::Ignored);
    }

    #[test]
    fn attempts_from_before_a_restart_do_not_count() {
        let start = clock::now();
        let signal = signal(start);
        let later = start + Duration::from_secs(1);
        signal.restart(later);
        assert_eq!(signal.fail(Failure::Timeout, start), Effect::Ignored);
        assert_eq!(signal.fail(Failure::Timeout, later), Effect::Counted);
        signal.begin_trial(later, 1);
        assert_eq!(signal.succeed(start), Effect::Ignored);
        assert_eq!(signal.fail(Failure::Timeout, start), Effect::Ignored);
        assert_eq!(signal.trial_results(), (0, 0));
    }

    #[test]
    fn a_trial_lets_a_bounded_number_of_repeatable_requests_through() {
        let now = clock::now();
        let signal = signal(now);
        assert!(!signal.take_trial(true));
        signal.begin_trial(now, 2);
        assert!(!signal.is_quiet());
        assert_eq!(
            [false, true, true, true].map(|is_repeatable| signal.take_trial(is_repeatable)),
            [false, true, true, false]
        );
        signal.add_permit();
        assert!(!signal.take_trial(false));
        signal.open_to_all();
        assert!(signal.take_trial(false) && !signal.take_trial(true));
        assert_eq!(signal.succeed(now), Effect::Decide);
        assert_eq!(signal.fail(Failure::Reset, now), Effect::Decide);
        assert_eq!(signal.trial_results(), (1, 1));
        signal.add_permit();
        signal.restart(now);
        assert!(signal.is_quiet() && !signal.take_trial(true));
    }

    #[test]
    fn the_last_failure_is_kept_whole() {
        for failure in [
            Failure::Connect,
            Failure::Reset,
            Failure::Timeout,
            Failure::Status(599),
        ] {
            assert_eq!(decode(encode(failure)), Some(failure));
        }
        assert_eq!(decode(0), None);
    }
}
