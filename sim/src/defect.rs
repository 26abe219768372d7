//! Deliberate defects. Each is put between the simulator and a decision; the check has to find it, which proves that the invariant
//! can fail. `evenkeel-sim check --defect NAME` shows what a failure looks like.

use evenkeel_balance::strategy::{Candidate, PickContext, Strategy};

use crate::invariant::Invariant;

/// A deliberate defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Backends that are down stay in the eligible set.
    KeepsIneligible,
    /// The strategy forgets which backends a request has tried.
    ForgetsTried,
    /// The strategy picks none when the backend that it prefers was tried.
    GivesUpEarly,
    /// The strategy does not look at the limit of requests in flight.
    ForgetsLimit,
    /// The strategy never picks its first candidate while there is another.
    SkipsOne,
    /// Retries are made without a token.
    IgnoresBudget,
    /// The end of some attempts is not counted.
    MissesAnEnd,
    /// A request that ends is forgotten now and then: its client waits for ever.
    LosesARequest,
    /// Backends are ejected although the arbiter spares them.
    EjectsAll,
    /// A backend that comes back gets many times its share.
    StartsTooFast,
    /// New requests do not look whether others wait.
    Overtakes,
    /// More requests may wait than the settings say.
    QueuesMore,
    /// Those who wait are not told that a slot is free.
    MissesAWake,
    /// Checks change the state with every result.
    FollowsEveryProbe,
    /// Failures are retried although the policy forbids it.
    RetriesUnsafely,
    /// Whoever looks for silent backends sees no responses.
    MissesResponses,
    /// Picks do not look which backends are silent.
    PicksSilent,
    /// Adaptive limits may become 0.
    LimitsToNothing,
    /// Requests are hedged whatever their method.
    HedgesUnsafely,
}

/// All defects, with their names on the command line and the invariant that finds each.
pub static DEFECTS: &[(Defect, &str, Invariant)] = &[
    (
        Defect::KeepsIneligible,
        "keeps_ineligible",
        Invariant::EligiblePick,
    ),
    (Defect::ForgetsTried, "forgets_tried", Invariant::UntriedFirst),
    (
        Defect::GivesUpEarly,
        "gives_up_early",
        Invariant::PickWhenPossible,
    ),
    (Defect::ForgetsLimit, "forgets_limit", Invariant::InFlightLimit),
    (Defect::SkipsOne, "skips_one", Invariant::NoStarvation),
    (Defect::IgnoresBudget, "ignores_budget", Invariant::RetryBudget),
    (Defect::MissesAnEnd, "misses_an_end", Invariant::Counters),
    (Defect::LosesARequest, "loses_a_request", Invariant::Conservation),
    (
        Defect::RetriesUnsafely,
        "retries_unsafely",
        Invariant::SafeRetries,
    ),
    (Defect::EjectsAll, "ejects_all", Invariant::EjectionBounds),
    (Defect::StartsTooFast, "starts_too_fast", Invariant::SlowStart),
    (Defect::Overtakes, "overtakes", Invariant::QueueOrder),
    (Defect::QueuesMore, "queues_more", Invariant::QueueBound),
    (Defect::MissesAWake, "misses_a_wake", Invariant::QueueProgress),
    (
        Defect::FollowsEveryProbe,
        "follows_every_probe",
        Invariant::Flapping,
    ),
    (Defect::MissesResponses, "misses_responses", Invariant::Silence),
    (Defect::PicksSilent, "picks_silent", Invariant::Silence),
    (
        Defect::LimitsToNothing,
        "limits_to_nothing",
        Invariant::AdaptiveLimit,
    ),
    (Defect::HedgesUnsafely, "hedges_unsafely", Invariant::SafeHedges),
];

impl Defect {
    /// The defect with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        let row = DEFECTS.iter().find(|(_, known, _)| *known == name);
        row.map(|(defect, ..)| *defect)
    }

    /// A strategy with the defect, if it concerns strategies.
    pub(crate) fn in_strategy(self, strategy: Box<dyn Strategy>) -> Box<dyn Strategy> {
        match self {
            Self::ForgetsTried | Self::GivesUpEarly | Self::ForgetsLimit | Self::SkipsOne => {
                Box::new(Broken {
                    defect: self,
                    strategy,
                })
            }
            _ => strategy,
        }
    }
}

#[derive(Debug)]
struct Broken {
    defect: Defect,
    strategy: Box<dyn Strategy>,
}

impl Strategy for Broken {
    fn pick(&self, candidates: &[Candidate], context: &PickContext<'_>) -> Option<usize> {
        let without_tried = PickContext {
            tried: &[],
            ..*context
        };
        match self.defect {
            Defect::ForgetsTried => self.strategy.pick(candidates, &without_tried),
            Defect::ForgetsLimit => self.strategy.pick(
                candidates,
                &PickContext {
                    in_flight_limit: None,
                    ..*context
                },
            ),
            Defect::GivesUpEarly => {
                let preferred = self.strategy.pick(candidates, &without_tried)?;
                let candidate = candidates.get(preferred)?;
                context.may_pick(candidate).then_some(preferred)
            }
            _ => match self.strategy.pick(candidates, context) {
                Some(0) if candidates.get(1).is_some_and(|other| context.may_pick(other)) => Some(1),
                pick => pick,
            },
        }
    }
}
