//! Medians of many measurements, and how exact they are.

/// A median with the interval in which the true one is with a probability of 95%.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Estimate {
    /// That of these values. The interval is one of ranks, so that it holds for values of any distribution.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() as f64 / 2.0;
        // The rank of the median has a binomial distribution; 1.96 standard deviations have 95%.
        let reach = 1.96 * (values.len() as f64).sqrt() / 2.0;
        let at = |rank: f64| {
            let index = (rank.max(0.0) as usize).min(values.len().saturating_sub(1));
            values.get(index).copied().expect("there are values")
        };
        Self {
            median: at(middle),
            from: at(middle - reach),
            to: at(middle + reach),
        }
    }
}
