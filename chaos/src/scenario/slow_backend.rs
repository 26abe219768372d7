//! One backend is much slower than the others: a strategy that measures latency keeps away from it.

use super::{Context, due_between, goals};
use crate::client::{Method, Record};
use crate::clock;
use crate::error::Result;
use crate::peer::Setting;
use crate::report::{Report, quantile};

const FAST: &[&str] = &["--delay-ms", "5"];
const SLOW: &[&str] = &["--delay-ms", "100"];
/// Part of a run, in percent, in which latencies are still being learnt.
const SETTLING: u64 = 20;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let without = measure(context, report, "two fast backends", &[FAST, FAST])?;
    let with = measure(context, report, "with a slow one", &[FAST, SLOW, FAST])?;
    let base = goals::p99(&without, Method::Get);
    report.at_most(
        "p99 of GETs, in µs",
        goals::p99(&with, Method::Get),
        context.limit(base, 150),
    );
    let all = [without, with].concat();
    goals::no_failed_get(report, &all);
    report.at_most("failed POSTs", goals::failed(&all, Method::Post), 0);
    Ok(())
}

fn measure(context: &Context, report: &mut Report, name: &str, flags: &[&[&str]]) -> Result<Vec<Record>> {
    let mut rig = context.rig(&[Setting::FastestFirst], flags)?;
    let duration = context.part(50);
    let load = context.load(&rig, duration).start()?;
    let start = load.start;
    let records = load.finish()?;
    rig.finish(context, report, &records)?;
    let settled = start + clock::micros(duration) * SETTLING / 100;
    let records = due_between(&records, settled, u64::MAX);
    report.table(name, &records, start);
    if flags.len() == 3 {
        let slow = records.iter().filter(|record| record.backend == Some(1)).count();
        // A third would be its share.
        let most = records.len() as u64 / 10;
        report.at_most("responses of the slow backend", slow as u64, most);
        let latencies: Vec<u64> = records.iter().map(Record::latency).collect();
        report.fact("p95 in µs", quantile(&latencies, 950));
    }
    Ok(records)
}
