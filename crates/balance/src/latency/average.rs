//! The latency to expect of the next request, as one number ("peak EWMA"): a slow response raises it at once, each faster one lowers
//! it a little, and it falls while there are no requests, so that every backend is tried again. A backend that does not respond at
//! all is noticed by the age of the requests that wait for it. Shared by all workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a failed attempt counts as, at least. A backend that refuses at once would otherwise pass for the fastest.
const FAILURE: f32 = 0.1;
/// What the latency of a backend counts as that has a request and has never responded: more than that of backends that do.
const UNKNOWN: f32 = 1.0;
/// The highest average, in seconds, however many attempts fail.
const HIGHEST: f32 = 60.0;
/// What is left at most of the difference to a faster response. A backend with many requests thus forgets single slow responses soon:
/// else a pause that all backends share, such as that of a busy machine, would make them look alike for the time constant.
const KEPT: f32 = 15.0 / 16.0;
/// A response that takes longer to begin is one of a long poll, and says nothing of the others. Nor does the age of such a request.
const LONGEST: Duration = Duration::from_secs(10);

/// What an attempt says of a backend's latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// A response began after this time.
    Response(Duration),
    /// The attempt failed after this time, or the response says that the backend failed.
    Failure(Duration),
}

/// A request that waits for its response.
#[derive(Debug)]
#[must_use]
pub struct Waiting(u64);

/// Both words are on one cache line, which nothing else shares: every worker writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Average {
    /// The average in seconds, as the bits of an `f32`, above the time of the last sample in milliseconds, which may wrap.
    /// 0 before the first sample.
    average: AtomicU64,
    /// The number of waiting requests above [`START_BITS`] bits, and the sum of the times when they began to wait. One word, so that
    /// both always fit together. The times are in milliseconds: the sum overflows when, after a year, 8,900 requests wait at
    /// one backend; the estimate is wrong then for as long as they do.
    waiting: AtomicU64,
}

const START_BITS: u32 = 48;

impl Average {
    #[inline]
    pub(super) fn begin_wait(&self, elapsed: Duration) -> Waiting {
        let word = (1 << START_BITS) | (millis(elapsed) & ((1 << START_BITS) - 1));
        self.waiting.fetch_add(word, Ordering::Relaxed);
        Waiting(word)
    }

    #[inline]
    pub(super) fn end_wait(&self, waiting: Waiting) {
        self.waiting.fetch_sub(waiting.0, Ordering::Relaxed);
    }

    pub(super) fn learn(&self, sample: Sample, elapsed: Duration, decay: u32) {
        let now = millis(elapsed);
        let word = &self.average;
        // Workers that store at the same time lose no sample.
        let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            Some(pack(learnt(unpack(word), sample, now, decay)?, now))
        });
    }

    #[inline]
    pub(super) fn expected(&self, elapsed: Duration, decay: u32) -> f32 {
        let now = millis(elapsed);
        let age = self.age(now);
        let Some((average, last)) = unpack(self.average.load(Ordering::Relaxed)) else {
            return age.map_or(0.0, |age| seconds(age).max(UNKNOWN));
        };
        let idle = since(last, now);
        let Some(age) = age else {
            return average * remaining(idle, decay);
        };
        // A backend that has just responded does not hang, however long single requests have been waiting. And one that was
        // idle is as slow as it was before, until it responds: else it would get many requests at once.
        let silent = age.min(idle);
        let left = average * remaining(silent, decay);
        if u128::from(silent) >= LONGEST.as_millis() {
            return left;
        }
        left.max(seconds(silent))
    }

    /// The mean age of the waiting requests in milliseconds; `None` if none waits.
    #[inline]
    fn age(&self, now: u64) -> Option<u64> {
        let word = self.waiting.load(Ordering::Relaxed);
        let (count, starts) = (word >> START_BITS, word & ((1 << START_BITS) - 1));
        let ages = (count * now).saturating_sub(starts);
        // An estimate: the exact quotient costs more.
        (count != 0).then(|| (ages as f32 / count as f32) as u64)
    }
}

