//! Health checks: when a backend is probed, and what follows from the result.

use evenkeel_balance::health::{State, Thresholds, Tracker};

use crate::clock::Time;
use crate::defect::Defect;

use super::{Event, World};

impl World<'_> {
    /// Schedules the next probe of a member, in place of the one that was scheduled before.
    pub(super) fn schedule_probe(&mut self, index: usize) {
        let member = &mut self.pool.members[index];
        let Some(tracker) = &member.tracker else { return };
        let at = Time::at(tracker.next_probe(self.now.instant(), self.rng.bits()));
        member.probe_serial += 1;
        let probe = Event::Probe(index, member.probe_serial);
        self.events.add(at.max(self.now), probe);
    }

    /// Probes a member soon, because a request failed.
    pub(super) fn request_probe(&mut self, index: usize) {
        let member = &mut self.pool.members[index];
        let Some(tracker) = member.tracker.as_ref().filter(|_| !member.is_probing) else {
            return;
        };
        let at = Time::at(tracker.next_requested(self.now.instant()));
        member.probe_serial += 1;
        let probe = Event::Probe(index, member.probe_serial);
        self.events.add(at.max(self.now), probe);
    }

    pub(super) fn begin_probe(&mut self, index: usize, serial: u32) {
        let member = &mut self.pool.members[index];
        if member.probe_serial != serial || member.is_probing {
            return;
        }
        member.is_probing = true;
        let timeout = self
            .scenario
            .pool
            .checks
            .map_or(Time::ZERO, |checks| checks.timeout);
        let (is_healthy, takes) = match self.backends[index].probe() {
            Some((is_healthy, takes)) if takes <= timeout => (is_healthy, takes),
            _ => (false, timeout),
        };
        self.events
            .add(self.now.plus(takes), Event::ProbeEnd(index, is_healthy));
    }

    pub(super) fn end_probe(&mut self, index: usize, is_healthy: bool) {
        let member = &mut self.pool.members[index];
        member.is_probing = false;
        if is_healthy {
            member.last_good_check = Some(self.now);
        }
        let Some(tracker) = &mut member.tracker else {
            return;
        };
        if self.scenario.defect == Some(Defect::FollowsEveryProbe)
            && let Some(checks) = self.scenario.pool.checks
        {
            let state = if is_healthy { State::Down } else { State::Up };
            let thresholds = Thresholds {
                healthy_after: 1,
                unhealthy_after: 1,
                ..checks.thresholds
            };
            *tracker = Tracker::new(thresholds, state);
        }
        let change = tracker.record(is_healthy, self.now.instant());
        if let Some(checker) = &mut self.checker {
            checker.probed(index, change.is_some());
        }
        if let Some(state) = change {
            self.trace
                .say(self.now, || format!("b{index} is {}", state.as_str()));
            self.judge();
            self.refresh();
        }
        self.schedule_probe(index);
    }
}
