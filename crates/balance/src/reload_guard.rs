//! Whether a new config made things worse: compares failures after a reload with those of the minute before, and decides if the
//! old config is to come back.
//!
//! Two shares are compared, each with itself: responses with a status of 5xx among completed requests, and attempts that could not
//! connect among attempts. They are not added up: a 502 is often both, and a retry hides a failed connection from the client.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use evenkeel_wire::instant::Instant;

/// How long before the reload counts as before.
pub const BEFORE: Duration = Duration::from_secs(60);
/// Fewer requests, or attempts, than that after the reload prove nothing.
pub const LEAST: u64 = 20;
/// A share has to grow by this many percentage points,
pub const POINTS: u64 = 10;
/// and to this multiple of what it was.
pub const TIMES: u64 = 2;
/// The shortest guard: in less than a second nothing is seen. After an hour it is not the reload that fails.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// The longest one.
pub const LONGEST: Duration = Duration::from_hours(1);
/// Bound of the history: one sample a second for `BEFORE`, and the one they are compared with.
const SAMPLES: usize = 61;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Counts since the process began. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Completed requests,
    pub requests: u64,
    /// and those of them with a status of 5xx.
    pub errors: u64,
    /// Attempts,
    pub attempts: u64,
    /// and those of them that could not connect.
    pub connect_failures: u64,
}

/// The totals of the last minute, a sample each second.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<(Instant, Totals)>,
}

/// The watch over one reload, from the activation of the new config on.
#[derive(Debug)]
pub struct ReloadGuard {
    until: Instant,
    at_reload: Totals,
    before: Totals,
}

/// What becomes of the new config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The guard has not ended.
    Wait,
    /// The guard has ended: the new config stays.
    Keep,
    /// The old config comes back.
    RollBack(Reason),
}

/// What became worse, before and after the reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The share that has jumped.
    pub what: What,
    /// Its value in the minute before the reload,
    pub before: Share,
    /// and since then.
    pub after: Share,
}

/// The share that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Responses with a status of 5xx among completed requests.
    Errors,
    /// Attempts that could not connect among attempts.
    ConnectFailures,
}

/// Failures among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// What failed.
    pub failures: u64,
    /// All.
    pub all: u64,
}

impl Totals {
    /// What was added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            attempts: self.attempts.saturating_sub(earlier.attempts),
            connect_failures: self.connect_failures.saturating_sub(earlier.connect_failures),
        }
    }

    fn share(self, what: What) -> Share {
        let (failures, all) = match what {
            What::Errors => (self.errors, self.requests),
            What::ConnectFailures => (self.connect_failures, self.attempts),
        };
        Share { failures, all }
    }
}

impl History {
    /// Takes a sample. One that comes less than a second after the last one is left out, so that the history reaches back a minute
    /// however often it is fed.
    pub fn record(&mut self, now: Instant, totals: Totals) {
        let too_early = |(last, _): &(Instant, Totals)| now.saturating_duration_since(*last) < SAMPLE_EVERY;
        if self.samples.back().is_some_and(too_early) {
            return;
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, totals));
    }

    /// Forgets all samples, because what they count says nothing about the config that is active now.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// What was added in the last minute, or since the first sample if that is later.
    pub fn last_minute(&self, now: Instant, totals: Totals) -> Totals {
        let recent = |(at, _): &&(Instant, Totals)| now.saturating_duration_since(*at) <= BEFORE;
        match self.samples.iter().find(recent) {
            Some((_, earlier)) => totals.since(*earlier),
            None => Totals::default(),
        }
    }
}

impl ReloadGuard {
    /// A guard that begins when the new config is activated. `before` is the minute before.
    pub fn new(now: Instant, length: Duration, at_reload: Totals, before: Totals) -> Self {
        Self {
            until: now + length,
            at_reload,
            before,
        }
    }

    /// When the guard ends by itself.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Decides by the totals of now. Called about once a second, and once at the end: what failed in the last moment counts too.
    pub fn decide(&self, now: Instant, totals: Totals) -> Decision {
        let after = totals.since(self.at_reload);
        for what in [What::Errors, What::ConnectFailures] {
            let (before, after) = (self.before.share(what), after.share(what));
            if after.jumped_from(before) {
                return Decision::RollBack(Reason { what, before, after });
            }
        }
        if now < self.until {
            Decision::Wait
        } else {
            Decision::Keep
        }
    }
}

