//! Models of how a strategy has to share first attempts: no eligible backend is left out, and one that comes back gets no more
//! than it can take.

use evenkeel_balance::backend::Shared;

use crate::backend::Mode;
use crate::clock::Time;
use crate::pool::Pool;
use crate::scenario::Scenario;

use super::Invariant;

/// Picks of equal probability after which a backend that never got one counts as starved. By chance that happens once in
/// e^60 runs.
const STARVED_AFTER: f64 = 60.0;

/// Time after which a strategy has forgotten that a backend was slow: six times the decay, unless the config says otherwise.
const FORGOTTEN: Time = Time::secs(60);

/// How much more than its share a backend that comes back may get.
const MOST_AT_START: f64 = 1.5;

/// Deviations of a random draw that are no violation, and requests that are none in any case.
const DEVIATIONS: f64 = 6.0;
const ALWAYS: f64 = 6.0;

/// The part of its weight with which a backend comes back.
const FIRST_PART: f64 = 0.1;

/// Clients with which a strategy with affinity is about as even as a random one.
const MANY_CLIENTS: u64 = 20_000;

/// What the members should have got.
#[derive(Debug)]
pub(super) struct Sharing {
    members: Vec<MemberShare>,
    /// Whether picks depend on the client, and clients are few.
    is_uneven: bool,
    /// Whether picks depend on load or latency, so that a busy or slow backend is left out.
    reads_load: bool,
    /// Whether picks depend on latency.
    reads_latency: bool,
    /// Whether backends differ only in whether they run.
    are_alike: bool,
    slots: u32,
    slow_start: Option<Time>,
    limit: Option<u32>,
}

#[derive(Debug, Clone, Default)]
struct MemberShare {
    /// Picks that it should have got since its last one.
    due: f64,
    /// When it was picked last.
    last: Time,
    /// The slow start that is counted.
    back_since: Option<Time>,
    /// Whether an attempt has failed since: a backend that fails at once is idle, and attracts requests.
    has_failed: bool,
    /// Picks since it came back, and those that were its share.
    whole: Count,
    /// The same in the current second.
    second: Count,
    second_began: Time,
}

/// A pick, as it concerns one member.
#[derive(Debug, Clone, Copy)]
struct Turn<'a> {
    member: usize,
    picked: usize,
    /// The member's share of the pick.
    share: f64,
    /// The requests in flight before it.
    in_flight: &'a [u32],
    now: Time,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    got: f64,
    share: f64,
}

