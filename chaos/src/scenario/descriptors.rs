//! More clients connect and stay than the balancer may have descriptors for.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::{Context, Rig, Sent, THREE, goals, sleep_until};
use crate::client::{Crowd, Record, Regulars, fetch, visit};
use crate::clock;
use crate::error::Result;
use crate::executions::{Entry, Event};
use crate::peer::{Extras, Notice, Setting};
use crate::report::{Report, millis};

/// The limit of open files.
const DESCRIPTORS: u64 = 512;
const LIMIT: &str = "ulimit -n 512 && exec \"$0\" \"$@\"";
/// Clients that connect and send nothing.
const CROWD: usize = 2_000;
/// Clients that were there before, and go on.
const REGULARS: u64 = 20;
/// Longest wait until all have connected, or been refused.
const ARRIVAL: Duration = Duration::from_secs(20);
/// What is left of the arrival then.
const SETTLING: Duration = Duration::from_secs(1);
/// The share of a part in which nothing happens yet, in percent.
const QUIET: u32 = 10;
/// The share of it in which the balancer is full, in percent.
const FULL: u32 = 30;
/// Time between two health checks.
const CHECKS: Duration = Duration::from_millis(500);
/// Time on a processor while it is full, beyond that of the same requests before, in 1,000 of one.
const MOST_PERMILLE: u64 = 50;
/// Longest response of the admin API, in microseconds.
const ADMIN: u64 = 1_000_000;
/// Longest time from when the clients leave until a new one is served.
const RECOVERY: u64 = 1_000_000;

/// The time on a processor that the balancer takes from a moment on.
struct Busy {
    from: u64,
    processor: u64,
}

impl Busy {
    fn begin(rig: &Rig) -> Result<Self> {
        Ok(Self {
            from: clock::now(),
            processor: rig.balancer.processor_time()?,
        })
    }

    /// Its share so far, in 1,000 of one processor.
    fn permille(&self, rig: &Rig) -> Result<u64> {
        let processor = rig.balancer.processor_time()? - self.processor;
        Ok(processor * 1_000 / (clock::now() - self.from).max(1))
    }
}

/// What was seen while the balancer was full.
struct Full {
    /// When it began and ended.
    from: u64,
    to: u64,
    /// The time on a processor, in 1,000 of one.
    processor: u64,
    /// Lines about it.
    lines: u64,
    /// The slowest response of the admin API, or why there was none.
    admin: Result<u64>,
}

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    // So many in the second part that descriptors run out before.
    for (name, connections) in [("most connections", None), ("descriptors", Some(100_000))] {
        match part(context, report, name, connections) {
            Err(error) if error.is_not_offered() => report.fact(name, format!("not offered: {error}")),
            outcome => outcome?,
        }
    }
    Ok(())
}

fn part(context: &Context, report: &mut Report, name: &str, connections: Option<u64>) -> Result<()> {
    let mut settings = vec![
        Setting::Admin,
        Setting::CheckInterval(CHECKS),
        Setting::Descriptors(DESCRIPTORS),
    ];
    settings.extend(connections.map(Setting::Connections));
    let mut rig = context.rig_with(&settings, &THREE, |_| {
        Ok(Extras {
            wrapper: ["sh", "-c", LIMIT].map(str::to_owned).to_vec(),
            ..Extras::default()
        })
    })?;
    let address = rig.balancer.address;
    let interval = Duration::from_secs(REGULARS) / u32::try_from(context.rate.max(1)).unwrap_or(1);
    let count = usize::try_from(REGULARS).unwrap_or_default();
    let seed = context.seed.wrapping_add(connections.unwrap_or_default());
    let regulars = Regulars::start(address, count, interval, seed)?;
    let start = clock::now();
    thread::sleep(interval);
    let busy = Busy::begin(&rig)?;
    thread::sleep(context.part(QUIET));
    let before = busy.permille(&rig)?;
    let crowd = arrive(context, address)?;
    let full = watch(context, &rig);
    let (arrived, closed) = crowd.counts();
    let nonce = !seed;
    let left = clock::now();
    crowd.leave()?;
    let served = visit(address, nonce);
    let recovered = clock::now() - left;
    let records = regulars.finish()?;
    let has_ended = rig.balancer.ended().is_some();
    let sent = Sent {
        records: &records,
        beside: &[nonce],
    };
    let log = if has_ended {
        let output = rig.balancer.output();
        rig.judge(context, report, sent, output).log
    } else {
        rig.finish_beside(context, report, sent)?.log
    };

    report.fact(
        format!("{name}: clients that came, and were closed"),
        format!("{arrived} of {CROWD}, {closed}"),
    );
    report.table(format!("{name}: on earlier connections"), &records, start);
    report.goal(format!("{name}: the process goes on"), !has_ended, !has_ended);
    judge_earlier(context, report, name, &records);
    // Nothing can be asked of a process that is gone.
    if let Some(full) = full
        .map(Some)
        .or_else(|error| has_ended.then_some(None).ok_or(error))?
    {
        judge_full(context, report, name, &full, before);
        judge_checks(context, report, name, &full, log.entries());
    }
    let limit = RECOVERY * context.slack;
    report.goal(
        format!("{name}: a new client is served after the others have left"),
        match &served {
            Ok(()) => format!("{} ms, at most {} ms", millis(recovered), millis(limit)),
            Err(error) => error.to_string(),
        },
        served.is_ok() && recovered <= limit,
    );
    Ok(())
}

