//! Responses that end in the middle: the client must see that, and the next response must be right.

use super::{Context, THREE, goals};
use crate::backend::{Cut, CutEnd, CutPlace};
use crate::client::{Class, Method, Record, Request};
use crate::error::Result;
use crate::report::Report;
use crate::rng::Rng;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let mut rig = context.rig(&[], &THREE)?;
    let load = context
        .load(&rig, context.duration)
        .make(|_, rng| request(rng))
        .start()?;
    let start = load.start;
    let records = load.finish()?;
    rig.finish(context, report, &records)?;

    let (cut, whole): (Vec<Record>, Vec<Record>) = records.iter().cloned().partition(|record| record.is_cut);
    report.table("cut", &cut, start);
    report.table("whole, in between", &whole, start);
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
    let wrong = whole.iter().filter(|record| is_wrong(record)).count();
    report.at_most("wrong responses to other requests", goals::number(wrong), 0);
    report.at_most(
        "failed idempotent requests whose response was not cut",
        goals::failed(&whole, Method::Get),
        0,
    );
    Ok(())
}

/// Half of the responses are to be cut; the others show whether their connections are still in order.
fn request(rng: &mut Rng) -> Request {
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
    if rng.chance(500) {
        request.behaviour.cut = Some(Cut {
            place: match rng.below(4) {
                0 => CutPlace::Head,
                1 => CutPlace::SizeLine,
                2 => CutPlace::Body,
                _ => CutPlace::LastChunk,
            },
            permille: rng.below(1_000),
            end: if rng.chance(500) {
                CutEnd::Reset
            } else {
                CutEnd::Fin
            },
        });
    }
    request
}

/// Whether a response was taken for whole and is not what the backend has sent.
fn is_wrong(record: &Record) -> bool {
    use crate::client::Failure::{WrongBody, WrongHash, WrongNonce};
    matches!(record.failure, Some(WrongBody | WrongHash | WrongNonce))
}
