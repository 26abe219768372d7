//! The access log takes nothing for a while: no request may notice it, and every line is written or counted as dropped.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use super::log_obstacle::Obstacle;
use super::{Context, Rig, THREE, due_between, goals, sleep_until};
use crate::client::{Method, Record, fetch};
use crate::clock;
use crate::error::{Error, Result};
use crate::peer::{Extras, Setting};
use crate::report::{Report, millis};

/// The share of the run before the log takes nothing, in percent, and of that in which it does not: long enough for some
/// lines to be dropped.
const BEFORE: u32 = 20;
const CLOSED: u32 = 60;
/// Threads that serve: each holds 64 KiB of lines before it drops some, which a run must reach.
const WORKERS: usize = 2;
/// Longest time from when there is room again until the next line is written.
const RESUME: u64 = 1_000_000;
/// After this, it is over.
const NEVER: Duration = Duration::from_secs(60);
/// Between two looks at the log.
const LOOK: Duration = Duration::from_millis(2);
/// Bytes of a line, at most, and of all lines: they are kept in memory.
const LINE: u64 = 800;
const MOST: u64 = 512 << 20;

pub(super) fn run_full(context: &Context, report: &mut Report) -> Result<()> {
    if context.rate * context.duration.as_secs() * LINE > MOST {
        return Err(Error::new(format!(
            "the access log of this run would need more than {} MiB of memory: choose a lower rate or fewer seconds",
            MOST >> 20
        )));
    }
    run(context, report, &|folder| Obstacle::full(folder))
}

pub(super) fn run_blocked(context: &Context, report: &mut Report) -> Result<()> {
    run(context, report, &|folder| Obstacle::pipe(&context.helper, folder))
}

fn run(
    context: &Context,
    report: &mut Report,
    make: &dyn Fn(&std::path::Path) -> Result<Obstacle>,
) -> Result<()> {
    let mut made = None;
    let settings = [Setting::Admin, Setting::Workers(WORKERS)];
    let mut rig = context.rig_with(&settings, &THREE, |folder| {
        let obstacle = make(folder)?;
        let extras = Extras {
            access_log: Some(obstacle.log.clone()),
            wrapper: obstacle.wrapper()?,
            ..Extras::default()
        };
        made = Some(obstacle);
        Ok(extras)
    })?;
    let mut obstacle = made.ok_or_else(|| Error::new("there is no log"))?;
    report.fact("access log", obstacle.name());
    let load = context.load(&rig, context.duration).start()?;
    let start = load.start;
    sleep_until(start + clock::micros(context.part(BEFORE)));
    let closed = clock::now();
    obstacle.close(&rig.balancer)?;
    sleep_until(start + clock::micros(context.part(BEFORE + CLOSED)));
    let at = obstacle.length();
    let opened = clock::now();
    obstacle.open(&rig.balancer)?;
    while obstacle.length() <= at && clock::now() < opened + clock::micros(NEVER) {
        thread::sleep(LOOK);
    }
    let resumed = clock::now();
    let records = load.finish()?;
    let dropped = dropped(context, &rig, &obstacle)?;
    rig.finish(context, report, &records)?;
    let log = obstacle.text()?;

    let parts = [(start, closed), (closed, opened), (opened, u64::MAX)];
    let [before, during, after] = parts.map(|(from, to)| due_between(&records, from, to));
    report.table("before", &before, start);
    report.table("while the log takes nothing", &during, start);
    report.table("afterwards", &after, start);
    goals::no_failed_request(report, &records);
    let (base, now) = (goals::p99(&before, Method::Get), goals::p99(&during, Method::Get));
    report.at_most(
        "p99 of GETs while the log takes nothing, in µs",
        now,
        context.limit(base, 110),
    );
    let limit = RESUME * context.slack;
    report.goal(
        "time until writing resumes",
        format!("{} ms, at most {} ms", millis(resumed - opened), millis(limit)),
        resumed - opened <= limit,
    );
    judge_lines(context, report, &records, &log, dropped);
    Ok(())
}

/// Lines that were dropped, as the admin API says. `None` if the balancer does not count them.
fn dropped(context: &Context, rig: &Rig, obstacle: &Obstacle) -> Result<Option<u64>> {
    let peer = context.peer.as_ref();
    let Some(metric) = peer.drop_metric(&obstacle.log) else {
        return Ok(None);
    };
    let metrics = fetch(rig.balancer.admin(peer)?, "/metrics")?;
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(&metric));
    let dropped = values.find_map(|value| value.trim().parse().ok());
    dropped
        .map(Some)
        .ok_or_else(|| Error::new("the metrics do not say how many lines were dropped"))
}

/// Every request has its line, or its line was counted as dropped.
fn judge_lines(context: &Context, report: &mut Report, records: &[Record], log: &str, dropped: Option<u64>) {
    // How soon the first is dropped depends on timing.
    let least = u64::from(context.slack == 1);
    let name = "lines dropped, by the metrics";
    match dropped {
        Some(dropped) => report.goal(name, format!("{dropped}, at least {least}"), dropped >= least),
        None => report.fact(name, "not offered: it does not count them"),
    }
    let Some(logged) = context.peer.logged(log) else {
        return;
    };
    let requests: HashMap<u64, u16> = records
        .iter()
        .map(|record| (record.nonce, record.status))
        .collect();
    let wrong = logged
        .iter()
        .filter(|(nonce, status)| requests.get(nonce) != Some(status));
    report.at_most(
        "lines of no request, or with another status",
        goals::number(wrong.count()),
        0,
    );
    let (lines, count) = (goals::number(logged.len()), goals::number(records.len()));
    report.goal(
        "lines written and dropped",
        match dropped {
            Some(dropped) => format!("{lines} and {dropped}, of {count} requests"),
            None => format!("{lines} and none counted, of {count} requests"),
        },
        lines + dropped.unwrap_or_default() == count,
    );
    if let Some(unreadable) = context.peer.unreadable_lines(log) {
        report.at_most("lines that are no JSON", goals::number(unreadable), 0);
    }
}