/// The average after a sample; `None` if it says nothing.
fn learnt(before: Option<(f32, u32)>, sample: Sample, now: u64, decay: u32) -> Option<f32> {
    let took = match sample {
        Sample::Response(took) if took >= LONGEST => return None,
        Sample::Response(took) => took.as_secs_f32(),
        Sample::Failure(took) => {
            let doubled = before.map_or(0.0, |(average, _)| average * 2.0);
            took.as_secs_f32().max(doubled).max(FAILURE)
        }
    };
    // Not 0, whose bits say that there was no sample.
    let took = took.clamp(1e-6, HIGHEST);
    Some(match before {
        Some((average, last)) if took < average => {
            let kept = remaining(since(last, now), decay).min(KEPT);
            average * kept + took * (1.0 - kept)
        }
        _ => took,
    })
}

/// The part of an average that is left after `idle` milliseconds. About `exp(-idle / decay)`, without the cost of that.
#[inline]
fn remaining(idle: u64, decay: u32) -> f32 {
    let base = 1.0 + idle as f32 / (decay as f32 * 16.0);
    let (square, one) = (base * base, 1.0);
    let fourth = square * square;
    let eighth = fourth * fourth;
    one / (eighth * eighth)
}

/// Milliseconds from `last`, which wraps, to `now`.
#[inline]
fn since(last: u32, now: u64) -> u64 {
    let passed = (now as u32).wrapping_sub(last);
    // The clock of the worker that stored `last` may be a little ahead.
    if passed > u32::MAX / 2 {
        0
    } else {
        u64::from(passed)
    }
}

#[inline]
fn millis(elapsed: Duration) -> u64 {
    elapsed.as_secs() * 1_000 + u64::from(elapsed.subsec_millis())
}

#[inline]
fn seconds(millis: u64) -> f32 {
    millis as f32 / 1_000.0
}

fn pack(average: f32, now: u64) -> u64 {
    (u64::from(average.to_bits()) << 32) | u64::from(now as u32)
}

