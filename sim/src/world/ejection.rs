//! Ejection and slow start: what attempts say about their backends, and what the arbiter of the pool makes of it.

use evenkeel_balance::health::ejection::{ChangeKind, Effect, Evidence};
use evenkeel_balance::health::slow_start;
use evenkeel_balance::retry::Outcome;

use crate::clock::Time;
use crate::defect::Defect;

use super::{Event, World};

/// Time from a report to the judgement: workers tell another thread.
const REPORT: Time = Time(200_000);

impl World<'_> {
    /// An attempt that began then has ended.
    pub(super) fn learn(&mut self, index: usize, outcome: &Outcome, began: Time) {
        let member = &mut self.pool.members[index];
        member.ended += 1;
        let effect = match Evidence::of(outcome) {
            Evidence::Success if member.signal.is_quiet() => Effect::Ignored,
            Evidence::Success => member.signal.succeed(began.instant()),
            Evidence::Failure(failure) => {
                let effect = member.signal.fail(failure, began.instant());
                member.failed += u64::from(effect != Effect::Ignored);
                effect
            }
            Evidence::None => Effect::Ignored,
        };
        let is_asleep = self.pool.judges_at.is_none();
        if effect == Effect::Decide || (effect == Effect::Counted && is_asleep) {
            self.judge_at(self.now.plus(REPORT));
        }
    }

    /// Judges then, unless that is to happen earlier.
    fn judge_at(&mut self, at: Time) {
        if self.scenario.pool.ejection.is_none() || self.pool.judges_at.is_some_and(|other| other <= at) {
            return;
        }
        self.pool.judges_at = Some(at);
        self.events.add(at, Event::Judge);
    }

    /// The time of a judgement has come, unless it was judged meanwhile.
    pub(super) fn judge_if_due(&mut self) {
        if self.pool.judges_at == Some(self.now) {
            self.judge();
        }
    }

    /// Lets the arbiter decide, and rebuilds the eligible set if something has changed.
    pub(super) fn judge(&mut self) {
        let Some(settings) = &self.scenario.pool.ejection else {
            return;
        };
        let observed: Vec<_> = self.pool.members.iter().map(|member| member.observed()).collect();
        let judgement = self
            .pool
            .arbiter
            .judge(self.now.instant(), Some(settings), &observed);
        let is_changed = !judgement.changes.is_empty();
        for change in judgement.changes {
            let place = self
                .pool
                .members
                .iter()
                .position(|member| member.load.id == change.backend);
            let Some(index) = place else { continue };
            self.trace
                .say(self.now, || format!("b{index}: {:?}", change.kind));
            match change.kind {
                ChangeKind::Ejected { .. } => self.pool.members[index].is_ejected = true,
                ChangeKind::OnTrial => {
                    if let Some(checker) = &mut self.checker {
                        checker.trial_begins(index);
                    }
                }
                ChangeKind::Back(_) => self.pool.members[index].is_ejected = false,
                ChangeKind::Spared(_) if self.scenario.defect == Some(Defect::EjectsAll) => {
                    self.pool.members[index].is_ejected = true;
                }
                ChangeKind::Spared(_) => {}
            }
        }
        self.pool.judges_at = None;
        if let Some(next) = judgement.next {
            self.judge_at(Time::at(next).max(self.now.plus(Time(1))));
        }
        if is_changed {
            self.refresh();
        }
    }

    /// Rebuilds the eligible set, and again with every step of a slow start.
    pub(super) fn refresh(&mut self) {
        let is_starting = self.pool.refresh(self.scenario, self.now);
        self.eligible_changed();
        if let Some(slow_start) = self.scenario.pool.slow_start.filter(|_| is_starting) {
            let step = Time::of(slow_start::step(slow_start.duration()));
            self.refreshes += 1;
            self.events
                .add(self.now.plus(step), Event::Refresh(self.refreshes));
        }
    }

    /// A step of a slow start, unless the set was rebuilt meanwhile.
    pub(super) fn refresh_if_due(&mut self, number: u64) {
        if number == self.refreshes {
            self.refresh();
        }
    }

    /// A member that is on trial and may get this request.
    pub(super) fn take_trial(&mut self, slot: u32) -> Option<usize> {
        let is_repeatable = self.requests.get(slot).is_idempotent;
        let may_try = |index: &usize| {
            let member = &self.pool.members[*index];
            member.is_ejected && !member.is_down() && member.signal.take_trial(is_repeatable)
        };
        let index = (0..self.pool.members.len()).find(may_try)?;
        if let Some(checker) = &mut self.checker {
            checker.tried_out(&self.pool, index);
        }
        Some(index)
    }
}
