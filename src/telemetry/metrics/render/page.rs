//! What a format of `/metrics` has to write: the same samples in the same order, whatever it is.

use crate::telemetry::metrics::DURATION_BOUNDS;
use crate::telemetry::metrics::metric::{Metric, Resolution};

/// A page in one format, as far as it is written. It may have tens of thousands of samples: everything is written straight into it.
pub(super) trait Page {
    /// Labels as the format writes them.
    fn labels(labels: &[(&str, &str)]) -> Vec<u8>;

    /// Begins a metric, whose samples follow.
    fn begin(&mut self, metric: &Metric);

    /// Writes one sample.
    fn sample(&mut self, metric: &Metric, series: Series<'_>, value: Number);

    /// Writes a histogram of durations.
    fn histogram(&mut self, metric: &Metric, series: Series<'_>, of: (Resolution, &Durations));

    /// Ends the metric that has begun.
    fn end(&mut self);

    /// The whole page.
    fn finish(self) -> Vec<u8>;
}

/// The labels of a sample, as the format writes them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Series<'a> {
    pub(super) labels: &'a [u8],
    /// More of them.
    pub(super) more: &'a [u8],
}

impl<'a> Series<'a> {
    /// One with these labels.
    pub(super) fn of(labels: &'a [u8]) -> Self {
        Self { labels, more: &[] }
    }

    /// The same with more labels.
    pub(super) fn with(self, more: &'a [u8]) -> Self {
        Self { more, ..self }
    }
}

/// The value of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    /// A whole number.
    Whole(u64),
    /// In thousandths.
    Millis(u64),
}

/// The number of durations in each bucket, not cumulative, and their sum in microseconds.
pub(super) type Durations = ([u64; DURATION_BOUNDS.len() + 1], u64);

/// The bounds that are shown with [`Resolution::Coarse`], in microseconds.
const COARSE_BOUNDS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Whether each bound is shown with [`Resolution::Coarse`].
static IS_COARSE: [bool; DURATION_BOUNDS.len()] = is_coarse();

#[allow(clippy::indexing_slicing, reason = "it is evaluated by the compiler")]
const fn is_coarse() -> [bool; DURATION_BOUNDS.len()] {
    let mut found = [false; DURATION_BOUNDS.len()];
    let (mut position, mut next) = (0, 0);
    while position < found.len() && next < COARSE_BOUNDS.len() {
        found[position] = DURATION_BOUNDS[position] == COARSE_BOUNDS[next];
        if found[position] {
            next += 1;
        }
        position += 1;
    }
    found
}

/// The positions of the bounds that are shown, and the number of durations up to each; the total is that of the longer ones too.
pub(super) fn cumulative(
    resolution: Resolution,
    (counts, _): &Durations,
) -> (impl Iterator<Item = (usize, u64)>, u64) {
    let mut below = 0;
    let upto = counts.iter().zip(&IS_COARSE).enumerate();
    let shown = upto.filter_map(move |(position, (count, is_coarse))| {
        below += count;
        (resolution == Resolution::Full || *is_coarse).then_some((position, below))
    });
    (shown, counts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coarse_bound_is_a_bound() {
        let shown = DURATION_BOUNDS
            .iter()
            .zip(IS_COARSE)
            .filter(|(_, is_coarse)| *is_coarse);
        let shown: Vec<u64> = shown.map(|(bound, _)| *bound).collect();
        assert_eq!(shown, COARSE_BOUNDS);
    }
}
