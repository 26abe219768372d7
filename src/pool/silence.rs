//! Silent backends of a pool: picks avoid them while there are others. Control plane only, except for what picks read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Member, Pool};
use crate::clock::Instant;
use crate::health::silence::{Counters, LEAST_RESPONSES, Observation, Silence, USUAL};
use crate::retry::NotBefore;

/// What is known of the silence of one backend.
#[derive(Debug, Default)]
pub(super) struct Silent {
    silence: Mutex<Silence>,
    /// Until when picks avoid it.
    pub(super) until: NotBefore,
    /// How often it was found silent after a response.
    silences: AtomicU64,
}

impl Silent {
    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Looks which of its backends are silent, lets picks avoid them and probes them, and passes on what it finds. Returns whether
    /// any backend has got requests since the last look.
    pub fn look_for_silence(&self, now: Instant, mut found: impl FnMut(&Member, Observation)) -> bool {
        let mut is_used = false;
        for member in self.roster.load().members() {
            let mut silence = member.silent.silence();
            // One that is down, ejected or drained is avoided anyway.
            if self.settings.ejection.is_none() || !member.is_eligible() {
                if silence.forget() {
                    self.hold_off.release(&member.silent.until);
                }
                continue;
            }
            let begun = member.backend.load.attempts();
            if silence.is_idle(begun) {
                continue;
            }
            is_used = true;
            let counters = member.counters(begun);
            let Some(observation) = silence.look(counters, now, || member.usual_latency(now)) else {
                continue;
            };
            match observation {
                Observation::Silent {
                    avoid_for, is_first, ..
                } => {
                    let silences = &member.silent.silences;
                    silences.fetch_add(u64::from(is_first), Ordering::Relaxed);
                    self.hold_off.hold(&member.silent.until, avoid_for, now);
                    member.health.request_probe();
                }
                Observation::Responds => self.hold_off.release(&member.silent.until),
            }
            found(member, observation);
        }
        is_used
    }
}

impl Member {
    /// Whether it was found silent and has not responded since: picks avoid it while there are others.
    pub fn is_silent(&self) -> bool {
        self.silent.silence().is_silent()
    }

    /// How often it was found silent.
    pub fn silences(&self) -> u64 {
        self.silent.silences.load(Ordering::Relaxed)
    }

    fn counters(&self, begun: u64) -> Counters {
        let load = &self.backend.load;
        Counters {
            begun,
            failed: load.failures(),
            in_flight: u64::from(load.total_in_flight()),
            responses: load.latency.responses(),
        }
    }

    /// The latency that is usual of the backend; `None` if too few responses tell.
    fn usual_latency(&self, now: Instant) -> Option<Duration> {
        let distribution = self.backend.load.latency.distribution(now);
        let usual = distribution.quantile(USUAL)?;
        (distribution.count() >= LEAST_RESPONSES).then_some(usual)
    }
}
