//! The pool of a run: its members with their counters and health, the eligible ones, and the strategy that was built for exactly
//! these.

use std::sync::Arc;

use evenkeel_balance::admission::{Adaptive, Gradient, Sample, UsualLatency, WaitQueue};
use evenkeel_balance::backend::{BackendId, Load, Shared};
use evenkeel_balance::health::ejection::{Arbiter, Observed, Signal};
use evenkeel_balance::health::silence::Silence;
use evenkeel_balance::health::{State, Tracker, slow_start};
use evenkeel_balance::retry::{Budget, HoldOff, NotBefore, Outcome, may_avoid};
use evenkeel_balance::rng::mix;
use evenkeel_balance::strategy::{Candidate, Cursor, PickContext, Strategy};

use crate::clock::Time;
use crate::defect::Defect;
use crate::scenario::Scenario;

/// One backend, as the balancer sees it.
#[derive(Debug)]
pub struct Member {
    /// Its counters.
    pub load: Arc<Load>,
    /// Its weight in the config.
    pub weight: u32,
    /// Identifies it in every run.
    pub identity: u64,
    /// The state machine of its health.
    pub tracker: Option<Tracker>,
    /// Counts the probes that were scheduled: only the last one counts.
    pub probe_serial: u32,
    /// Whether a probe runs.
    pub is_probing: bool,
    /// When a probe of it last succeeded.
    pub last_good_check: Option<Time>,
    /// What its attempts say for its ejection.
    pub signal: Signal,
    /// Whether it is ejected, or on trial.
    pub is_ejected: bool,
    /// Attempts that have ended, and those of them that the signal has counted as failures.
    pub ended: u64,
    /// The latter.
    pub failed: u64,
    /// Since when it gets requests again, if it ever got none.
    pub back_since: Option<Time>,
    /// Its adaptive limit.
    pub gradient: Gradient,
    /// Whether it responds to nothing.
    pub silence: Silence,
    /// Until when picks avoid it because of that.
    pub silent_until: NotBefore,
}

impl Member {
    /// Whether it may receive requests.
    pub fn is_eligible(&self) -> bool {
        !self.is_ejected && !self.is_down() && self.weight > 0
    }

    /// Whether its checks have it down.
    pub fn is_down(&self) -> bool {
        let state = self.tracker.as_ref().map_or(State::Unknown, Tracker::state);
        !state.is_eligible()
    }

    /// The part of its weight that it has now, in steps of [`slow_start::WHOLE`].
    fn slow_start_share(&self, scenario: &Scenario, now: Time) -> u32 {
        match (self.back_since, scenario.pool.slow_start) {
            (Some(since), Some(slow_start)) => {
                slow_start::share(now.since(since).duration(), slow_start.duration())
            }
            _ => slow_start::WHOLE,
        }
    }

    /// As the arbiter of ejections sees it.
    pub fn observed(&self) -> Observed<'_> {
        Observed {
            backend: self.load.id,
            signal: &self.signal,
            is_down: self.is_down(),
            is_excluded: self.weight == 0,
            last_good_check: self.last_good_check.map(Time::instant),
            ended: self.ended,
            failed: self.failed,
        }
    }
}

/// The pool.
#[derive(Debug)]
pub struct Pool {
    /// All backends.
    pub members: Vec<Member>,
    /// The indices of the eligible members.
    pub eligible: Vec<usize>,
    /// The same as candidates of the strategy.
    pub candidates: Vec<Candidate>,
    /// Decides on ejections.
    pub arbiter: Arbiter,
    /// When it judges next.
    pub judges_at: Option<Time>,
    /// The requests that wait, by their slots.
    pub queue: WaitQueue<u32>,
    /// The usual latency, by which waits are cut short.
    pub usual_latency: UsualLatency,
    /// The retry budget.
    pub budget: Budget,
    /// Which members picks avoid.
    pub hold_off: HoldOff,
    /// Whether requests in flight are counted for all workers together.
    pub shared: Shared,
    strategy: Box<dyn Strategy>,
    cursor: Arc<Cursor>,
}

