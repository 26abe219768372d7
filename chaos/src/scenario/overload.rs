//! Twice as many requests as the backends can serve.

use std::collections::HashMap;

use super::{Context, due_between, goals};
use crate::client::{Class, Method, Record, Request};
use crate::clock;
use crate::error::{Error, Result};
use crate::executions::{Event, Executions};
use crate::peer::Setting;
use crate::report::Report;

/// Each backend serves so many requests at a time, with [`FLAGS`].
const CONCURRENCY: u64 = 2;
/// 50 ms each: about 40 requests a second. So few leave most of the machine to the balancer.
const FLAGS: &[&str] = &["--concurrency", "2", "--delay-ms", "50"];
/// Part of the overload, in percent, in which limits are still being found.
const SETTLING: u64 = 30;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let mut rig = context.rig(&[Setting::AdaptiveLimit], &[FLAGS; 3])?;
    let get = || |_, _: &mut _| Request::new(Class::KeepAlive, Method::Get);
    // A quarter of what they can serve shows the latency without waiting.
    let mut calm = context.load(&rig, context.part(30));
    // Nonces follow from the seed, and are not to come twice.
    calm.seed = !context.seed;
    calm.rate = (context.rate / 8).max(1);
    let calm = calm.make(get()).run()?;
    let capacity = capacity(&rig.fleet.executions())?;
    let load = context.load(&rig, context.part(70)).make(get()).start()?;
    let start = load.start;
    let records = load.finish()?;
    rig.finish(context, report, &[calm.clone(), records.clone()].concat())?;

    let length = clock::micros(context.part(70));
    let settled = start + length * SETTLING / 100;
    let measured = due_between(&records, settled, u64::MAX);
    report.table("a quarter of the capacity", &calm, start);
    report.table("overload", &measured, start);
    report.fact("capacity, requests a second", capacity);
    report.fact("overload, requests a second", context.rate);
    let succeeded: Vec<Record> = measured.into_iter().filter(Record::is_ok).collect();
    let end = start + length;
    let in_time = succeeded
        .iter()
        .filter(|record| (settled..end).contains(&record.ended))
        .count();
    let goodput = goals::number(in_time) * 1_000_000 / (end - settled).max(1);
    let least = capacity * 9 / 10;
    report.goal(
        "goodput, requests a second",
        format!("{goodput}, at least {least}"),
        goodput >= least,
    );
    let (base, now) = (
        goals::p99(&calm, Method::Get),
        goals::p99(&succeeded, Method::Get),
    );
    report.at_most("p99 of successes, in µs", now, context.limit(base, 300));
    Ok(())
}

/// What three backends can serve a second, by the time that they took for each request.
fn capacity(log: &Executions) -> Result<u64> {
    let mut begun = HashMap::new();
    let (mut total, mut count) = (0, 0);
    for entry in log.entries() {
        match entry.event {
            Event::Begun => {
                begun.insert(entry.nonce, entry.time);
            }
            Event::Ended => {
                total += begun.get(&entry.nonce).map_or(0, |time| entry.time - time);
                count += 1;
            }
            Event::Refused | Event::Probed | Event::Severed => {}
        }
    }
    let each = total.checked_div(count).filter(|each| *each > 0);
    let each = each.ok_or_else(|| Error::new("no request was executed before the overload"))?;
    Ok(3 * CONCURRENCY * 1_000_000 / each)
}
