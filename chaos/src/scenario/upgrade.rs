//! Upgrades of the running program under load, some of them to a program that fails.

use std::time::Duration;

use super::{Context, Sent, THREE, goals, sleep_until};
use crate::client::{LongLivedCounts, Prober};
use crate::clock;
use crate::error::Result;
use crate::peer::{Notice, Program, Setting};
use crate::report::Report;

/// Time from one upgrade to the next.
const PERIOD: Duration = Duration::from_millis(2_500);
/// How long a new program may take to get ready.
const LIMIT: Duration = Duration::from_millis(1_500);
/// How long this waits for the process that serves then. One that gets ready probes the backends first.
const WAIT: Duration = Duration::from_secs(2);
/// What runs alongside.
const BESIDE: LongLivedCounts = LongLivedCounts {
    websockets: 0,
    downloads: 20,
    http2: 0,
};
/// Time before the first upgrade, and after the last one: longer than a download.
const REST: Duration = Duration::from_secs(4);

/// A way to fail.
struct Fault {
    /// The program; without one, the config has a mistake.
    program: Option<Program>,
}

/// The ways to fail, one of which follows four upgrades that succeed.
const FAILING: [Fault; 4] = [
    Fault {
        program: Some(Program::Exits),
    },
    Fault {
        program: Some(Program::Hangs),
    },
    Fault {
        program: Some(Program::Aborts),
    },
    Fault { program: None },
];

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let settings = [Setting::UpgradeLimit(LIMIT)];
    let mut rig = context.rig(&settings, &THREE)?;
    let backends = rig.fleet.addresses();
    let peer = context.peer.as_ref();
    let beside = rig.long_lived(BESIDE)?;
    let prober = Prober::start(rig.balancer.address)?;
    let load = context.load(&rig, context.duration).start()?;
    let end = load.start + clock::micros(context.duration.saturating_sub(REST));
    let mut next = load.start + clock::micros(REST.min(context.part(20)));
    let mut faults = FAILING.iter().cycle();
    let (mut tried, mut failing, mut wrong) = (0_usize, 0_usize, 0_usize);
    while next < end {
        sleep_until(next);
        tried += 1;
        let fault = if tried.is_multiple_of(5) {
            faults.next()
        } else {
            None
        };
        let program = fault.and_then(|fault| fault.program);
        peer.install(rig.folder.path(), program.unwrap_or(Program::Whole))?;
        let invalid: &[Setting] = &[Setting::UpgradeLimit(LIMIT), Setting::Invalid];
        let is_invalid = fault.is_some_and(|fault| fault.program.is_none());
        let config = if is_invalid { invalid } else { &settings };
        rig.balancer.write_config(peer, &backends, config)?;
        let is_replaced = rig.balancer.upgrade(peer, context.slackened(WAIT))?;
        failing += usize::from(fault.is_some());
        wrong += usize::from(is_replaced == fault.is_some());
        next = (next + clock::micros(PERIOD)).max(clock::now());
    }
    let beside = beside.finish()?;
    let start = load.start;
    let records = load.finish()?;
    let probes = prober.finish()?;
    let sent = Sent {
        records: &records,
        beside: &beside.nonces,
    };
    let output = rig.finish_beside(context, report, sent)?.output;

    report.fact(
        "upgrades",
        format!("{tried}, {failing} of them to something that fails"),
    );
    let notices = |notice| context.peer.notices(&output, notice);
    if let (Some(done), Some(failed)) = (notices(Notice::Upgraded), notices(Notice::UpgradeFailed)) {
        report.goal(
            "upgrades done, and refused",
            format!("{done} and {failed}"),
            done == tried - failing && failed == failing,
        );
    }
    report.at_most(
        "upgrades with another outcome than expected",
        goals::number(wrong),
        0,
    );
    report.table("requests", &records, start);
    goals::no_failed_request(report, &records);
    goals::nothing_cut(report, &beside);
    let figure = format!("{} of {}", probes.refused, probes.connected + probes.refused);
    report.goal(
        "refused connects",
        figure,
        probes.refused == 0 && probes.connected > 0,
    );
    Ok(())
}