impl Sharing {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let entry = scenario.strategy.entry;
        let reads = scenario.strategy.reads();
        let has_affinity = entry.keys.iter().any(|key| key.name == "key");
        let is_alike = |spec: &crate::backend::Spec| {
            let first = &scenario.backends[0];
            let runs_or_not = |(_, mode): &(Time, Mode)| [Mode::Stopped, Mode::HEALTHY].contains(mode);
            spec.slots == first.slots
                && spec.service == first.service
                && spec.weight == first.weight
                && spec.changes.iter().all(runs_or_not)
        };
        Self {
            members: vec![MemberShare::default(); scenario.backends.len()],
            is_uneven: has_affinity && scenario.clients < MANY_CLIENTS,
            reads_load: reads.in_flight || reads.latency.is_some(),
            reads_latency: reads.latency.is_some(),
            are_alike: scenario.backends.iter().all(is_alike),
            slots: scenario.backends[0].slots,
            slow_start: scenario.pool.slow_start,
            limit: scenario.pool.limit(),
        }
    }

    /// A first attempt goes to `picked`. Some were to be `avoided`, and get no share. `in_flight` are the requests in flight before it.
    pub(super) fn picked(
        &mut self,
        pool: &Pool,
        (picked, avoided): (usize, &[usize]),
        in_flight: &[u32],
        now: Time,
    ) -> Option<(Invariant, String)> {
        if self.is_uneven {
            return None;
        }
        let is_used = |member: &usize| !avoided.contains(member);
        let used: Vec<usize> = pool.eligible.iter().copied().filter(is_used).collect();
        let weights: Vec<f64> = used
            .iter()
            .map(|member| self.weight(pool, *member, now))
            .collect();
        let total: f64 = weights.iter().sum();
        let mut broken = None;
        for (member, weight) in used.iter().zip(&weights) {
            let share = weight / total;
            let turn = Turn {
                member: *member,
                picked,
                share,
                in_flight,
                now,
            };
            broken = broken
                .or_else(|| self.starve(pool, turn))
                .or_else(|| self.start(pool, turn));
        }
        self.members[picked].due = 0.0;
        self.members[picked].last = now;
        broken
    }

    /// An attempt at a member has failed.
    pub(super) fn failed(&mut self, member: usize) {
        self.members[member].has_failed = true;
    }

    /// The weight that a member should have now.
    fn weight(&self, pool: &Pool, member: usize, now: Time) -> f64 {
        let member = &pool.members[member];
        let part = match (member.back_since, self.slow_start) {
            (Some(since), Some(slow_start)) => {
                let grown = now.since(since).as_secs() / slow_start.as_secs();
                (FIRST_PART + (1.0 - FIRST_PART) * grown).min(1.0)
            }
            _ => 1.0,
        };
        f64::from(member.weight) * part
    }

    /// Adds to what a member should have got, unless it may be passed over.
    fn starve(&mut self, pool: &Pool, turn: Turn<'_>) -> Option<(Invariant, String)> {
        let Turn {
            member,
            picked,
            share,
            in_flight,
            now,
        } = turn;
        let load = |member: usize| {
            let candidates = pool.eligible.iter().zip(&pool.candidates);
            let weight = candidates
                .filter(|(index, _)| **index == member)
                .map(|(_, candidate)| candidate.weight);
            f64::from(in_flight[member] + 1) / f64::from(weight.max().unwrap_or(1))
        };
        let own = pool.members[member].load.limit();
        let is_full = self
            .limit
            .is_some_and(|limit| in_flight[member] >= limit.min(own));
        // A strategy that compares load may pass over a backend that has as much of it; among idle ones weights count.
        let are_idle = in_flight[picked] == 0 && in_flight[member] == 0;
        let is_busier = self.reads_load && !are_idle && load(member) >= load(picked);
        let model = &mut self.members[member];
        // One that was slow may be passed over until that is forgotten.
        let is_remembered = self.reads_latency && now.since(model.last) < FORGOTTEN;
        if is_full || is_busier || is_remembered {
            return None;
        }
        let due = &mut model.due;
        *due += share;
        (*due > STARVED_AFTER).then(|| {
            let detail = format!("b{member} got none of {due:.0} requests that were its share");
            (Invariant::NoStarvation, detail)
        })
    }

    /// Counts what a member in slow start gets.
    fn start(&mut self, pool: &Pool, turn: Turn<'_>) -> Option<(Invariant, String)> {
        let Turn {
            member,
            picked,
            share,
            in_flight,
            now,
        } = turn;
        let since = pool.members[member].back_since?;
        let is_over = now.since(since) > self.slow_start?;
        // A limit turns requests away from the others, and a fast backend ends more of them at the same load.
        if is_over || self.limit.is_some() || (pool.shared == Shared::Yes && !self.are_alike) {
            return None;
        }
        let model = &mut self.members[member];
        if model.back_since != Some(since) {
            (model.back_since, model.whole) = (Some(since), Count::default());
            (model.second_began, model.second) = (now, Count::default());
            model.has_failed = false;
        }
        // A busy backend ends fewer requests than its load says.
        let is_busy = in_flight.iter().any(|count| *count > self.slots);
        if pool.shared == Shared::Yes && (model.has_failed || is_busy) {
            model.has_failed = true;
            return None;
        }
        if now.since(model.second_began) > Time::secs(1) {
            (model.second_began, model.second) = (now, Count::default());
        }
        let got = if member == picked { 1.0 } else { 0.0 };
        model.whole.add(got, share);
        model.second.add(got, share);
        // A strategy that compares load fills it up to the level of the others.
        let level = match pool.shared {
            Shared::Yes => in_flight.iter().max().map_or(0.0, |most| f64::from(*most)),
            Shared::No => 0.0,
        };
        let counts = [("since it came back", model.whole), ("in a second", model.second)];
        let broken = counts.into_iter().find(|(_, count)| count.is_above(level))?;
        let (what, Count { got, share }) = broken;
        Some((
            Invariant::SlowStart,
            format!("b{member} got {got:.0} requests {what}, and its share were {share:.1}"),
        ))
    }
}

impl Count {
    fn add(&mut self, got: f64, share: f64) {
        self.got += got;
        self.share += share;
    }

    fn is_above(self, level: f64) -> bool {
        self.got > MOST_AT_START * self.share + DEVIATIONS * self.share.sqrt() + ALWAYS + level
    }
}
