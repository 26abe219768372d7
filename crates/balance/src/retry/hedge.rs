//! Hedging: a second attempt that begins while the first one still runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_wire::instant::Instant;

/// For how long a quantile is used before it is computed again.
const FRESH: Duration = Duration::from_secs(1);
/// Bits of a packed quantile: its share, then the time at which it was computed, then its value in microseconds.
const TIME_BITS: u32 = 25;
const VALUE_BITS: u32 = 32;

/// The settings of `retry.hedge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hedge {
    /// When the second attempt begins.
    pub after: HedgeAfter,
}

/// When a hedge begins, counted from the beginning of the first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HedgeAfter {
    /// After this time.
    Time(Duration),
    /// When this share of the backend's recent responses, in percent, would have come.
    Quantile(u8),
}

impl HedgeAfter {
    /// Its text in the config for a quantile, such as `p95`.
    pub fn parse_quantile(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('p').filter(|digits| digits.len() == 2)?;
        let percent = digits
            .parse()
            .ok()
            .filter(|percent| (50..=99).contains(percent))?;
        Some(Self::Quantile(percent))
    }
}

/// A quantile of a backend's latency, which is computed once a second at most: that reads what all workers have recorded.
#[derive(Debug, Default)]
pub struct QuantileCache {
    started: OnceLock<Instant>,
    /// 0 before the first computation.
    packed: AtomicU64,
}

impl QuantileCache {
    /// The quantile for this share in percent, as computed lately, or else by `compute`. `None` while it cannot be computed.
    pub fn get(
        &self,
        percent: u8,
        now: Instant,
        compute: impl FnOnce() -> Option<Duration>,
    ) -> Option<Duration> {
        let started = *self.started.get_or_init(|| now);
        let second = now.saturating_duration_since(started).as_secs() / FRESH.as_secs();
        let key = (u64::from(percent) << TIME_BITS) | (second & ((1 << TIME_BITS) - 1));
        let packed = self.packed.load(Ordering::Relaxed);
        if packed >> VALUE_BITS == key {
            return Some(Duration::from_micros(packed & ((1 << VALUE_BITS) - 1)));
        }
        // One that cannot be computed is not remembered: that takes only a few responses to change, and then there were few.
        let micros = compute()?.as_micros().clamp(1, (1 << VALUE_BITS) - 1) as u64;
        self.packed.store((key << VALUE_BITS) | micros, Ordering::Relaxed);
        Some(Duration::from_micros(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_computed_once_a_second() {
        let (cache, now) = (QuantileCache::default(), crate::clock::now());
        let millis = |millis| move || Some(Duration::from_millis(millis));
        let at = |after| now + Duration::from_millis(after);
        assert_eq!(cache.get(95, at(0), millis(7)), Some(Duration::from_millis(7)));
        assert_eq!(cache.get(95, at(999), millis(8)), Some(Duration::from_millis(7)));
        assert_eq!(
            cache.get(95, at(1_000), millis(8)),
            Some(Duration::from_millis(8))
        );
        assert_eq!(
            cache.get(50, at(1_000), millis(2)),
            Some(Duration::from_millis(2)),
            "another share"
        );
        assert_eq!(cache.get(50, at(2_000), || None), None);
        assert_eq!(
            cache.get(50, at(2_100), millis(3)),
            Some(Duration::from_millis(3))
        );
    }

    #[test]
    fn a_quantile_of_hours_is_cut() {
        let (cache, now) = (QuantileCache::default(), crate::clock::now());
        let longest = cache.get(99, now, || Some(Duration::MAX)).unwrap();
        assert!(longest > Duration::from_secs(3600), "{longest:?}");
    }

    #[test]
    fn quantiles_are_written_with_two_digits() {
        for (text, percent) in [("p50", Some(50)), ("p95", Some(95)), ("p99", Some(99))] {
            assert_eq!(
                HedgeAfter::parse_quantile(text),
                percent.map(HedgeAfter::Quantile)
            );
        }
        for text in ["p49", "p100", "p9", "95", "p", "p+9", "p99.9", "P95", ""] {
            assert_eq!(HedgeAfter::parse_quantile(text), None, "{text}");
        }
    }
}
