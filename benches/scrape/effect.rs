//! What scrapes do to the latency of requests: the difference between seconds with a scrape and seconds without.
//!
//! Both kinds of seconds alternate in random order, so that what slows down the machine for longer hits both alike. The difference
//! is taken between the two seconds of a pair. The interval of the median of all pairs says how exact it is: it is made by drawing
//! the pairs anew many times (bootstrap), which holds for differences of any distribution.

use std::fmt;

use evenkeel_balance::rng::{Rng, below};

use crate::load::Latencies;

/// Draws of the bootstrap: enough that two runs over the same pairs agree in the second digit.
const DRAWS: usize = 10_000;

/// The largest part of the latency without scrapes that does not count as an effect. Two runs of the same program differ as much.
const NEGLIGIBLE: f64 = 0.05;

/// The latencies of a second without a scrape and of one with it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) without: Latencies,
    pub(crate) with: Latencies,
}

/// What the pairs say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Even the upper end of the interval is negligible.
    None,
    /// Even the lower end of the interval is not.
    Slower,
    /// The interval contains both: more pairs are needed, or a quieter machine.
    Unsettled,
}

/// The median difference of pairs with its interval of 95%.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effect {
    without: f64,
    difference: f64,
    from: f64,
    to: f64,
}

impl Effect {
    /// On this percentile of a second with a scrape.
    pub(crate) fn of(pairs: &[Pair], per_mille: usize) -> Self {
        let at = |latencies: &Latencies| latencies.at(per_mille);
        Self::between(
            pairs
                .iter()
                .map(|pair| (at(&pair.without), at(&pair.with)))
                .collect(),
        )
    }

    /// On this percentile of as many seconds, one of them with a scrape: in a group of seconds without one, each is replaced in turn
    /// by the other one of its pair. A group counts once, with the mean.
    pub(crate) fn within(pairs: &[Pair], seconds: usize, per_mille: usize) -> Self {
        let values = pairs.chunks_exact(seconds).map(|group| {
            let at = |scraped: Option<usize>| {
                let all = group.iter().enumerate().map(|(index, pair)| {
                    let is_scraped = scraped == Some(index);
                    if is_scraped { &pair.with } else { &pair.without }
                });
                Latencies::together(all).at(per_mille)
            };
            let with: f64 = (0..seconds).map(|index| at(Some(index))).sum();
            (at(None), with / seconds as f64)
        });
        Self::between(values.collect())
    }

    /// The difference of pairs of values without and with a scrape.
    fn between(values: Vec<(f64, f64)>) -> Self {
        let differences: Vec<f64> = values.iter().map(|(without, with)| with - without).collect();
        let mut rng = Rng::seeded(1);
        let mut medians: Vec<f64> = (0..DRAWS)
            .map(|_| {
                median(
                    (0..differences.len())
                        .map(|_| drawn(&differences, &mut rng))
                        .collect(),
                )
            })
            .collect();
        medians.sort_unstable_by(f64::total_cmp);
        let at = |per_mille: usize| {
            let last = medians.len().saturating_sub(1);
            medians.get(last * per_mille / 1000).copied().unwrap_or_default()
        };
        Self {
            without: median(values.iter().map(|(without, _)| *without).collect()),
            difference: median(differences),
            from: at(25),
            to: at(975),
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let bound = self.without * NEGLIGIBLE;
        if self.to <= bound {
            Verdict::None
        } else if self.from > bound {
            Verdict::Slower
        } else {
            Verdict::Unsettled
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            without,
            difference,
            from,
            to,
        } = self;
        let verdict = match self.verdict() {
            Verdict::None => "no effect",
            Verdict::Slower => "SLOWER",
            Verdict::Unsettled => "not settled: use more `--rounds`, or a machine that does nothing else",
        };
        write!(
            f,
            "{without:.3} ms without a scrape; a scrape adds {difference:+.3} ms ({from:+.3} to {to:+.3}): {verdict}"
        )
    }
}

fn drawn(values: &[f64], rng: &mut Rng) -> f64 {
    let index = below(rng.bits(), values.len() as u64) as usize;
    values.get(index).copied().unwrap_or_default()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
