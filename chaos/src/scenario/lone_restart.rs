//! The only backend of a pool restarts: requests wait in the queue, and nobody sees an error.

use std::collections::HashMap;
use std::time::Duration;

use super::{Context, goals, sleep_until};
use crate::client::{Method, Record};
use crate::clock;
use crate::error::Result;
use crate::executions::{Event, Executions};
use crate::report::Report;

/// How long the backend is down.
const DOWN: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// Time before it stops.
const BEFORE: Duration = Duration::from_millis(1_000);
/// Pairs of waiting requests that are executed in the wrong order, in percent, at most. A queue that is first in, first
/// out has some: requests wait at several workers, and reach the backend over many connections at the same time. In random
/// order half of them are wrong.
const WRONG: u64 = 35;
/// With fewer pairs chance decides.
const ENOUGH: u64 = 3_000;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let after = context.duration / 5;
    for down in DOWN {
        restart(context, report, down, after)?;
    }
    Ok(())
}

fn restart(context: &Context, report: &mut Report, down: Duration, after: Duration) -> Result<()> {
    let mut rig = context.rig(&[], &[&["--delay-ms", "1"]])?;
    let load = context.load(&rig, BEFORE + down + after).start()?;
    sleep_until(load.start + clock::micros(BEFORE));
    let gone = rig.fleet.terminate(0)?;
    sleep_until(gone + clock::micros(down));
    let back = clock::now();
    rig.fleet.restart(0)?;
    let start = load.start;
    let records = load.finish()?;
    let log = rig.finish(context, report, &records)?.log;

    let name = format!("down for {} ms", down.as_millis());
    report.table(&name, &records, start);
    let failed = [Method::Get, Method::Post].map(|method| goals::failed(&records, method));
    report.at_most(&format!("{name}: failed GETs"), failed[0], 0);
    report.at_most(&format!("{name}: failed POSTs"), failed[1], 0);
    let waited = records
        .iter()
        .filter(|record| (gone..back).contains(&record.sent));
    let (wrong, pairs) = wrong_pairs(&waited.collect::<Vec<_>>(), &log);
    let percent = (wrong * 100).checked_div(pairs).unwrap_or_default();
    report.goal(
        format!("{name}: waiting requests in the wrong order"),
        format!("{percent}% of {pairs} pairs, at most {WRONG}% of {ENOUGH} and more"),
        percent <= WRONG || pairs < ENOUGH,
    );
    Ok(())
}

/// Pairs of these requests that were executed in another order than they were sent, and all pairs.
fn wrong_pairs(waited: &[&Record], log: &Executions) -> (u64, u64) {
    let sent: HashMap<u64, u64> = waited.iter().map(|record| (record.nonce, record.sent)).collect();
    let begun = log.entries().iter().filter(|entry| entry.event == Event::Begun);
    let executed: Vec<u64> = begun
        .filter_map(|entry| sent.get(&entry.nonce).copied())
        .collect();
    let (mut wrong, mut pairs) = (0, 0);
    for (index, sent) in executed.iter().enumerate() {
        for later in executed.iter().skip(index + 1) {
            pairs += 1;
            wrong += u64::from(later < sent);
        }
    }
    (wrong, pairs)
}
