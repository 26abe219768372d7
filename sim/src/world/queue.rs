//! The wait queue: requests that no backend may take, and those whose last backend refused their connection.

use evenkeel_balance::admission::{QueueSettings, Turn};

use crate::clock::Time;
use crate::defect::Defect;
use crate::request::Attempt;

use super::{Event, World};

/// Rounds of waking after one step. Each ends the wait of somebody, or nobody is left whose turn it may be.
const MAX_ROUNDS: usize = 10_000;

/// [`Defect::MissesAWake`] misses one in so many.
const MISSES_EVERY: u64 = 8;

impl World<'_> {
    fn queue_settings(&self) -> Option<QueueSettings> {
        let settings = self.scenario.pool.queue?;
        Some(match self.scenario.defect {
            Some(Defect::QueuesMore) => QueueSettings {
                size: settings.size * 2,
                ..settings
            },
            _ => settings,
        })
    }

    /// Whether a new request may go to a backend at once.
    pub(super) fn may_pass(&self) -> bool {
        self.pool.queue.is_empty() || self.scenario.defect == Some(Defect::Overtakes)
    }

    /// Lets a request wait that no backend may take, or ends it.
    pub(super) fn wait_or_fail(&mut self, slot: u32) {
        if !self.join(slot) {
            self.finish(slot, 503);
        }
    }

    /// The connection of a request was refused, and no other backend may be tried: it waits until one is back. Returns whether it
    /// waits.
    pub(super) fn wait_for_return(&mut self, slot: u32) -> bool {
        if self.scenario.pool.queue.is_none() || self.requests.get(slot).has_connected {
            return false;
        }
        self.pool.queue.refused(self.now.instant());
        let is_waiting = match self.requests.get(slot).place {
            Some(place) => {
                self.pool.queue.put_back(place, slot);
                if let Some(checker) = &mut self.checker {
                    checker.queue().put_back(slot);
                }
                self.requests.begin(slot);
                true
            }
            None => self.join(slot),
        };
        if is_waiting {
            self.requests.get(slot).tried.clear();
        }
        self.is_queue_awake = true;
        is_waiting
    }

    fn join(&mut self, slot: u32) -> bool {
        let Some(settings) = self.queue_settings() else {
            return false;
        };
        let latency = self.pool.usual_latency.get();
        match self.pool.queue.join(settings, latency, slot, self.now.instant()) {
            Err(refusal) => {
                self.trace
                    .say(self.now, || format!("r{slot} may not wait: {refusal:?}"));
                false
            }
            Ok(place) => {
                self.trace.say(self.now, || format!("r{slot} waits"));
                self.requests.get(slot).place = Some(place);
                self.requests.begin(slot);
                if let Some(checker) = &mut self.checker {
                    checker.joined_queue(slot);
                }
                self.is_queue_awake = true;
                true
            }
        }
    }

    /// A request has established a connection.
    pub(super) fn connected(&mut self, slot: u32) {
        self.requests.get(slot).has_connected = true;
        let Some(settings) = self.queue_settings() else {
            return;
        };
        let place = self.requests.get(slot).place.take();
        if place.is_none() && !self.pool.queue.awaits_connection() {
            return;
        }
        self.pool
            .queue
            .connected(place, settings.timeout, self.now.instant());
        if let Some(checker) = &mut self.checker {
            checker.queue().left(slot);
        }
        self.is_queue_awake = true;
    }

    /// A request has ended, wherever it was.
    pub(super) fn leave_queue(&mut self, slot: u32) {
        let Some(place) = self.requests.get(slot).place.take() else {
            return;
        };
        self.pool.queue.leave(place);
        if let Some(checker) = &mut self.checker {
            checker.queue().left(slot);
        }
        self.is_queue_awake = true;
    }

    /// A slot at a backend is free.
    pub(super) fn freed(&mut self) {
        let is_missed =
            self.scenario.defect == Some(Defect::MissesAWake) && self.rng.bits().is_multiple_of(MISSES_EVERY);
        if !self.pool.queue.is_empty() && !is_missed {
            self.pool.queue.freed();
            self.is_queue_awake = true;
        }
    }

    /// The eligible set has changed.
    pub(super) fn eligible_changed(&mut self) {
        let is_up = |member: &usize| {
            let tracker = self.pool.members[*member].tracker.as_ref();
            tracker.is_some_and(|tracker| tracker.state() == evenkeel_balance::health::State::Up)
        };
        let is_up = self.pool.eligible.iter().any(is_up);
        let has_eligible = !self.pool.eligible.is_empty();
        self.pool.queue.changed(has_eligible, is_up, self.now.instant());
        self.is_queue_awake = true;
    }

    /// A request has waited until a time that the queue named.
    pub(super) fn wake(&mut self, attempt: Attempt) {
        if let Some(slot) = self.requests.of(attempt) {
            self.requests.get(slot).wakes_at = None;
            self.look(slot);
        }
    }

    /// Wakes those whose turn it may be, after all that has happened in this step.
    pub(super) fn wake_heads(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if !std::mem::take(&mut self.is_queue_awake) {
                return;
            }
            let heads: Vec<u32> = self.pool.queue.heads().copied().collect();
            for slot in heads {
                self.look(slot);
            }
        }
    }

    /// A waiting request asks what it does next.
    fn look(&mut self, slot: u32) {
        let now = self.now.instant();
        for _ in 0..2 {
            let request = self.requests.get(slot);
            let Some(place) = request.place.filter(|_| request.running.is_none()) else {
                return;
            };
            match self.pool.queue.turn(place, now) {
                Turn::Now => {
                    let Some(member) = self.pick(slot) else { continue };
                    let waited = self.pool.queue.len();
                    self.pool.queue.picked(place, now);
                    if let Some(checker) = &mut self.checker {
                        checker.picked_from_queue(slot, self.pool.queue.len() == waited);
                    }
                    self.is_queue_awake = true;
                    self.begin_attempt(slot, member);
                    return;
                }
                Turn::Later(until) => return self.wake_later(slot, Time::at(until)),
                Turn::Expired | Turn::Refused(_) => {
                    self.trace.say(self.now, || format!("r{slot} has waited in vain"));
                    self.finish(slot, 503);
                    return;
                }
            }
        }
    }

    fn wake_later(&mut self, slot: u32, until: Time) {
        let request = self.requests.get(slot);
        let is_known = request.wakes_at.is_some_and(|at| at <= until);
        let Some(attempt) = request.attempt.filter(|_| !is_known) else {
            return;
        };
        request.wakes_at = Some(until);
        self.events
            .add(until.max(self.now.plus(Time(1))), Event::Wake(attempt));
    }
}
