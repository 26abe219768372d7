//! Looks for broken invariants: one random scenario for each seed, run for a number of steps. A failure names the seed, which
//! repeats the run.

mod random;

use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_balance::strategy::{Entry, STRATEGIES};

use crate::defect::Defect;
use crate::invariant::Violation;
use crate::world::{Checked, World};

pub use random::scenario;

/// One of so many seeds goes to a strategy with affinity.
const SLOW_EVERY: u64 = 31;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The first seed.
    pub first: u64,
    /// Number of seeds.
    pub seeds: u64,
    /// Steps of each run.
    pub steps: u64,
    /// A deliberate defect in every run.
    pub defect: Option<Defect>,
    /// The strategy of every run; otherwise they take turns.
    pub strategy: Option<&'static Entry>,
    /// Number of threads.
    pub threads: usize,
}

/// A run that broke an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Repeats it.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
}

impl Plan {
    /// Runs all seeds. Returns the failures by seed.
    pub fn run(&self) -> Vec<Failed> {
        let next = AtomicU64::new(self.first);
        let end = self.first + self.seeds;
        let work = || {
            let mut failed = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return failed;
                }
                failed.extend(self.run_seed(seed));
            }
        };
        let mut failed: Vec<Failed> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.max(1)).map(|_| scope.spawn(work)).collect();
            let joined = threads.into_iter().map(|thread| match thread.join() {
                Ok(failed) => failed,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.flatten().collect()
        });
        failed.sort_by_key(|failed| failed.seed);
        failed
    }

    /// Runs one seed.
    pub fn run_seed(&self, seed: u64) -> Option<Failed> {
        let scenario = scenario(seed, self.entry(seed), self.defect);
        let violation = World::new(&scenario, seed, Checked::Yes).run(self.steps).err()?;
        Some(Failed { seed, violation })
    }

    /// The scenario of a seed, everything that happens in its run, and how it ends.
    pub fn trace(&self, seed: u64) -> Vec<String> {
        let scenario = scenario(seed, self.entry(seed), self.defect);
        let mut world = World::new(&scenario, seed, Checked::Yes).traced();
        let result = world.run(self.steps);
        let mut lines: Vec<String> = format!("{scenario:#?}").lines().map(str::to_owned).collect();
        lines.extend_from_slice(world.trace().lines());
        lines.push(match result {
            Ok(()) => "no invariant was broken".to_owned(),
            Err(violation) => violation.to_string(),
        });
        lines
    }

    fn entry(&self, seed: u64) -> &'static Entry {
        self.strategy.unwrap_or_else(|| turn(seed))
    }
}

/// The strategy whose turn it is. Those with affinity, whose tables take long to build, get a thirtieth of the seeds.
fn turn(seed: u64) -> &'static Entry {
    let has_affinity = |entry: &&Entry| entry.keys.iter().any(|key| key.name == "key");
    let (slow, fast): (Vec<&Entry>, Vec<&Entry>) = STRATEGIES.iter().partition(has_affinity);
    let (of_slow, number) = (
        seed.is_multiple_of(SLOW_EVERY) && !slow.is_empty(),
        seed / SLOW_EVERY,
    );
    match of_slow {
        true => slow[number as usize % slow.len()],
        false => fast[seed as usize % fast.len()],
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {}, {}", self.seed, self.violation)
    }
}
