//! The balancer is told to stop while much is under way: all of it must end as if nothing had happened.

use std::thread;
use std::time::Duration;

use super::{Context, Rig, Sent, THREE, goals};
use crate::client::{Class, Held, HeldOutcome, HeldPlan, LongLivedCounts, Record, Visitor, Visits};
use crate::clock;
use crate::error::{Error, Result};
use crate::executions::Event;
use crate::peer::Setting;
use crate::report::Report;

/// Requests over HTTP/1.1.
const HELD: usize = 500;
/// HTTP/2 connections, and the requests on each.
const HTTP2: usize = 20;
const STREAMS: usize = 5;
/// What runs alongside.
const BESIDE: LongLivedCounts = LongLivedCounts {
    websockets: 20,
    downloads: 20,
    http2: 0,
};
/// The shortest response, and by how much the longest is longer. The shortest is longer on a machine that does other work:
/// all requests are to be under way at the same time.
const SHORTEST: Duration = Duration::from_secs(1);
const SHORTEST_AT_MOST: Duration = Duration::from_secs(5);
const LONGER: Duration = Duration::from_secs(4);
/// `timeouts.drain`, and at most on such a machine.
const DRAIN: Duration = Duration::from_secs(20);
const DRAIN_AT_MOST: Duration = Duration::from_secs(60);
/// Longest wait until all requests have reached a backend.
const BEGIN: Duration = Duration::from_secs(10);
/// Time in which downloads that were about to begin have begun, before the stop.
const BEGINNING: Duration = Duration::from_millis(300);
/// How long WebSockets go on after the stop.
const TALKING: Duration = Duration::from_secs(3);
/// What the stop may take beyond `timeouts.drain`.
const MORE: Duration = Duration::from_secs(1);
/// Longest wait for the end of the process.
const END: Duration = Duration::from_secs(90);
/// The last stream that the first of two GOAWAYs names: all that are on their way (RFC 9113 §6.8).
const ALL_STREAMS: u32 = 0x7fff_ffff;
/// Time that each stop takes, about.
const EACH: u64 = 10;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let stops = (context.duration.as_secs() / EACH).max(1);
    for number in 0..stops {
        stop(context, report, number)?;
    }
    Ok(())
}

fn stop(context: &Context, report: &mut Report, number: u64) -> Result<()> {
    let drain = context.slackened(DRAIN).min(DRAIN_AT_MOST);
    let mut rig = context.rig(&[Setting::Drain(drain)], &THREE)?;
    let address = rig.balancer.address;
    let seed = context.seed.wrapping_add(number);
    let beside = rig.long_lived(BESIDE)?;
    let interval = Duration::from_secs(1) / u32::try_from(context.rate.max(1)).unwrap_or(1);
    let visitor = Visitor::start(address, interval, !seed, None)?;
    let start = clock::now();
    let held = Held::start(HeldPlan {
        address,
        http2_address: rig.balancer.http2.unwrap_or(address),
        http1: HELD,
        http2: HTTP2,
        streams: STREAMS,
        delay: (context.slackened(SHORTEST).min(SHORTEST_AT_MOST), LONGER),
        timeout: END,
        seed,
    })?;
    wait_until_begun(context, &rig, &held)?;
    beside.end_downloads();
    thread::sleep(BEGINNING);
    let stopped = clock::now();
    rig.balancer.drain(context.peer.as_ref(), drain)?;
    thread::sleep(TALKING);
    let beside = beside.finish()?;
    let (ended, status) = rig.balancer.wait(END)?;
    let held = held.finish()?;
    let visits = visitor.finish()?;
    let output = rig.balancer.output();

    let nonces = [&beside.nonces[..], &visits.nonces[..]].concat();
    let sent = Sent {
        records: &held.records,
        beside: &nonces,
    };
    rig.judge(context, report, sent, output);
    report.table("under way", &held.records, start);
    goals::no_failed_request(report, &held.records);
    goals::nothing_cut(report, &beside);
    judge_last_messages(context, report, &held, stopped);
    judge_visits(context, report, &visits);
    let took = Duration::from_micros(ended - stopped);
    let most = drain + context.slackened(MORE);
    report.goal(
        "time until the end of the process",
        format!("{} ms, at most {} ms", took.as_millis(), most.as_millis()),
        took <= most,
    );
    report.goal("exit of the process", status, status.success());
    Ok(())
}

/// Waits until all requests have reached a backend.
fn wait_until_begun(context: &Context, rig: &Rig, held: &Held) -> Result<()> {
    let count = HELD + HTTP2 * STREAMS;
    let deadline = clock::now() + clock::micros(context.slackened(BEGIN));
    loop {
        let over = held.ended();
        let log = rig.fleet.executions();
        let begun = log.entries().iter().filter(|entry| entry.event == Event::Begun);
        let ended = log.entries().iter().filter(|entry| entry.event == Event::Ended);
        // A few may be visits and downloads; the requests in their place have begun before the stop.
        let running = begun.count() - ended.count();
        if running + over >= count {
            return Ok(());
        }
        if clock::now() > deadline {
            return Err(Error::new(format!(
                "only {running} of {count} requests are under way: the machine is too slow for this scenario"
            )));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// What clients were told: that their connection ends.
fn judge_last_messages(context: &Context, report: &mut Report, held: &HeldOutcome, stopped: u64) {
    let later: Vec<&Record> = held
        .records
        .iter()
        .filter(|record| record.ended > stopped + goals::APART)
        .collect();
    let least = goals::number(HELD) / context.slack;
    report.goal(
        "requests under way at the stop",
        format!("{}, at least {least}", later.len()),
        goals::number(later.len()) >= least,
    );
    let kept = later
        .iter()
        .filter(|record| record.class == Class::KeepAlive && record.is_ok() && !record.is_last);
    report.at_most(
        "HTTP/1.1 responses after the stop without `Connection: close`",
        goals::number(kept.count()),
        0,
    );
    let two = held.goaways.iter().filter(|goaways| {
        matches!(goaways[..], [ALL_STREAMS, last] if usize::try_from(last).is_ok_and(|last| last >= 2 * STREAMS - 1))
    });
    let two = two.count();
    let other = held.goaways.iter().find(|goaways| goaways.len() != 2);
    let other = other.map(|goaways| format!("; another had GOAWAYs with the last streams {goaways:?}"));
    report.goal(
        "HTTP/2 connections with two GOAWAYs, all streams and then the last one",
        format!("{two} of {HTTP2}{}", other.unwrap_or_default()),
        two == HTTP2,
    );
}

/// Who connects anew is served before the stop and refused after it.
fn judge_visits(context: &Context, report: &mut Report, visits: &Visits) {
    let Visits {
        served, refused, cut, ..
    } = visits;
    report.goal(
        "new connections served, and refused",
        format!("{served} and {refused}, at least 1 each"),
        *served > 0 && *refused > 0,
    );
    goals::not_cut(context, report, "new connections accepted and not served", cut);
}