impl Pool {
    /// The pool of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let members = scenario.backends.iter().zip(1..);
        let checks = &scenario.pool.checks;
        let members = members.map(|(spec, number)| Member {
            load: Arc::new(Load::new(scenario.workers)),
            weight: spec.weight,
            identity: mix(number),
            tracker: checks.map(|checks| Tracker::new(checks.thresholds, State::Unknown)),
            probe_serial: 0,
            is_probing: false,
            last_good_check: None,
            signal: Signal::new(Time::ZERO.instant()),
            is_ejected: false,
            ended: 0,
            failed: 0,
            back_since: None,
            gradient: Gradient::default(),
            silence: Silence::default(),
            silent_until: NotBefore::default(),
        });
        let cursor = Arc::new(Cursor::default());
        let reads = scenario.strategy.reads().in_flight || scenario.pool.limit().is_some();
        let mut pool = Self {
            members: members.collect(),
            eligible: Vec::new(),
            candidates: Vec::new(),
            arbiter: Arbiter::default(),
            judges_at: None,
            queue: WaitQueue::default(),
            usual_latency: UsualLatency::default(),
            budget: Budget::new(Time::ZERO.instant()),
            hold_off: HoldOff::default(),
            shared: if reads { Shared::Yes } else { Shared::No },
            strategy: scenario.strategy.build(&[], &cursor),
            cursor,
        };
        pool.refresh(scenario, Time::ZERO);
        pool
    }

    /// Rebuilds the eligible set and its strategy. The defect of the scenario, if it concerns one of them, is built in. Returns
    /// whether a member is in slow start.
    pub fn refresh(&mut self, scenario: &Scenario, now: Time) -> bool {
        let keeps_ineligible = scenario.defect == Some(Defect::KeepsIneligible);
        let was_eligible = std::mem::take(&mut self.eligible);
        for (index, member) in self.members.iter_mut().enumerate() {
            if !keeps_ineligible && !member.is_eligible() {
                continue;
            }
            if now > Time::ZERO && !was_eligible.contains(&index) {
                member.back_since = Some(now);
            }
            self.eligible.push(index);
        }
        let members = || self.eligible.iter().map(|index| &self.members[*index]);
        let shares = members().map(|member| (member.weight, member.slow_start_share(scenario, now)));
        let is_too_fast = scenario.defect == Some(Defect::StartsTooFast);
        let candidate = |(member, weight): (&Member, u32)| Candidate {
            load: Arc::clone(&member.load),
            weight: match member.back_since {
                Some(_) if is_too_fast => weight * 10,
                _ => weight,
            },
            identity: member.identity,
        };
        let is_starting = shares.clone().any(|(_, share)| share < slow_start::WHOLE);
        self.candidates = members()
            .zip(slow_start::weights(shares))
            .map(candidate)
            .collect();
        let strategy = scenario.strategy.build(&self.candidates, &self.cursor);
        self.strategy = match scenario.defect {
            Some(defect) => defect.in_strategy(strategy),
            None => strategy,
        };
        is_starting
    }

    /// The index of the member that is picked: by the strategy, but one that is to be avoided only if there is no other.
    pub fn pick(&self, context: &PickContext<'_>, avoided: &[usize]) -> Option<usize> {
        let picked = self.pick_any(context)?;
        if !avoided.contains(&picked) {
            return Some(picked);
        }
        let ids = avoided.iter().map(|member| self.members[*member].load.id);
        let mut tried: Vec<BackendId> = ids.chain(context.tried.iter().copied()).collect();
        tried.sort_unstable();
        let willing = self.pick_any(&PickContext {
            tried: &tried,
            ..*context
        });
        willing.or(Some(picked))
    }

    /// The index of the member that the strategy picks.
    fn pick_any(&self, context: &PickContext<'_>) -> Option<usize> {
        let index = self.strategy.pick(&self.candidates, context)?;
        self.eligible.get(index).copied()
    }

    /// The eligible members that picks avoid now.
    pub fn avoided(&self, now: Time) -> Vec<usize> {
        let is_held = |member: &usize| {
            let until = &self.members[*member].silent_until;
            self.hold_off.holds(until, now.instant())
        };
        let held: Vec<usize> = self.eligible.iter().copied().filter(is_held).collect();
        match may_avoid(held.len(), self.eligible.len()) {
            true => held,
            false => Vec::new(),
        }
    }

    /// Lets the adaptive limit of a member learn from an attempt. Returns whether the limit has grown.
    pub fn learn_limit(
        &mut self,
        scenario: &Scenario,
        member: usize,
        outcome: &Outcome,
        chance: (Time, u64),
    ) -> bool {
        let is_overload = outcome.says_overload();
        if scenario.pool.adaptive == Adaptive::Off || !(is_overload || outcome.is_success()) {
            return false;
        }
        let Member { load, gradient, .. } = &mut self.members[member];
        let sample = Sample {
            latency: outcome.total_time,
            is_overload,
            in_flight: load.total_in_flight(),
        };
        let (now, random) = chance;
        gradient.add(sample, now.instant(), random);
        let limit = match scenario.defect {
            Some(Defect::LimitsToNothing) => gradient.limit() / 2,
            _ => gradient.limit(),
        };
        scenario.pool.adaptive == Adaptive::On && load.set_limit(limit) < limit
    }

    /// Learns from the latency of an attempt.
    pub fn learn_latency(&self, member: usize, outcome: &Outcome, (worker, now): (usize, Time)) {
        let latency = &self.members[member].load.latency;
        if let Some(took) = outcome.response_time() {
            latency.record(worker, took, now.instant());
            self.usual_latency.record(took, None, !self.queue.is_empty());
        }
        if latency.is_averaged()
            && let Some(sample) = outcome.latency()
        {
            latency.learn(sample, now.instant());
        }
    }
}
