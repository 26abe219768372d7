//! All backends fail: first they respond 503 to all requests, though not to probes, then they are down, then they
//! recover.

use super::{Context, Outcome, due_between, goals, sleep_until};
use crate::client::{Class, Failure, Method, Record, Request};
use crate::clock;
use crate::error::Result;
use crate::peer::Setting;
use crate::report::{Report, quantile};

/// Time that a local response may take, in microseconds.
const LOCAL: u64 = 5_000;
/// Time from the start of the outage until every backend must be known to be down.
const SETTLED: u64 = 1_000_000;
/// `down_interval` by default, and what a busy machine adds.
const RECOVERY: u64 = 1_000_000 + 250_000;
/// Retries beyond those that requests bring: those saved at the start, and [`PER_SECOND`].
const SAVED: u64 = 100;
/// See [`SAVED`].
const PER_SECOND: u64 = 10;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let failing: [&[&str]; 3] = [&["--error-permille", "1000", "--spare-probes"]; 3];
    let mut rig = context.rig(&[Setting::NoQueue], &failing)?;
    let load = context.load(&rig, context.duration);
    let load = load
        .make(|_, _| Request::new(Class::KeepAlive, Method::Get))
        .start()?;
    let start = load.start;
    let third = clock::micros(context.duration) / 3;
    sleep_until(start + third);
    for backend in 0..rig.fleet.count() {
        rig.fleet.kill(backend)?;
    }
    let down = clock::now();
    sleep_until(start + 2 * third);
    let restarting = clock::now();
    for backend in 0..rig.fleet.count() {
        rig.fleet.restart_with(backend, &[])?;
    }
    let up = clock::now();
    let records = load.finish()?;
    let Outcome { output, log } = rig.finish(context, report, &records)?;

    let parts = [(start, down), (down, up), (up, u64::MAX)].map(|(from, to)| due_between(&records, from, to));
    let [failing, gone, back] = &parts;
    report.table("all respond 503", failing, start);
    report.table("all down", gone, start);
    report.table("recovered", back, start);
    judge_attempts(
        context,
        report,
        (failing, gone),
        &output,
        log.attempts_between(start, down),
    );
    // A request that is due shortly before may be sent when the first backend is up again.
    let allowed = LOCAL * context.slack;
    let local = due_between(gone, down + SETTLED, restarting.saturating_sub(allowed));
    let times: Vec<u64> = local.iter().map(|record| record.ended - record.sent).collect();
    report.at_most(
        "p99 of responses while all are down, in µs",
        quantile(&times, 990),
        allowed,
    );
    let others = local
        .iter()
        .filter(|record| record.failure != Some(Failure::Status(503)))
        .count();
    report.at_most(
        "responses other than 503 while all are down",
        goals::number(others),
        0,
    );
    let first = back
        .iter()
        .filter(|record| record.is_ok())
        .map(|record| record.ended)
        .min();
    let until = first.unwrap_or(u64::MAX).saturating_sub(up);
    report.at_most(
        "first success after recovery, in µs",
        until,
        RECOVERY * context.slack,
    );
    Ok(())
}

fn judge_attempts(
    context: &Context,
    report: &mut Report,
    (failing, gone): (&[Record], &[Record]),
    output: &str,
    executed: usize,
) {
    let third = context.duration.as_secs().div_ceil(3) + 1;
    let most =
        |requests: usize, seconds: u64| goals::number(requests) * 12 / 10 + PER_SECOND * seconds + SAVED;
    report.at_most(
        "attempts while all respond 503",
        goals::number(executed),
        most(failing.len(), third),
    );
    if let Some(attempts) = context.peer.failed_attempts(output) {
        let requests = failing.len() + gone.len();
        report.at_most(
            "attempts of all requests that failed",
            attempts,
            most(requests, 2 * third),
        );
    }
}
