//! Goals that several scenarios share.

use std::collections::{HashMap, HashSet};

use super::{Context, Sent};
use crate::client::{LongLivedOutcome, Method, Record};
use crate::executions::Executions;
use crate::report::{Report, quantile};

/// How far apart two processes may see the same event, in microseconds, on a busy machine.
pub(super) const APART: u64 = 50_000;

/// No idempotent request failed.
pub(super) fn no_failed_get(report: &mut Report, records: &[Record]) {
    let (failed, count) = (failed(records, Method::Get), count(records, Method::Get));
    // The rule of three: what 95% of runs without a failure among `count` requests allow.
    let permillion = 3_000_000_u64.checked_div(count).unwrap_or_default();
    let figure = match failed {
        0 => format!("0 of {count} (95%: fewer than {permillion} in a million)"),
        _ => format!("{failed} of {count}"),
    };
    report.goal("failed idempotent requests", figure, failed == 0 && count > 0);
}

/// No request failed at all.
pub(super) fn no_failed_request(report: &mut Report, records: &[Record]) {
    let failed = records.iter().filter(|record| !record.is_ok()).count();
    let count = records.len();
    report.goal(
        "failed requests",
        format!("{failed} of {count}"),
        failed == 0 && count > 0,
    );
}

/// No WebSocket and no download ended before its time.
pub(super) fn nothing_cut(report: &mut Report, beside: &LongLivedOutcome) {
    report.seen.add_long_lived(beside);
    let LongLivedOutcome {
        messages,
        cut_websockets,
        downloads,
        cut_downloads,
        nonces: _,
    } = beside;
    report.fact(
        "messages of WebSockets, downloads",
        format!("{messages} and {downloads}"),
    );
    for (name, cut) in [
        ("cut WebSockets", cut_websockets),
        ("cut downloads", cut_downloads),
    ] {
        let reasons = cut.iter().take(3).map(|reason| format!("; {reason}"));
        let figure = format!("{}{}", cut.len(), reasons.collect::<String>());
        report.goal(name, figure, cut.is_empty());
    }
    report.goal("downloads", downloads, *downloads > 0);
}

/// No POST was executed twice, and no response came without an execution.
pub(super) fn executed_once(report: &mut Report, records: &[Record], log: &Executions) {
    let posts = records.iter().filter(|record| record.method == Method::Post);
    let twice = posts.filter(|record| log.count(record.nonce) > 1).count();
    report.at_most("POSTs executed twice", number(twice), 0);
    let succeeded = records.iter().filter(|record| record.is_ok());
    let never = succeeded.filter(|record| log.count(record.nonce) == 0).count();
    report.at_most("responses to requests that no backend executed", number(never), 0);
}

/// The access log has one line for each response that a client got, with the same status, and none for anything else that
/// was not sent.
pub(super) fn log_is_true(report: &mut Report, sent: Sent<'_>, logged: &[(u64, u16)]) {
    let mut lines: HashMap<u64, Vec<u16>> = HashMap::new();
    for (nonce, status) in logged {
        lines.entry(*nonce).or_default().push(*status);
    }
    let received = sent.records.iter().filter(|record| record.status > 0);
    let wrong = received.filter(|record| lines.get(&record.nonce) != Some(&vec![record.status]));
    report.at_most(
        "responses without their line in the access log, or with several",
        number(wrong.count()),
        0,
    );
    let known = sent.records.iter().map(|record| record.nonce);
    let known: HashSet<u64> = known.chain(sent.beside.iter().copied()).collect();
    let unknown = lines.keys().filter(|nonce| !known.contains(nonce));
    report.at_most(
        "lines in the access log of requests that nobody sent",
        number(unknown.count()),
        0,
    );
}

/// Few connections that the balancer had accepted were not served: when it stops to listen, the kernel may have established
/// one that it cannot accept any more. On a machine that does nothing else, none.
pub(super) fn not_cut(context: &Context, report: &mut Report, name: &str, cut: &[String]) {
    let reason = cut.first().map(|reason| format!("; {reason}"));
    let most = context.slack - 1;
    report.goal(
        name,
        format!("{}, at most {most}{}", cut.len(), reason.unwrap_or_default()),
        number(cut.len()) <= most,
    );
}

/// How many requests with this method failed.
pub(super) fn failed(records: &[Record], method: Method) -> u64 {
    let failed = records
        .iter()
        .filter(|record| record.method == method && !record.is_ok());
    number(failed.count())
}

/// How many requests have this method.
pub(super) fn count(records: &[Record], method: Method) -> u64 {
    number(records.iter().filter(|record| record.method == method).count())
}

/// The latency that 99% of the requests with this method did not exceed.
pub(super) fn p99(records: &[Record], method: Method) -> u64 {
    let of = records.iter().filter(|record| record.method == method);
    let latencies: Vec<u64> = of.map(Record::latency).collect();
    quantile(&latencies, 990)
}

/// A count as reports have it.
pub(super) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