/// Those who were there before go on.
fn judge_earlier(context: &Context, report: &mut Report, name: &str, records: &[Record]) {
    let failed = records.iter().filter(|record| !record.is_ok()).count();
    // On a machine that does other work, a request may need a further connection to a backend, for which there is none.
    let most = context.slack - 1;
    report.goal(
        format!("{name}: failed requests on earlier connections"),
        format!("{failed} of {}, at most {most}", records.len()),
        goals::number(failed) <= most,
    );
}

/// The crowd, when all of it have connected.
fn arrive(context: &Context, address: SocketAddr) -> Result<Crowd> {
    let crowd = Crowd::start(address, CROWD)?;
    let deadline = clock::now() + clock::micros(context.slackened(ARRIVAL));
    while crowd.counts().0 < goals::number(CROWD) && clock::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(SETTLING);
    Ok(crowd)
}

/// Looks at the balancer while it is full.
fn watch(context: &Context, rig: &Rig) -> Result<Full> {
    let peer = context.peer.as_ref();
    let admin = rig.balancer.admin(peer)?;
    let lines = || {
        let lines = peer.notices(&rig.balancer.output(), Notice::NoRoom);
        goals::number(lines.unwrap_or_default())
    };
    let (busy, before) = (Busy::begin(rig)?, lines());
    let from = busy.from;
    let to = from + clock::micros(context.part(FULL));
    let mut slowest = Ok(0);
    while clock::now() < to {
        let asked = clock::now();
        let mut paths = peer.admin_paths().iter();
        let outcome = paths.try_for_each(|path| fetch(admin, path).map(drop));
        let took = clock::now() - asked;
        slowest = slowest.and_then(|slowest: u64| outcome.map(|()| slowest.max(took)));
        sleep_until((asked + 1_000_000).min(to));
    }
    Ok(Full {
        from,
        to: clock::now(),
        processor: busy.permille(rig)?,
        lines: lines() - before,
        admin: slowest,
    })
}

/// Judges how it was while full; `before` is the time on a processor that the same requests took before.
fn judge_full(context: &Context, report: &mut Report, name: &str, full: &Full, before: u64) {
    let length = (full.to - full.from).max(1);
    let (more, most) = (
        full.processor.saturating_sub(before),
        MOST_PERMILLE * context.slack,
    );
    report.goal(
        format!("{name}: time on a processor while full beyond that of before, in 1,000 of one"),
        format!("{more} beyond {before}, at most {most}"),
        more <= most,
    );
    let most = length / 1_000_000 + 1;
    report.goal(
        format!("{name}: lines about it while full"),
        format!("{} in {} ms, at most {most}", full.lines, millis(length)),
        full.lines <= most,
    );
    let (slowest, limit) = (
        format!("{name}: slowest response of the admin API, in µs"),
        ADMIN * context.slack,
    );
    match &full.admin {
        Ok(took) => report.at_most(&slowest, *took, limit),
        Err(error) => report.goal(slowest, format!("{error}, at most {limit}"), false),
    }
}

/// Judges whether health checks went on meanwhile.
fn judge_checks(context: &Context, report: &mut Report, name: &str, full: &Full, entries: &[Entry]) {
    if !context.peer.has_checks() {
        report.fact(
            format!("{name}: health checks"),
            "not offered: it has passive ones only",
        );
        return;
    }
    let probes = entries
        .iter()
        .filter(|entry| entry.event == Event::Probed && (full.from..full.to).contains(&entry.time));
    let probes = goals::number(probes.count());
    // Half of those that are due, of three backends.
    let least = 3 * (full.to - full.from) / clock::micros(CHECKS) / 2 / context.slack;
    report.goal(
        format!("{name}: health checks"),
        format!("{probes}, at least {}", least.max(1)),
        probes >= least.max(1),
    );
}
