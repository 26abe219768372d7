//! Backends that close idle connections just when the next request comes.

use super::{Context, goals};
use crate::client::{Class, Method, Request};
use crate::error::Result;
use crate::report::Report;

/// Failed POSTs of 1,000, at most.
const PERMILLE: u64 = 1;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let flags: [&[&str]; 3] = [&["--idle-close-us", "5000"]; 3];
    let mut rig = context.rig(&[], &flags)?;
    let load = context.load(&rig, context.duration).make(|_, rng| {
        let method = if rng.chance(500) {
            Method::Post
        } else {
            Method::Get
        };
        let class = if rng.chance(200) {
            Class::Http2
        } else {
            Class::KeepAlive
        };
        Request::new(class, method)
    });
    let load = load.start()?;
    let start = load.start;
    let records = load.finish()?;
    rig.finish(context, report, &records)?;

    report.table("requests", &records, start);
    goals::no_failed_get(report, &records);
    // A machine that does other work notices closed connections later, so that the race is lost more often.
    let most = (goals::count(&records, Method::Post) * PERMILLE * context.slack).div_ceil(1_000);
    report.at_most("failed POSTs", goals::failed(&records, Method::Post), most);
    Ok(())
}
