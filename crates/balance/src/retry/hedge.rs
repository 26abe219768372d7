//! Hedging: a second attempt that begins while the first one still runs.

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
