//! Peak EWMA: draws two backends by weight, and picks the one where a request is likely to wait less: by the latency to expect of it
//! and its requests in flight. Fast backends get more requests than slow ones, and one that hangs gets none before it fails any.
//! What latency is expected is in [`crate::latency`].

use std::sync::Arc;
use std::time::Duration;

use crate::rng::Rng;
use crate::schema::{Key, Kind, Params};

use super::in_flight::RelativeLoad;
use super::sequence::Sequence;
use super::{Candidate, Cursor, PickContext, Reads, Strategy};

pub(super) const KEYS: &[Key] = &[Key::new(
    "decay",
    Kind::Duration {
        least: Duration::from_secs(1),
        most: Duration::from_mins(5),
    },
    "How fast past latencies are forgotten: a slow response counts for about a third after this time, or after 17 faster responses.",
)
.default("10s")];

const DECAY: Duration = Duration::from_secs(10);

/// What the score is.
pub(super) const SCORE: &str = "expected latency in seconds × (in flight + 1) / weight";

/// The second choice is taken only if its cost is below this part of the first one's. Backends that are about equally fast would
/// otherwise take turns in getting all requests, whenever one of them is a little faster.
const CLEARLY_LESS: f32 = 0.8;

/// What picks read.
pub(super) fn reads(params: &Params) -> Reads {
    Reads {
        in_flight: true,
        latency: Some(params.duration("decay").unwrap_or(DECAY)),
    }
}

/// Builds the strategy for a set of eligible backends.
pub(super) fn build(_: &Params, candidates: &[Candidate], _: &Arc<Cursor>) -> Box<dyn Strategy> {
    Box::new(PeakEwma {
        sequence: Sequence::new(candidates),
    })
}

#[derive(Debug)]
struct PeakEwma {
    sequence: Sequence,
}

impl Strategy for PeakEwma {
    fn pick(&self, candidates: &[Candidate], context: &PickContext<'_>) -> Option<usize> {
        let mut rng = Rng::seeded(context.random);
        let one = self.sequence.draw(candidates, context, || rng.bits())?;
        let other = self.sequence.draw_other(candidates, context, one, || rng.bits());
        match other.and_then(|other| Some((other, candidates.get(one)?, candidates.get(other)?))) {
            Some((other, first, second)) if is_clearly_sooner(first, second, context) => Some(other),
            _ => Some(one),
        }
    }

    fn score(&self, candidates: &[Candidate], index: usize, context: &PickContext<'_>) -> Option<f64> {
        let candidate = candidates.get(index)?;
        let load = RelativeLoad::of(candidate).requests_for_weight();
        Some(f64::from(latency(candidate, context) * load))
    }
}

/// Whether a request is likely to wait clearly less at the second candidate than at the first.
#[inline]
fn is_clearly_sooner(first: &Candidate, second: &Candidate, context: &PickContext<'_>) -> bool {
    let (one, other) = (RelativeLoad::of(first), RelativeLoad::of(second));
    let load = one.requests_for_weight();
    let other_load = match one.is_idle() {
        // The draw has respected the weights. A heavier one is not faster, and would nearly always be picked.
        true => other.requests_for_weight().max(load),
        false => other.requests_for_weight(),
    };
    latency(second, context) * other_load < latency(first, context) * load * CLEARLY_LESS
}

#[inline]
fn latency(candidate: &Candidate, context: &PickContext<'_>) -> f32 {
    candidate.load.latency.expected(context.now)
}
