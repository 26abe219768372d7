//! The models of backends: how long one takes for a request, and how it fails. A backend serves as many requests at a time as it
//! has slots; the others wait in its own backlog, first come, first served.

use std::collections::VecDeque;

use evenkeel_balance::rng::Rng;

use crate::clock::Time;
use crate::request::Attempt;
use crate::sample::{happens, service};

/// Maximum number of requests that wait at a backend; it answers further ones with 503.
const BACKLOG: usize = 4_096;

/// The time for a response without work: a refusal, an error, a probe.
const ROUND_TRIP: Time = Time(500_000);

/// How a backend behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// It serves requests, this much slower than usual.
    Serving {
        /// 1 is the usual speed.
        slowness: f64,
    },
    /// It answers every request at once with this status.
    Failing {
        /// The status.
        status: u16,
        /// Whether its probes fail too.
        fails_probes: bool,
    },
    /// It serves requests, and answers this part of them with 500.
    Erring {
        /// From 0 to 1.
        part: f64,
    },
    /// It accepts connections and never answers; what it has accepted goes on when it ends.
    Hanging,
    /// Its process is gone: running requests are reset, new connections are refused.
    Stopped,
}

impl Mode {
    /// The usual one.
    pub const HEALTHY: Self = Self::Serving { slowness: 1.0 };
}

/// A backend as a scenario describes it.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its weight in the config.
    pub weight: u32,
    /// How many requests it serves at a time.
    pub slots: u32,
    /// The mean of its service times.
    pub service: Time,
    /// When its mode changes, in order.
    pub changes: Vec<(Time, Mode)>,
}

impl Spec {
    /// One that serves 8 requests at a time, each in 10 ms on average, and never changes.
    pub fn usual() -> Self {
        Self {
            weight: 1,
            slots: 8,
            service: Time::millis(10),
            changes: Vec::new(),
        }
    }
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A response with this status.
    Status(u16),
    /// The connection was refused.
    Refused,
    /// The connection was reset before a response.
    Reset,
}

/// Something that a backend will do.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// When.
    pub at: Time,
    /// The attempt that it does it for.
    pub attempt: Attempt,
    /// What it answers.
    pub answer: Answer,
    /// The life of the backend in which this was planned, if it takes a slot: another life knows nothing of it.
    life: Option<u32>,
}

/// A backend while it runs.
#[derive(Debug)]
pub struct Backend {
    slots: u32,
    service: Time,
    mode: Mode,
    /// Attempts that hold a slot.
    serving: Vec<Attempt>,
    backlog: VecDeque<Attempt>,
    /// What became ready while it hung.
    held: Vec<Due>,
    /// Grows with every stop.
    life: u32,
    rng: Rng,
}

impl Backend {
    /// The backend of a specification.
    pub fn new(spec: &Spec, seed: u64) -> Self {
        Self {
            slots: spec.slots,
            service: spec.service,
            mode: Mode::HEALTHY,
            serving: Vec::new(),
            backlog: VecDeque::new(),
            held: Vec::new(),
            life: 0,
            rng: Rng::seeded(seed),
        }
    }

    /// How it behaves now.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Gets a request. Returns its answer if that is known already.
    pub fn accept(&mut self, attempt: Attempt, now: Time) -> Option<Due> {
        let at_once = |answer| {
            Some(Due {
                at: now.plus(ROUND_TRIP),
                attempt,
                answer,
                life: None,
            })
        };
        match self.mode {
            Mode::Stopped => at_once(Answer::Refused),
            Mode::Failing { status, .. } => at_once(Answer::Status(status)),
            _ if self.backlog.len() >= BACKLOG => at_once(Answer::Status(503)),
            _ if (self.serving.len() as u32) < self.slots => {
                let due = self.serve(attempt, now);
                self.release(due)
            }
            _ => {
                self.backlog.push_back(attempt);
                None
            }
        }
    }

    /// Ends the service of an attempt. Returns whether the answer counts, and the next answer that it will give.
    pub fn finish(&mut self, due: &Due, now: Time) -> (bool, Option<Due>) {
        let Some(life) = due.life else { return (true, None) };
        if life != self.life {
            return (false, None);
        }
        if self.mode == Mode::Hanging {
            self.held.push(*due);
            return (false, None);
        }
        self.serving.retain(|attempt| *attempt != due.attempt);
        let next = self.backlog.pop_front();
        let next = next.map(|attempt| self.serve(attempt, now));
        (true, next.and_then(|due| self.release(due)))
    }

