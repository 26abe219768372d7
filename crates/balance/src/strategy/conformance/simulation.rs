//! A pool in simulated time: requests arrive evenly, backends take as long as they are told, and what the request path would count
//! and measure is counted and measured.

use super::*;
use crate::latency::{Sample, Waiting};

/// A backend's behaviour at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Behaviour {
    /// It responds after this many milliseconds.
    Responds(u64),
    /// It fails after this many milliseconds.
    Fails(u64),
}

/// What backends do: by index and time in milliseconds.
pub(super) type Behave<'a> = &'a dyn Fn(usize, u64) -> Behaviour;

pub(super) struct Simulation {
    pub(super) candidates: Vec<Candidate>,
    strategy: Box<dyn Strategy>,
    start: Instant,
    now: u64,
    rng: Rng,
    running: Vec<Running>,
}

struct Running {
    index: usize,
    began: u64,
    behaviour: Behaviour,
    waiting: Option<Waiting>,
}

impl Simulation {
    pub(super) fn new(settings: &Settings, weights: &[u32]) -> Self {
        let candidates = candidates(weights);
        Self {
            strategy: built(settings, &candidates),
            candidates,
            start: crate::clock::now(),
            now: 0,
            rng: Rng::seeded(6),
            running: Vec::new(),
        }
    }

    /// Runs for this time with a request every `every` milliseconds, and returns how many each backend got.
    pub(super) fn run(&mut self, millis: u64, every: u64, behave: Behave<'_>) -> Vec<u32> {
        let mut counts = vec![0; self.candidates.len()];
        for now in self.now..self.now + millis {
            self.now = now;
            self.end_due();
            if now.is_multiple_of(every) {
                counts[self.request(behave)] += 1;
            }
        }
        self.now += 1;
        counts
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn request(&mut self, behave: Behave<'_>) -> usize {
        let random = self.rng.bits();
        let context = PickContext {
            now: self.instant(),
            ..context(&[], random)
        };
        let index = self.strategy.pick(&self.candidates, &context).unwrap();
        let load = &self.candidates[index].load;
        load.in_flight.0.fetch_add(1, Ordering::Relaxed);
        self.running.push(Running {
            index,
            began: self.now,
            behaviour: behave(index, self.now),
            waiting: load.latency.begin_wait(self.instant()),
        });
        index
    }

    fn end_due(&mut self) {
        let now = self.now;
        let is_due = |running: &mut Running| match running.behaviour {
            Behaviour::Responds(millis) | Behaviour::Fails(millis) => now - running.began >= millis,
        };
        for running in self.running.extract_if(.., is_due).collect::<Vec<_>>() {
            let load = &self.candidates[running.index].load;
            load.in_flight.0.fetch_sub(1, Ordering::Relaxed);
            let took = Duration::from_millis(now - running.began);
            let sample = match running.behaviour {
                Behaviour::Responds(_) => Sample::Response(took),
                Behaviour::Fails(_) => Sample::Failure(took),
            };
            load.latency.learn(sample, self.instant());
            if let Some(waiting) = running.waiting {
                load.latency.end_wait(waiting);
            }
        }
    }
}
