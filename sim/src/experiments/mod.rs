//! Compares the strategies: each of them in each situation, with the same requests. Everything follows from one seed.

mod page;
mod plot;
mod situations;
mod svg;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel_balance::schema::Params;
use evenkeel_balance::strategy::{Entry, STRATEGIES, Settings};

use crate::clock::Time;
use crate::world::{Checked, World};

pub use page::{BEGIN, END, PAGE, structure};
pub use situations::{SITUATIONS, Situation};

/// The seed of the published results.
pub const SEED: u64 = 1;

/// Where the plots are, from the root of the repository.
pub const IMAGES: &str = "docs/images/strategies";

/// Steps of one run: more than any situation has.
const STEPS: u64 = u64::MAX;

/// What was measured of one strategy in one situation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Half of the successful requests took at most this long.
    pub p50: Time,
    /// 99 of 100 successful requests took at most this long.
    pub p99: Time,
    /// 999 of 1,000 successful requests took at most this long.
    pub p999: Time,
    /// Part of the requests that got a status from 500 on.
    pub errors: f64,
    /// Number of requests.
    pub requests: u64,
}

/// The results of one situation, by strategy in the order of the table.
pub type Row = Vec<Measured>;

/// Measures one strategy in one situation.
pub fn measure(situation: &Situation, entry: &'static Entry, seed: u64) -> Measured {
    let settings = Settings {
        entry,
        params: Params::default(),
    };
    let scenario = (situation.scenario)(settings);
    let mut world = World::new(&scenario, seed, Checked::No);
    // Without a checker there is no violation.
    let _ = world.run(STEPS);
    let mut stats = world.into_stats();
    let [p50, p99, p999] = stats.quantiles([0.5, 0.99, 0.999]);
    Measured {
        p50,
        p99,
        p999,
        errors: stats.error_rate(),
        requests: stats.requests(),
    }
}

/// Measures all strategies in all situations.
pub fn measure_all(seed: u64, threads: usize) -> Vec<Row> {
    let columns = STRATEGIES.len();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(situation) = SITUATIONS.get(number / columns) else {
                return done;
            };
            done.push((number, measure(situation, &STRATEGIES[number % columns], seed)));
        }
    };
    let mut done: Vec<(usize, Measured)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.flatten().collect()
    });
    done.sort_by_key(|(number, _)| *number);
    let measured: Vec<Measured> = done.into_iter().map(|(_, measured)| measured).collect();
    measured.chunks(columns).map(<[_]>::to_vec).collect()
}

/// Measures everything, and writes the plots and the generated part of the page. `root` is the root of the repository.
///
/// # Errors
/// A file cannot be read or written, or the page lacks its markers.
pub fn write(root: &Path, seed: u64, threads: usize) -> io::Result<()> {
    let rows = measure_all(seed, threads);
    let images = root.join(IMAGES);
    fs::create_dir_all(&images)?;
    for (situation, row) in SITUATIONS.iter().zip(&rows) {
        fs::write(
            images.join(format!("{}.svg", situation.name)),
            plot::situation(situation, row),
        )?;
    }
    fs::write(images.join("overview.svg"), plot::overview(&rows))?;
    let path = root.join(PAGE);
    let page = fs::read_to_string(&path)?;
    let page = page::with_results(&page, &rows, seed);
    fs::write(
        path,
        page.ok_or_else(|| io::Error::other(format!("{PAGE} lacks its markers")))?,
    )
}
