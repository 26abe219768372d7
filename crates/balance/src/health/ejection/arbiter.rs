//! The arbiter of a pool: decides for all its backends together, so that never too many are ejected and never the last one.

use std::collections::HashMap;

use evenkeel_wire::instant::Instant;

use super::Settings;
use super::machine::{Change, ChangeKind, Machine, Reason, Returned};
use super::observed::Observed;
use super::window::{self, Counts};
use crate::backend::BackendId;

/// What the arbiter has decided.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What has changed, in the order in which it has.
    pub changes: Vec<Change>,
    /// When it has to judge again if nothing happens until then. `None`: not before another failure, which must be reported to
    /// it, whatever [`super::Effect`] it has.
    pub next: Option<Instant>,
}

/// The arbiter of one pool.
#[derive(Debug, Default)]
pub struct Arbiter {
    machines: HashMap<BackendId, Machine>,
    /// When it last saw a new failure.
    last_failure: Option<Instant>,
}

impl Arbiter {
    /// Whether it has judged this backend before, and has not seen it leave since.
    pub fn knows(&self, backend: BackendId) -> bool {
        self.machines.contains_key(&backend)
    }

    /// Decides, from all backends that the pool has now. `settings` is `None` while ejection is off.
    pub fn judge(
        &mut self,
        now: Instant,
        settings: Option<&Settings>,
        backends: &[Observed<'_>],
    ) -> Judgement {
        let Some(settings) = settings else {
            return self.switch_off(now, backends);
        };
        self.adopt(now, settings, backends);
        let mut changes = Vec::new();
        self.follow_each(now, settings, backends, &mut changes);
        self.eject_failing(now, settings, backends, &mut changes);
        self.bring_back_where_needed(now, settings, backends, &mut changes);
        Judgement {
            changes,
            next: self.next(now, settings, backends),
        }
    }

    /// Takes up new backends and forgets removed ones.
    fn adopt(&mut self, now: Instant, settings: &Settings, backends: &[Observed<'_>]) {
        for seen in backends {
            seen.signal.configure(Some(settings));
            self.machines.entry(seen.backend).or_insert_with(|| {
                seen.signal.restart(now);
                Machine::new(now, seen.counts())
            });
        }
        if self.machines.len() > backends.len() {
            let ids: std::collections::HashSet<_> = backends.iter().map(|seen| seen.backend).collect();
            self.machines.retain(|id, _| ids.contains(id));
        }
    }

    /// Follows what has happened to each backend by itself.
    fn follow_each(
        &mut self,
        now: Instant,
        settings: &Settings,
        backends: &[Observed<'_>],
        changes: &mut Vec<Change>,
    ) {
        // After a while without failures nobody has kept samples.
        let has_slept = self
            .last_failure
            .is_none_or(|last| now.saturating_duration_since(last) > settings.window);
        for seen in backends {
            let Some(machine) = self.machines.get_mut(&seen.backend) else {
                continue;
            };
            let counts = seen.counts();
            if counts.failed > machine.counts.failed {
                self.last_failure = Some(now);
            }
            if has_slept {
                let base = Counts {
                    failed: machine.counts.failed,
                    ..counts
                };
                machine.window.restart(now, base);
            }
            machine.counts = counts;
            let kind = machine.follow(now, seen, settings);
            changes.extend(kind.map(|kind| change(seen, kind)));
        }
    }

    /// Ejects backends whose requests fail, those with the most failures first.
    fn eject_failing(
        &mut self,
        now: Instant,
        settings: &Settings,
        backends: &[Observed<'_>],
        changes: &mut Vec<Change>,
    ) {
        let mut failing = Vec::new();
        for seen in backends.iter().filter(|seen| !seen.is_out()) {
            let Some(machine) = self.machines.get_mut(&seen.backend) else {
                continue;
            };
            if !machine.is_well() {
                continue;
            }
            match reason(now, seen, machine, settings) {
                Some(reason) => failing.push((seen, reason)),
                None => machine.acquit(now, settings),
            }
        }
        // Failures in a row come before ratios. The sort keeps the order of the pool among equals.
        failing.sort_by_key(|(_, reason)| match reason {
            Reason::Ratio { percent, .. } => 100 - percent.min(&100),
            Reason::Consecutive(_) | Reason::Trial(_) => 0,
        });
        for (seen, reason) in failing {
            let may_eject = self.may_eject(settings, backends);
            let Some(machine) = self.machines.get_mut(&seen.backend) else {
                continue;
            };
            if may_eject {
                let kind = machine.eject(now, reason, seen.signal, settings);
                changes.push(change(seen, kind));
            } else if machine.spare(now) {
                changes.push(change(seen, ChangeKind::Spared(reason)));
            }
        }
    }

    /// Whether one more backend may be ejected.
    fn may_eject(&self, settings: &Settings, backends: &[Observed<'_>]) -> bool {
        self.eligible(backends) > 1 && self.ejected(backends) < settings.most_ejected(counted(backends))
    }

    /// Brings backends back when no other is left, or when more are ejected than may be, because the pool has shrunk.
    fn bring_back_where_needed(
        &mut self,
        now: Instant,
        settings: &Settings,
        backends: &[Observed<'_>],
        changes: &mut Vec<Change>,
    ) {
        let mut ejected: Vec<_> = backends
            .iter()
            .filter(|seen| !seen.is_out())
            .filter_map(|seen| Some((self.machines.get(&seen.backend)?.ejected_since()?, seen)))
            .collect();
        ejected.sort_by_key(|(since, _)| *since);
        let is_last = self.eligible(backends) == 0;
        let surplus = self
            .ejected(backends)
            .saturating_sub(settings.most_ejected(counted(backends)));
        let (count, why) = match is_last {
            // All of them: one alone would have to bear what the whole pool could not.
            true => (ejected.len(), Returned::LastOne),
            false => (surplus, Returned::TooMany),
        };
        for (_, seen) in ejected.into_iter().take(count) {
            if let Some(machine) = self.machines.get_mut(&seen.backend) {
                let kind = machine.bring_back(now, seen.signal, why);
                changes.push(change(seen, kind));
            }
        }
    }

    /// Brings all backends back, and counts no more.
    fn switch_off(&mut self, now: Instant, backends: &[Observed<'_>]) -> Judgement {
        let mut changes = Vec::new();
        for seen in backends {
            seen.signal.configure(None);
            let machine = self.machines.remove(&seen.backend);
            if let Some(mut machine) = machine.filter(|machine| !machine.is_well()) {
                let kind = machine.bring_back(now, seen.signal, Returned::Off);
                changes.push(change(seen, kind));
            }
        }
        self.machines.clear();
        Judgement { changes, next: None }
    }

    fn next(&self, now: Instant, settings: &Settings, backends: &[Observed<'_>]) -> Option<Instant> {
        let is_awake = self
            .last_failure
            .is_some_and(|last| now.saturating_duration_since(last) <= settings.window);
        let is_spared = || backends.iter().any(|seen| seen.signal.is_over(settings));
        let sample = (is_awake || is_spared()).then(|| now + window::step(settings.window));
        let machines = self.machines.values().filter_map(Machine::next);
        machines.chain(sample).min()
    }

    /// Backends that get requests.
    fn eligible(&self, backends: &[Observed<'_>]) -> usize {
        let eligible = backends
            .iter()
            .filter(|seen| !seen.is_out() && self.is_well(seen));
        eligible.count()
    }

    /// Backends that are ejected or on trial.
    fn ejected(&self, backends: &[Observed<'_>]) -> usize {
        backends.iter().filter(|seen| !self.is_well(seen)).count()
    }

    fn is_well(&self, seen: &Observed<'_>) -> bool {
        self.machines.get(&seen.backend).is_none_or(Machine::is_well)
    }
}

fn change(seen: &Observed<'_>, kind: ChangeKind) -> Change {
    Change {
        backend: seen.backend,
        kind,
    }
}

/// Backends of which a part may be ejected.
fn counted(backends: &[Observed<'_>]) -> usize {
    backends.iter().filter(|seen| !seen.is_excluded).count()
}

/// Why a backend that gets requests should be ejected, if it should.
fn reason(now: Instant, seen: &Observed<'_>, machine: &mut Machine, settings: &Settings) -> Option<Reason> {
    let Counts { ended, failed } = machine.window.count(now, seen.counts(), settings.window);
    if seen.signal.is_over(settings) {
        return Some(Reason::Consecutive(seen.signal.last_failure()));
    }
    // More may have failed than ended, because the counters are not read at one moment.
    let percent = failed.min(ended) * 100 / ended.max(1);
    let is_failing =
        ended >= u64::from(settings.min_requests.max(1)) && percent >= u64::from(settings.failure_ratio);
    is_failing.then_some(Reason::Ratio {
        percent: percent as u32,
        requests: ended,
        window: settings.window,
    })
}
