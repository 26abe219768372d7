//! Silence: backends that take requests and respond to none are looked for while requests run, and picks avoid them.

use evenkeel_balance::health::silence::{Counters, LEAST_RESPONSES, LOOK_EVERY, Observation, USUAL};

use crate::clock::Time;
use crate::defect::Defect;

use super::{Event, World};

impl World<'_> {
    /// Requests run, so backends are looked at from now on.
    pub(super) fn look_for_silence(&mut self) {
        if self.scenario.pool.ejection.is_some() && !std::mem::replace(&mut self.is_looking, true) {
            self.events.add(self.now.plus(Time::of(LOOK_EVERY)), Event::Look);
        }
    }

    /// Looks at all backends, and again later if any of them gets requests.
    pub(super) fn look_at_backends(&mut self) {
        self.is_looking = false;
        let mut is_used = false;
        for index in 0..self.pool.members.len() {
            is_used |= self.look_at(index);
        }
        if is_used {
            self.look_for_silence();
        }
    }

    /// Looks at one backend. Returns whether it gets requests.
    fn look_at(&mut self, index: usize) -> bool {
        let now = self.now.instant();
        let member = &mut self.pool.members[index];
        if !member.is_eligible() {
            if member.silence.forget() {
                self.pool.hold_off.release(&member.silent_until);
            }
            return false;
        }
        let (load, begun) = (&member.load, member.load.attempts());
        if member.silence.is_idle(begun) {
            return false;
        }
        let counters = Counters {
            begun,
            failed: load.failures(),
            in_flight: u64::from(load.total_in_flight()),
            responses: match self.scenario.defect {
                Some(Defect::MissesResponses) => 0,
                _ => load.latency.responses(),
            },
        };
        let usual = || {
            let distribution = load.latency.distribution(now);
            let usual = distribution.quantile(USUAL)?;
            (distribution.count() >= LEAST_RESPONSES).then_some(usual)
        };
        let Some(observation) = member.silence.look(counters, now, usual) else {
            return true;
        };
        self.trace.say(self.now, || format!("b{index}: {observation:?}"));
        match observation {
            Observation::Responds => self.pool.hold_off.release(&member.silent_until),
            Observation::Silent { avoid_for, .. } => {
                self.pool.hold_off.hold(&member.silent_until, avoid_for, now);
                if let Some(checker) = &mut self.checker {
                    checker.found_silent(index);
                }
                self.request_probe(index);
            }
        }
        true
    }
}
