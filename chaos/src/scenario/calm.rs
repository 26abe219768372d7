//! Nothing happens: the latencies of the rig itself, which those of the other scenarios are compared with.

use super::{Context, THREE, goals};
use crate::client::Method;
use crate::error::Result;
use crate::report::Report;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let mut rig = context.rig(&[], &THREE)?;
    let load = context.load(&rig, context.duration).start()?;
    let start = load.start;
    let records = load.finish()?;
    rig.finish(context, report, &records)?;
    report.table("requests", &records, start);
    goals::no_failed_get(report, &records);
    report.at_most("failed POSTs", goals::failed(&records, Method::Post), 0);
    Ok(())
}