impl Share {
    /// Without division, so that no rounding decides: exact for windows of up to 10^18 requests. Without requests before, nothing
    /// had failed before.
    fn jumped_from(self, before: Self) -> bool {
        if self.all < LEAST {
            return false;
        }
        let (after_failures, after_all) = (u128::from(self.failures), u128::from(self.all));
        let (failures, all) = match before.all {
            0 => (0, 1),
            _ => (u128::from(before.failures), u128::from(before.all)),
        };
        // Both sides of `after ≥ before + POINTS/100` times 100 × `after_all` × `all`.
        let (now_failed, had_failed) = (
            after_failures.saturating_mul(all),
            failures.saturating_mul(after_all),
        );
        let points = after_all.saturating_mul(all).saturating_mul(u128::from(POINTS));
        let by_points =
            now_failed.saturating_mul(100) >= had_failed.saturating_mul(100).saturating_add(points);
        let by_times = now_failed >= had_failed.saturating_mul(u128::from(TIMES));
        by_points && by_times
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, before, after } = self;
        match what {
            What::Errors => write!(
                f,
                "{after} of requests got a status of 5xx after the reload, {before} in the minute before"
            ),
            What::ConnectFailures => {
                write!(
                    f,
                    "{after} of attempts could not connect after the reload, {before} in the minute before"
                )
            }
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failures, all } = self;
        let percent = u128::from(*failures) * 100 / u128::from((*all).max(1));
        write!(f, "{percent}% ({failures} of {all})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(30);

    fn start() -> Instant {
        crate::clock::now()
    }

    fn requests(requests: u64, errors: u64) -> Totals {
        Totals {
            requests,
            errors,
            ..Totals::default()
        }
    }

    fn attempts(attempts: u64, connect_failures: u64) -> Totals {
        Totals {
            attempts,
            connect_failures,
            ..Totals::default()
        }
    }

    /// The decision one second after the reload, when `after` was added.
    fn decision(before: Totals, after: Totals) -> Decision {
        let now = start();
        let guard = ReloadGuard::new(now, LENGTH, Totals::default(), before);
        guard.decide(now + Duration::from_secs(1), after)
    }

    fn rolls_back(before: Totals, after: Totals) -> bool {
        matches!(decision(before, after), Decision::RollBack(_))
    }

    #[test]
    fn a_jump_of_errors_brings_the_old_config_back() {
        let before = Share {
            failures: 0,
            all: 1000,
        };
        let after = Share {
            failures: 15,
            all: 100,
        };
        let reason = Reason {
            what: What::Errors,
            before,
            after,
        };
        assert_eq!(
            decision(requests(1000, 0), requests(100, 15)),
            Decision::RollBack(reason)
        );
    }

    #[test]
    fn connect_failures_that_retries_hide_bring_it_back_too() {
        let after = Totals {
            requests: 100,
            ..attempts(150, 50)
        };
        let Decision::RollBack(reason) = decision(
            Totals {
                requests: 1000,
                ..attempts(1000, 0)
            },
            after,
        ) else {
            panic!("the new config stayed");
        };
        assert_eq!(reason.what, What::ConnectFailures);
    }

    #[test]
    fn fewer_than_twenty_requests_prove_nothing() {
        assert!(!rolls_back(requests(1000, 0), requests(19, 19)));
        assert!(rolls_back(requests(1000, 0), requests(20, 20)));
    }

    #[test]
    fn a_share_has_to_grow_by_ten_points() {
        assert!(!rolls_back(requests(1000, 0), requests(1000, 99)));
        assert!(rolls_back(requests(1000, 0), requests(1000, 100)));
        assert!(!rolls_back(requests(1000, 10), requests(1000, 109)));
        assert!(rolls_back(requests(1000, 10), requests(1000, 110)));
    }

    #[test]
    fn a_share_has_to_double() {
        assert!(!rolls_back(requests(1000, 300), requests(1000, 599)));
        assert!(rolls_back(requests(1000, 300), requests(1000, 600)));
    }

    #[test]
    fn a_config_that_fails_as_before_stays() {
        assert!(!rolls_back(requests(1000, 1000), requests(1000, 1000)));
    }

    #[test]
    fn without_requests_before_nothing_had_failed() {
        assert!(rolls_back(Totals::default(), requests(20, 2)));
        assert!(!rolls_back(Totals::default(), requests(20, 1)));
    }

    #[test]
    fn what_was_counted_before_the_reload_is_not_held_against_the_new_config() {
        let now = start();
        let guard = ReloadGuard::new(now, LENGTH, requests(500, 400), requests(500, 0));
        assert_eq!(guard.decide(now, requests(600, 400)), Decision::Wait);
    }

    #[test]
    fn the_new_config_stays_when_the_guard_ends() {
        let now = start();
        let guard = ReloadGuard::new(now, LENGTH, Totals::default(), Totals::default());
        assert_eq!(
            guard.decide(guard.until() - Duration::from_millis(1), requests(100, 0)),
            Decision::Wait
        );
        assert_eq!(guard.decide(guard.until(), requests(100, 0)), Decision::Keep);
    }

    #[test]
    fn a_jump_that_is_seen_at_the_end_still_counts() {
        let now = start();
        let guard = ReloadGuard::new(now, LENGTH, Totals::default(), Totals::default());
        assert!(matches!(
            guard.decide(guard.until(), requests(100, 100)),
            Decision::RollBack(_)
        ));
    }

    #[test]
    fn large_counts_are_compared_exactly() {
        const MANY: u64 = 1_000_000_000_000_000_000;
        assert!(rolls_back(requests(MANY, 0), requests(MANY, MANY / 10)));
        assert!(!rolls_back(requests(MANY, 0), requests(MANY, MANY / 10 - 1)));
        assert!(!rolls_back(requests(MANY, MANY), requests(MANY, MANY)));
    }

    #[test]
    fn the_minute_before_leaves_out_what_is_older() {
        let (begin, mut history) = (start(), History::default());
        // one request each second, all failed in the first minute and none in the second one
        for second in 0..=120 {
            history.record(
                begin + Duration::from_secs(second),
                requests(second, second.min(60)),
            );
        }
        let now = begin + Duration::from_secs(120);
        assert_eq!(history.last_minute(now, requests(120, 60)), requests(60, 0));
    }

    #[test]
    fn a_history_that_is_fed_too_often_still_reaches_back_a_minute() {
        let (begin, mut history) = (start(), History::default());
        for tenth in 0..=600 {
            history.record(begin + Duration::from_millis(tenth * 100), requests(tenth, 0));
        }
        assert_eq!(history.samples.len(), SAMPLES);
        assert_eq!(
            history.last_minute(begin + BEFORE, requests(600, 0)),
            requests(600, 0)
        );
    }

    #[test]
    fn a_history_that_was_cleared_begins_anew() {
        let (begin, mut history) = (start(), History::default());
        history.record(begin, requests(0, 0));
        history.clear();
        assert!(history.is_empty());
        let later = begin + Duration::from_secs(1);
        history.record(later, requests(100, 100));
        assert_eq!(
            history.last_minute(later + Duration::from_secs(1), requests(110, 100)),
            requests(10, 0)
        );
    }

    #[test]
    fn a_history_without_recent_samples_tells_nothing() {
        let (begin, mut history) = (start(), History::default());
        history.record(begin, requests(1, 1));
        let later = begin + Duration::from_secs(61);
        assert_eq!(history.last_minute(later, requests(100, 100)), Totals::default());
    }

    #[test]
    fn a_reason_names_both_shares() {
        let (before, after) = (
            Share {
                failures: 1,
                all: 1000,
            },
            Share {
                failures: 40,
                all: 100,
            },
        );
        let reason = Reason {
            what: What::Errors,
            before,
            after,
        };
        let text = "40% (40 of 100) of requests got a status of 5xx after the reload, 0% (1 of 1000) in the minute before";
        assert_eq!(reason.to_string(), text);
    }
}
