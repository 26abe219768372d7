//! Backends that are killed (SIGKILL) in the middle of their work and come back.

use std::time::Duration;

use super::{Context, goals, sleep_until};
use crate::client::{Method, Record};
use crate::clock;
use crate::error::Result;
use crate::report::Report;

/// Time from one kill to the next.
const PERIOD: Duration = Duration::from_secs(2);
/// Time until a killed backend is back.
const DOWN: Duration = Duration::from_secs(1);
/// Responses take so long that requests are under way whenever a backend is killed.
const FLAGS: [&[&str]; 3] = [&["--delay-ms", "20"]; 3];
/// Time before the first kill.
const WARM_UP: Duration = Duration::from_millis(500);

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let mut rig = context.rig(&[], &FLAGS)?;
    let mut rng = context.rng();
    let load = context.load(&rig, context.duration).start()?;
    let end = load.start + clock::micros(context.duration);
    let mut next = load.start + clock::micros(WARM_UP);
    let mut kills = Vec::new();
    while next + clock::micros(DOWN) < end {
        sleep_until(next);
        let backend = usize::try_from(rng.below(3)).unwrap_or_default();
        kills.push((rig.fleet.kill(backend)?, backend));
        sleep_until(next + clock::micros(DOWN));
        rig.fleet.restart(backend)?;
        next += clock::micros(PERIOD);
    }
    let start = load.start;
    let records = load.finish()?;
    rig.finish()?;
    let log = rig.fleet.executions();

    report.fact("kills", kills.len());
    report.table("requests", &records, start);
    goals::no_failed_get(report, &records);
    goals::executed_once(report, &records, &log);
    let posts = |record: &&Record| record.method == Method::Post;
    let is_at_kill = |record: &&Record| {
        kills
            .iter()
            .any(|(time, _)| record.was_in_flight(*time, goals::APART))
    };
    let failed: Vec<&Record> = records
        .iter()
        .filter(posts)
        .filter(|record| !record.is_ok())
        .collect();
    let unexplained = failed.iter().filter(|record| !is_at_kill(record)).count();
    let in_flight = records.iter().filter(posts).filter(is_at_kill).count();
    let running: usize = kills
        .iter()
        .map(|(time, backend)| log.running_at(*backend, *time, "POST"))
        .sum();
    report.fact("POSTs running on a backend when it was killed", running);
    report.at_most(
        "failed POSTs, of those in flight at a kill",
        goals::number(failed.len()),
        goals::number(in_flight),
    );
    report.at_most(
        "failed POSTs that were not in flight at a kill",
        goals::number(unexplained),
        0,
    );
    Ok(())
}
