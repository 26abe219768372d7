//! A backend that hangs (SIGSTOP): its kernel accepts connections, and nothing ever responds.

use std::time::Duration;

use super::{Context, THREE, due_between, goals, sleep_until};
use crate::client::{Method, Record};
use crate::clock;
use crate::error::Result;
use crate::peer::Setting;
use crate::report::{Report, millis};

/// Longest wait for the first byte of an attempt.
const FIRST_BYTE: Duration = Duration::from_secs(1);
/// Time between two health checks, by default.
const INTERVAL: u64 = 10_000_000;
/// A request that took this long was tried on the hanging backend: most of [`FIRST_BYTE`].
const HUNG: u64 = 900_000;
/// Without such a request for this long, the backend gets no more requests.
const SILENCE: u64 = 1_000_000;
/// Failed tries after which it must be noticed, or within an interval of the first of them.
const TRIES: usize = 3;

pub(super) fn run_with_http_check(context: &Context, report: &mut Report) -> Result<()> {
    run(context, report, Setting::HttpCheck)
}

pub(super) fn run_with_tcp_check(context: &Context, report: &mut Report) -> Result<()> {
    run(context, report, Setting::TcpCheck)
}

fn run(context: &Context, report: &mut Report, check: Setting) -> Result<()> {
    let settings = [Setting::FirstByte(FIRST_BYTE), check];
    let mut rig = context.rig(&settings, &THREE)?;
    let backend = usize::try_from(context.rng().below(3)).unwrap_or_default();
    let load = context.load(&rig, context.duration).start()?;
    sleep_until(load.start + clock::micros(context.part(25)));
    let hung = rig.fleet.freeze(backend)?;
    let start = load.start;
    let records = load.finish()?;
    rig.fleet.thaw(backend)?;
    rig.finish(context, report, &records)?;

    let before = due_between(&records, start, hung.saturating_sub(goals::APART));
    let after = due_between(&records, hung.saturating_sub(goals::APART), u64::MAX);
    let tried: Vec<&Record> = after.iter().filter(|record| record.latency() >= HUNG).collect();
    let window = first_window(&tried);
    let noticed = window.last().map_or(hung, |record| record.due);
    let first_failure = window
        .first()
        .map_or(hung, |record| record.due + clock::micros(FIRST_BYTE));
    let later = due_between(&records, noticed + 1, u64::MAX);
    report.table("before", &before, start);
    report.table(
        "until it was noticed",
        &due_between(&after, 0, noticed + 1),
        start,
    );
    report.table("afterwards", &later, start);
    report.fact("requests tried on it before it was noticed", window.len());
    report.fact("requests tried on it later", tried.len() - window.len());

    goals::no_failed_get(report, &records);
    let until_noticed = noticed.saturating_sub(first_failure);
    let has_ended = noticed + SILENCE < records.last().map_or(0, |record| record.due);
    let is_quick = until_noticed <= INTERVAL || window.len() <= TRIES;
    report.goal(
        "noticed after the first failed try",
        format!("{} ms, at most {} ms", millis(until_noticed), millis(INTERVAL)),
        is_quick && has_ended,
    );
    let sent = window
        .iter()
        .filter(|record| record.method == Method::Post)
        .count();
    let failed = goals::failed(&after, Method::Post);
    report.at_most(
        "failed POSTs, of those sent to it before it was noticed",
        failed,
        goals::number(sent),
    );
    let (base, now) = (goals::p99(&before, Method::Get), goals::p99(&later, Method::Get));
    report.seen.compared = Some((base, now));
    report.at_most("p99 of GETs afterwards, in µs", now, context.limit(base, 120));
    Ok(())
}

/// The requests that were tried on the backend until it got no more for a while.
fn first_window<'a>(tried: &[&'a Record]) -> Vec<&'a Record> {
    let mut window: Vec<&Record> = Vec::new();
    for record in tried {
        if window.last().is_some_and(|last| record.due > last.due + SILENCE) {
            break;
        }
        window.push(record);
    }
    window
}