#[inline]
fn unpack(word: u64) -> Option<(f32, u32)> {
    let average = f32::from_bits((word >> 32) as u32);
    (average > 0.0).then_some((average, word as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: u32 = 10_000;
    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn after(samples: &[(Sample, Duration)]) -> Average {
        let average = Average::default();
        for (sample, elapsed) in samples {
            average.learn(*sample, *elapsed, DECAY);
        }
        average
    }

    fn millis_expected(average: &Average, elapsed: Duration) -> f32 {
        average.expected(elapsed, DECAY) * 1_000.0
    }

    #[test]
    fn a_slow_response_raises_it_at_once_and_fast_ones_lower_it_slowly() {
        let average = after(&[
            (Sample::Response(5 * MS), SECOND),
            (Sample::Response(500 * MS), 2 * SECOND),
        ]);
        assert!((millis_expected(&average, 2 * SECOND) - 500.0).abs() < 1.0);
        for second in 3..12 {
            average.learn(Sample::Response(5 * MS), second * SECOND, DECAY);
        }
        let later = millis_expected(&average, 11 * SECOND);
        assert!((150.0..260.0).contains(&later), "{later}");
        for second in 12..120 {
            average.learn(Sample::Response(5 * MS), second * SECOND, DECAY);
        }
        let much_later = millis_expected(&average, 119 * SECOND);
        assert!((5.0..6.0).contains(&much_later), "{much_later}");
    }

    #[test]
    fn a_busy_backend_forgets_a_pause_that_others_had_too() {
        let start = [
            (Sample::Response(5 * MS), SECOND),
            (Sample::Response(55 * MS), SECOND),
        ];
        let (busy, idle) = (after(&start), after(&start));
        for response in 1..=60 {
            busy.learn(Sample::Response(5 * MS), SECOND + response * 5 * MS, DECAY);
        }
        let [busy, idle] = [busy, idle].map(|average| millis_expected(&average, SECOND + 300 * MS));
        assert!(busy < 7.0 && idle > 50.0, "{busy}, {idle}");
    }

    #[test]
    fn it_falls_while_nothing_is_sent() {
        let average = after(&[(Sample::Response(SECOND), SECOND)]);
        let mut last = f32::MAX;
        for second in [1, 5, 11, 30, 120, 600] {
            let expected = millis_expected(&average, second * SECOND);
            assert!(expected < last, "{second}: {expected}");
            last = expected;
        }
        assert!(last < 0.01, "{last}");
    }

    #[test]
    fn a_request_to_an_idle_backend_makes_it_as_slow_as_it_was() {
        let average = after(&[(Sample::Response(SECOND), SECOND)]);
        let waiting = average.begin_wait(100 * SECOND);
        assert!(millis_expected(&average, 100 * SECOND) > 990.0);
        average.end_wait(waiting);
        assert!(millis_expected(&average, 100 * SECOND) < 10.0);
    }

    #[test]
    fn a_backend_that_hangs_is_noticed_before_it_responds() {
        let average = after(&[(Sample::Response(5 * MS), SECOND)]);
        let waiting: Vec<_> = [0, 100, 200]
            .map(|start| average.begin_wait(SECOND + start * MS))
            .into();
        let expected = millis_expected(&average, SECOND + 500 * MS);
        assert!((expected - 400.0).abs() < 2.0, "{expected}");
        waiting.into_iter().for_each(|waiting| average.end_wait(waiting));
        assert!(millis_expected(&average, SECOND + 500 * MS) < 5.1);
        assert_eq!(average.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_long_poll_does_not_make_a_backend_that_responds_slow() {
        let average = Average::default();
        let _poll = average.begin_wait(SECOND);
        average.learn(Sample::Response(5 * MS), 9 * SECOND, DECAY);
        assert!(millis_expected(&average, 9 * SECOND + MS) < 5.1);
        // Nor is the backend avoided for long if that is its only request.
        let alone = [12, 15, 30].map(|second| millis_expected(&average, second * SECOND));
        assert!(
            alone[0] > 2_900.0 && alone[1] > 5_900.0 && alone[2] < 5.0,
            "{alone:?}"
        );
        average.learn(Sample::Response(30 * SECOND), 31 * SECOND, DECAY);
        assert!(millis_expected(&average, 31 * SECOND) < 5.0);
    }

    #[test]
    fn failures_are_charged_more_and_more_up_to_a_bound() {
        let average = after(&[(Sample::Response(MS), SECOND), (Sample::Failure(MS), SECOND)]);
        assert!((millis_expected(&average, SECOND) - 100.0).abs() < 0.1);
        average.learn(Sample::Failure(MS), SECOND, DECAY);
        assert!((millis_expected(&average, SECOND) - 200.0).abs() < 0.1);
        for _ in 0..20 {
            average.learn(Sample::Failure(20 * SECOND), SECOND, DECAY);
        }
        assert!((millis_expected(&average, SECOND) - 60_000.0).abs() < 1.0);
    }

    #[test]
    fn an_unknown_backend_is_tried_with_one_request() {
        let average = Average::default();
        assert!(millis_expected(&average, SECOND) == 0.0);
        let _waiting = average.begin_wait(SECOND);
        assert!(millis_expected(&average, SECOND) >= 1_000.0);
    }

    #[test]
    fn workers_whose_clocks_differ_a_little_agree() {
        let average = after(&[(Sample::Response(5 * MS), SECOND)]);
        let _waiting = average.begin_wait(SECOND);
        let expected = millis_expected(&average, SECOND - 20 * MS);
        assert!((expected - 5.0).abs() < 0.1, "{expected}");
    }

    #[test]
    fn the_time_of_a_sample_may_wrap() {
        let days = Duration::from_millis(u64::from(u32::MAX) - 10);
        let average = after(&[(Sample::Response(SECOND), days)]);
        let expected = millis_expected(&average, days + 20 * MS);
        assert!((990.0..1_000.0).contains(&expected), "{expected}");
    }

    #[test]
    fn what_remains_is_nearly_exponential() {
        for idle in [0, 100, 1_000, 10_000, 30_000] {
            let exact = (-(f64::from(idle)) / f64::from(DECAY)).exp();
            let found = f64::from(remaining(u64::from(idle as u32), DECAY));
            assert!((found - exact).abs() < 0.03, "{idle}: {found}, {exact} is exact");
        }
    }
}
