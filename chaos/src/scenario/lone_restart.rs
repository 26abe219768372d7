//! The only backend of a pool restarts: requests wait in the queue, and nobody sees an error.

use std::collections::HashMap;
use std::time::Duration;

use super::{Context, goals, sleep_until};
use crate::client::{Method, Record};
use crate::clock;
use crate::error::Result;
use crate::executions::{Event, Executions};
use crate::report::{Report, millis};

/// How long the backend is down.
const DOWN: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// Time before it stops.
const BEFORE: Duration = Duration::from_millis(1_000);
/// Requests that follow each other more closely may be executed in another order: they come over different
/// connections, which several workers read.
const ORDER: u64 = 100_000;

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
    rig.fleet.restart(0)?;
    let start = load.start;
    let records = load.finish()?;
    let log = rig.finish(context, report, &records)?.log;

    let name = format!("down for {} ms", down.as_millis());
    report.table(&name, &records, start);
    let failed = [Method::Get, Method::Post].map(|method| goals::failed(&records, method));
    report.at_most(&format!("{name}: failed GETs"), failed[0], 0);
    report.at_most(&format!("{name}: failed POSTs"), failed[1], 0);
    let overtaken = longest_overtaking(&records, &log);
    let limit = ORDER * context.slack;
    report.goal(
        format!("{name}: a later request is executed first"),
        format!("by {} ms, at most {} ms", millis(overtaken), millis(limit)),
        overtaken <= limit,
    );
    Ok(())
}

/// How much later a request was due than one that was executed after it, at most.
fn longest_overtaking(records: &[Record], log: &Executions) -> u64 {
    let sent: HashMap<u64, u64> = records.iter().map(|record| (record.nonce, record.sent)).collect();
    let begun = log.entries().iter().filter(|entry| entry.event == Event::Begun);
    let mut latest = 0;
    let mut longest = 0;
    for time in begun.filter_map(|entry| sent.get(&entry.nonce)) {
        latest = latest.max(*time);
        longest = longest.max(latest - time);
    }
    longest
}
