//! Responses that end in the middle: the client must see that, and the next response must be right.

use std::collections::HashSet;

use super::{Context, THREE, goals};
use crate::backend::{Cut, CutEnd, CutPlace};
use crate::client::{Class, Method, Record, Request};
use crate::error::Result;
use crate::peer::Setting;
use crate::report::Report;
use crate::rng::Rng;

/// Backends over HTTP/2: the delay makes sure that a connection has several streams.
const THREE_OVER_HTTP2: [&[&str]; 3] = [&["--http2", "--delay-ms", "3"]; 3];

/// Of 1,000 responses, those that are cut over HTTP/2. Most of them take other requests with them, whose retries cost tokens: with
/// many more, some request would find its connection cut at every backend.
const CUT_OVER_HTTP2: u64 = 40;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    run_with(context, report, (&[], &THREE), request)
}

/// The same with backends that speak HTTP/2, where a connection has other responses under way.
pub(super) fn run_over_http2(context: &Context, report: &mut Report) -> Result<()> {
    let backends: Backends<'_> = (&[Setting::Http2Backends], &THREE_OVER_HTTP2);
    run_with(context, report, backends, request_over_http2)
}

/// Settings of the balancer, and flags of each backend.
type Backends<'a> = (&'a [Setting], &'a [&'a [&'a str]]);

fn run_with(
    context: &Context,
    report: &mut Report,
    (settings, flags): Backends<'_>,
    make: fn(&mut Rng) -> Request,
) -> Result<()> {
    let mut rig = context.rig(settings, flags)?;
    let load = context
        .load(&rig, context.duration)
        .make(move |_, rng| make(rng))
        .start()?;
    let start = load.start;
    let records = load.finish()?;
    let log = rig.finish(context, report, &records)?.log;

    let (cut, others): (Vec<Record>, Vec<Record>) = records.into_iter().partition(|record| record.is_cut);
    let severed: HashSet<u64> = log.severed();
    let (beside, whole): (Vec<Record>, Vec<Record>) = others
        .into_iter()
        .partition(|record| severed.contains(&record.nonce));
    judge(report, start, [&cut, &beside, &whole]);
    Ok(())
}

/// `beside`: other responses that had begun on a connection that was cut.
fn judge(report: &mut Report, start: u64, [cut, beside, whole]: [&[Record]; 3]) {
    report.table("cut", cut, start);
    if !beside.is_empty() {
        report.table("under way on a connection that was cut", beside, start);
    }
    report.table("whole, in between", whole, start);
    // A response that is complete for the client is one that no backend has sent.
    let silent = cut
        .iter()
        .filter(|record| record.is_ok() || is_wrong(record))
        .count();
    report.at_most(
        "cut responses that the client took for whole",
        goals::number(silent),
        0,
    );
    // No protocol of clients may be left out by chance.
    for class in Class::ALL {
        let number = cut.iter().filter(|record| record.class == class).count();
        report.goal(
            format!("cut responses, {}", class.name()),
            format!("{number}, at least 1"),
            number > 0,
        );
    }
    let wrong = whole
        .iter()
        .chain(beside)
        .filter(|record| is_wrong(record))
        .count();
    report.at_most("wrong responses to other requests", goals::number(wrong), 0);
    report.at_most(
        "failed idempotent requests whose response was not cut",
        goals::failed(whole, Method::Get),
        0,
    );
}

/// Half of the responses are to be cut; the others show whether their connections are still in order.
fn request(rng: &mut Rng) -> Request {
    let mut request = any(rng);
    if rng.chance(500) {
        let place = match rng.below(4) {
            0 => CutPlace::Head,
            1 => CutPlace::SizeLine,
            2 => CutPlace::Body,
            _ => CutPlace::LastChunk,
        };
        request.behaviour.cut = Some(cut_at(place, rng));
    }
    request
}

/// The same over HTTP/2.
fn request_over_http2(rng: &mut Rng) -> Request {
    let mut request = any(rng);
    if rng.chance(CUT_OVER_HTTP2) {
        let place = match rng.below(7) {
            0 => CutPlace::Head,
            1 => CutPlace::FrameHead,
            2 => CutPlace::Continuation,
            3 => CutPlace::Body,
            4 => CutPlace::LastChunk,
            5 => CutPlace::Stream,
            _ => CutPlace::Goaway,
        };
        request.behaviour.cut = Some(cut_at(place, rng));
    }
    request
}

fn cut_at(place: CutPlace, rng: &mut Rng) -> Cut {
    Cut {
        place,
        permille: rng.below(1_000),
        end: if rng.chance(500) {
            CutEnd::Reset
        } else {
            CutEnd::Fin
        },
    }
}

fn any(rng: &mut Rng) -> Request {
    let class = match rng.below(3) {
        0 => Class::KeepAlive,
        1 => Class::NewConnection,
        _ => Class::Http2,
    };
    let method = if rng.chance(100) {
        Method::Post
    } else {
        Method::Get
    };
    let mut request = Request::new(class, method);
    request.behaviour.is_chunked = rng.chance(500);
    request.behaviour.size = usize::try_from(rng.below(20_000)).unwrap_or_default();
    request
}

/// Whether a response was taken for whole and is not what the backend has sent.
fn is_wrong(record: &Record) -> bool {
    use crate::client::Failure::{WrongBody, WrongHash, WrongNonce};
    matches!(record.failure, Some(WrongBody | WrongHash | WrongNonce))
}
