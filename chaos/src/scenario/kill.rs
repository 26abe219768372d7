//! Backends that are killed (SIGKILL) in the middle of their work and come back.

use std::collections::HashSet;
use std::time::Duration;

use super::{Context, goals, sleep_until};
use crate::client::{Method, Record};
use crate::clock;
use crate::error::Result;
use crate::executions::Executions;
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
    let log = rig.finish(context, report, &records)?.log;

    report.fact("kills", kills.len());
    report.table("requests", &records, start);
    goals::no_failed_get(report, &records);
    judge_posts(report, &records, &log, &kills);
    Ok(())
}

/// A POST may fail only if it was in flight on a backend that was killed.
fn judge_posts(report: &mut Report, records: &[Record], log: &Executions, kills: &[(u64, usize)]) {
    let mut running = HashSet::new();
    let mut last = [0; 3];
    for (time, backend) in kills {
        let Some(from) = last.get_mut(*backend) else {
            continue;
        };
        running.extend(log.running_at(*backend, *from, *time));
        *from = *time;
    }
    let is_running = |record: &&Record| running.contains(&record.nonce);
    // Its bytes may have reached the backend and not have been read.
    let is_unread = |record: &&Record| {
        let was_in_flight = |(time, _): &(u64, usize)| record.was_in_flight(*time, goals::APART);
        log.count(record.nonce) == 0 && kills.iter().any(was_in_flight)
    };
    let posts: Vec<&Record> = records
        .iter()
        .filter(|record| record.method == Method::Post)
        .collect();
    let on_killed = posts.iter().copied().filter(is_running).count();
    report.fact("POSTs running on a backend when it was killed", on_killed);
    let failed: Vec<&Record> = posts.into_iter().filter(|record| !record.is_ok()).collect();
    report.fact("failed POSTs", failed.len());
    let unexplained = failed
        .iter()
        .filter(|record| !is_running(record) && !is_unread(record));
    report.at_most(
        "failed POSTs that were not in flight on a killed backend",
        goals::number(unexplained.count()),
        0,
    );
}
