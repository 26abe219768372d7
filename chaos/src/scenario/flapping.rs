//! A backend that fails every other moment.

use super::{Context, Outcome, THREE, goals};
use crate::client::Method;
use crate::error::Result;
use crate::report::Report;

/// `healthy_after` and `unhealthy_after` together, by default: probes for one change of state.
const PROBES: usize = 5;
/// Changes while the first probes are made.
const AT_START: usize = 2;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let flapping: &[&str] = &["--delay-ms", "3", "--flap-ms", "300"];
    let mut rig = context.rig(&[], &[flapping, THREE[1], THREE[2]])?;
    let load = context.load(&rig, context.duration).start()?;
    let start = load.start;
    let records = load.finish()?;
    let Outcome { output, log } = rig.finish(context, report, &records)?;

    report.table("requests", &records, start);
    goals::no_failed_get(report, &records);
    report.at_most("failed POSTs", goals::failed(&records, Method::Post), 0);
    let probes = log.probes(0);
    report.fact("probes of the flapping backend", probes);
    let backend = rig.fleet.addresses().first().copied();
    let changes = backend.and_then(|backend| context.peer.state_changes(&output, backend));
    if let Some(changes) = changes {
        let most = probes / PROBES + AT_START;
        report.at_most(
            "changes of its state",
            goals::number(changes),
            goals::number(most),
        );
    }
    Ok(())
}
