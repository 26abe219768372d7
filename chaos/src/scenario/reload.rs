//! Configs that follow each other quickly, some of them invalid, under load.

use std::time::Duration;

use super::{Context, THREE, due_between, goals, sleep_until};
use crate::client::{LongLived, Method, Record};
use crate::clock;
use crate::error::Result;
use crate::peer::{Notice, Setting, Usage};
use crate::report::Report;

/// Time from one reload to the next.
const PERIOD: Duration = Duration::from_millis(200);
/// Every config with a number that this divides is invalid.
const INVALID: u64 = 10;
/// What runs alongside.
const WEBSOCKETS: usize = 20;
const DOWNLOADS: usize = 20;
/// The share of the run before the first reload, in percent.
const QUIET: u32 = 25;
/// Time after the last reload, in which removed routes are given back.
const REST: Duration = Duration::from_secs(2);

/// By how much the number of connections may differ between two moments.
const DESCRIPTORS_OF_CONNECTIONS: u64 = 50;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let mut rig = context.rig(&[Setting::Variant(0)], &THREE)?;
    let backends = rig.fleet.addresses();
    let beside = LongLived::start(rig.balancer.address, WEBSOCKETS, DOWNLOADS)?;
    let load = context.load(&rig, context.duration).start()?;
    let first = load.start + clock::micros(context.part(QUIET));
    let end = load.start + clock::micros(context.duration.saturating_sub(REST));
    sleep_until(first);
    let before = rig.balancer.usage()?;
    let (mut number, mut next) = (0, first);
    let mut invalid = 0;
    while next < end {
        sleep_until(next);
        number += 1;
        let mut settings = vec![Setting::Variant(number)];
        if number % INVALID == 0 {
            settings.push(Setting::Invalid);
            invalid += 1;
        }
        rig.balancer.reload(context.peer.as_ref(), &backends, &settings)?;
        next += clock::micros(PERIOD);
    }
    sleep_until(end + clock::micros(REST));
    let after = rig.balancer.usage()?;
    let beside = beside.finish()?;
    let start = load.start;
    let records = load.finish()?;
    let output = rig.finish(context, report, &records)?.output;

    let notices = |notice| context.peer.notices(&output, notice);
    report.fact("configs", format!("{number}, {invalid} of them invalid"));
    if let (Some(done), Some(refused)) = (notices(Notice::Reloaded), notices(Notice::ReloadFailed)) {
        report.fact("reloads", format!("{done}, and {refused} refused"));
        report.goal(
            "configs loaded or refused",
            format!("{} of {number}", done + refused),
            goals::number(done + refused) == number && goals::number(refused) == invalid,
        );
    }
    report.table("requests", &records, start);
    goals::no_failed_request(report, &records);
    goals::nothing_cut(report, &beside);
    judge_latency(
        context,
        report,
        [
            due_between(&records, start, first),
            due_between(&records, first, end),
        ],
    );
    judge_usage(context, report, before, after);
    Ok(())
}

fn judge_latency(context: &Context, report: &mut Report, [before, during]: [Vec<Record>; 2]) {
    let p99 = |records: &[Record]| goals::p99(records, Method::Get);
    let (base, with) = (p99(&before), p99(&during));
    report.fact(
        "p99 of GETs before, with reloads",
        format!("{base} and {with} µs"),
    );
    report.at_most("p99 of GETs with reloads, µs", with, context.limit(base, 200));
}

fn judge_usage(context: &Context, report: &mut Report, before: Usage, after: Usage) {
    let Usage {
        memory,
        descriptors,
        threads,
    } = after;
    report.at_most(
        "memory after the reloads, KiB",
        memory,
        before.memory * 12 / 10 * context.slack,
    );
    report.fact(
        "descriptors before and after",
        format!("{} and {descriptors}", before.descriptors),
    );
    // Connections come and go; each reload that left a socket open would show.
    report.at_most(
        "descriptors after the reloads",
        descriptors,
        before.descriptors + DESCRIPTORS_OF_CONNECTIONS * context.slack,
    );
    // The thread that reads configs is started with the first.
    report.at_most("threads after the reloads", threads, before.threads + 1);
}
