//! Configs that follow each other quickly, some of them invalid, under load.

use std::time::Duration;

use super::exchanged::{self, Exchanged, Watchers};
use super::{Context, Rig, Sent, THREE, due_between, goals, sleep_until};
use crate::client::{LongLivedCounts, Method, Record};
use crate::clock;
use crate::error::Result;
use crate::peer::{Extras, Notice, Setting, Usage};
use crate::report::Report;

/// Time from one reload to the next, if the balancer has answered the first one.
const PERIOD: Duration = Duration::from_millis(200);
/// Longest wait for its answer, and at most on a machine that does other work.
const ANSWER: Duration = Duration::from_secs(5);
const ANSWER_AT_MOST: Duration = Duration::from_secs(20);
/// Every config with a number that this divides is invalid.
const INVALID: u64 = 10;
/// What runs alongside.
const BESIDE: LongLivedCounts = LongLivedCounts {
    websockets: 20,
    downloads: 20,
    http2: 20,
};
/// The share of the run before the first reload, in percent.
const QUIET: u32 = 25;
/// Time after the last reload, in which removed routes are given back.
const REST: Duration = Duration::from_secs(2);

/// By how much the number of connections may differ between two moments.
const DESCRIPTORS_OF_CONNECTIONS: u64 = 50;

/// The configs of a run.
#[derive(Clone, Copy)]
struct Storm {
    /// When the first is loaded, and when no more are.
    first: u64,
    end: u64,
}

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let (mut rig, exchanged) = rig(context)?;
    let watchers = exchanged.as_ref().map(|exchanged| exchanged.watch(context.seed));
    let watchers = watchers.transpose()?;
    let beside = rig.long_lived(BESIDE)?;
    let load = context.load(&rig, context.duration).start()?;
    let storm = Storm {
        first: load.start + clock::micros(context.part(QUIET)),
        end: load.start + clock::micros(context.duration.saturating_sub(REST)),
    };
    sleep_until(storm.first);
    let before = rig.balancer.usage()?;
    let (number, invalid) = reload_often(context, &mut rig, exchanged.as_ref(), storm)?;
    sleep_until(storm.end + clock::micros(REST));
    let after = rig.balancer.usage()?;
    let beside = beside.finish()?;
    let visits = watchers.map(Watchers::finish).transpose()?;
    let start = load.start;
    let records = load.finish()?;
    let visited = visits.iter().flatten().flat_map(|visits| &visits.nonces);
    let nonces: Vec<u64> = visited.chain(&beside.nonces).copied().collect();
    let sent = Sent {
        records: &records,
        beside: &nonces,
    };
    let output = rig.finish_beside(context, report, sent)?.output;

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
            due_between(&records, start, storm.first),
            due_between(&records, storm.first, storm.end),
        ],
    );
    judge_usage(context, report, before, after);
    if let Some(visits) = &visits {
        exchanged::judge(context, report, visits);
    }
    Ok(())
}

/// The balancer, and what is exchanged beside routes and weights, if it has such things.
fn rig(context: &Context) -> Result<(Rig, Option<Exchanged>)> {
    let mut exchanged = None;
    let rig = context.rig_with(&[Setting::Variant(0)], &THREE, |folder| {
        if context.peer.has_listeners() {
            exchanged = Some(Exchanged::new(folder)?);
        }
        let listeners = exchanged.as_ref().map(|exchanged| exchanged.listeners(0));
        Ok(Extras {
            listeners: listeners.unwrap_or_default(),
            ..Extras::default()
        })
    })?;
    Ok((rig, exchanged))
}

/// Loads one config after the other, each when the one before was loaded or refused: a signal that comes earlier would be one
/// with that of before, and the config of before never read. Ends when there is no answer, which the goal of the configs
/// shows. Returns how many, and how many of them were invalid.
fn reload_often(
    context: &Context,
    rig: &mut Rig,
    exchanged: Option<&Exchanged>,
    storm: Storm,
) -> Result<(u64, u64)> {
    let backends = rig.fleet.addresses();
    let limit = context.slackened(ANSWER).min(ANSWER_AT_MOST);
    let (mut number, mut invalid, mut next) = (0, 0, storm.first);
    while next < storm.end {
        sleep_until(next);
        number += 1;
        let mut settings = vec![Setting::Variant(number)];
        if number % INVALID == 0 {
            settings.push(Setting::Invalid);
            invalid += 1;
        }
        let listeners = exchanged.map(|exchanged| exchanged.listeners(number));
        let listeners = listeners.unwrap_or_default();
        let peer = context.peer.as_ref();
        let written = rig.balancer.written();
        rig.balancer.reload_with(peer, &backends, &settings, listeners)?;
        let answers = [Notice::Reloaded, Notice::ReloadFailed];
        if !rig.balancer.says(peer, &answers, written, limit) {
            break;
        }
        next = (next + clock::micros(PERIOD)).max(clock::now());
    }
    Ok((number, invalid))
}

fn judge_latency(context: &Context, report: &mut Report, [before, during]: [Vec<Record>; 2]) {
    let p99 = |records: &[Record]| goals::p99(records, Method::Get);
    let (base, with) = (p99(&before), p99(&during));
    report.seen.compared = Some((base, with));
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