    /// Changes how it behaves. Returns what it does at once because of that.
    pub fn change(&mut self, mode: Mode, now: Time) -> Vec<Due> {
        let was_hanging = self.mode == Mode::Hanging;
        self.mode = mode;
        if mode == Mode::Stopped {
            self.life += 1;
            self.held.clear();
            let lost = self.serving.drain(..).chain(self.backlog.drain(..));
            let reset = |attempt| Due {
                at: now,
                attempt,
                answer: Answer::Reset,
                life: None,
            };
            return lost.map(reset).collect();
        }
        if !was_hanging || mode == Mode::Hanging {
            return Vec::new();
        }
        let held = std::mem::take(&mut self.held);
        held.into_iter().map(|due| Due { at: now, ..due }).collect()
    }

    /// The result of a probe that begins now, and how long it takes; `None` if there is no answer.
    pub fn probe(&mut self) -> Option<(bool, Time)> {
        match self.mode {
            Mode::Serving { slowness } => Some((true, Time::nanos(ROUND_TRIP.0 as f64 * slowness))),
            Mode::Erring { part } => Some((!happens(&mut self.rng, part), ROUND_TRIP)),
            Mode::Failing { fails_probes, .. } => Some((!fails_probes, ROUND_TRIP)),
            Mode::Stopped => Some((false, ROUND_TRIP)),
            Mode::Hanging => None,
        }
    }

    fn serve(&mut self, attempt: Attempt, now: Time) -> Due {
        let slowness = match self.mode {
            Mode::Serving { slowness } => slowness,
            _ => 1.0,
        };
        let is_error = match self.mode {
            Mode::Erring { part } => happens(&mut self.rng, part),
            _ => false,
        };
        self.serving.push(attempt);
        let takes = service(&mut self.rng, Time::nanos(self.service.0 as f64 * slowness));
        Due {
            at: now.plus(takes),
            attempt,
            answer: Answer::Status(if is_error { 500 } else { 200 }),
            life: Some(self.life),
        }
    }

    /// Keeps what it would do while it hangs.
    fn release(&mut self, due: Due) -> Option<Due> {
        if self.mode == Mode::Hanging {
            self.held.push(due);
            return None;
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(slots: u32) -> Backend {
        let spec = Spec {
            weight: 1,
            slots,
            service: Time::millis(10),
            changes: Vec::new(),
        };
        Backend::new(&spec, 1)
    }

    #[test]
    fn serves_as_many_at_a_time_as_it_has_slots() {
        let mut backend = backend(2);
        let first = backend.accept(Attempt(1), Time::ZERO).unwrap();
        assert!(backend.accept(Attempt(2), Time::ZERO).is_some());
        assert!(backend.accept(Attempt(3), Time::ZERO).is_none());
        let (counts, next) = backend.finish(&first, first.at);
        assert!(counts);
        assert_eq!(next.map(|due| due.attempt), Some(Attempt(3)));
    }

    #[test]
    fn a_stop_resets_what_runs_and_waits() {
        let mut backend = backend(1);
        let first = backend.accept(Attempt(1), Time::ZERO).unwrap();
        backend.accept(Attempt(2), Time::ZERO);
        let lost = backend.change(Mode::Stopped, Time(5));
        let lost: Vec<_> = lost.iter().map(|due| (due.attempt, due.answer)).collect();
        assert_eq!(lost, [(Attempt(1), Answer::Reset), (Attempt(2), Answer::Reset)]);
        assert_eq!(
            backend.accept(Attempt(3), Time(6)).unwrap().answer,
            Answer::Refused
        );
        backend.change(Mode::HEALTHY, Time(7));
        assert!(!backend.finish(&first, first.at).0);
    }

    #[test]
    fn what_hangs_is_answered_when_the_backend_goes_on() {
        let mut backend = backend(2);
        let first = backend.accept(Attempt(1), Time::ZERO).unwrap();
        backend.change(Mode::Hanging, Time(1));
        assert!(backend.accept(Attempt(2), Time(2)).is_none());
        assert!(!backend.finish(&first, first.at).0);
        assert_eq!(backend.probe(), None);
        let now = Time::secs(1);
        let due = backend.change(Mode::HEALTHY, now);
        let attempts: Vec<_> = due.iter().map(|due| (due.at, due.attempt)).collect();
        assert_eq!(attempts, [(now, Attempt(2)), (now, Attempt(1))]);
        assert!(backend.finish(&due[0], now).0);
    }
}
