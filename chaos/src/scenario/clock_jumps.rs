//! The wall clock jumps: timeouts, and the durations in the log, must not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Context, Outcome, THREE, goals, sleep_until};
use crate::client::{Class, Method, Record, Request, mix};
use crate::clock;
use crate::error::{Error, Explain, Result};
use crate::peer::{Extras, Setting};
use crate::report::{Report, millis};

/// Folders with libraries.
const FOLDERS: [&str; 3] = ["/usr/lib", "/usr/local/lib", "/usr/lib64"];
/// The library for programs with several threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// The library with the allocator that is used: another one may ask for the time before the first library is ready.
const ALLOCATOR: &str = "libc.so.6";
/// Longest wait for the first byte of a response, and at most on a machine that does other work, where a backend may take long.
const FIRST_BYTE: Duration = Duration::from_secs(1);
const FIRST_BYTE_AT_MOST: Duration = Duration::from_secs(5);
/// One request of so many gets no response.
const HELD: u64 = 20;
/// What the balancer responds when its backend does not.
const GATEWAY_TIMEOUT: u16 = 504;
/// Large jumps, in seconds from the true time, each for a tenth of the run.
const JUMPS: [i64; 4] = [3_600, -3_600, 86_400, -86_400];
/// The small ones that follow, one a second.
const STEP: i64 = 30;
const EACH: u64 = 1_000_000;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let Some(library) = library() else {
        report.skip(
            "libfaketime is not installed, which makes the clock jump: `apt-get install libfaketime` installs it",
        );
        return Ok(());
    };
    if let Some(why) = context.peer.real_clock() {
        return Err(Error::not_offered(why));
    }
    let mut control = PathBuf::new();
    let first_byte = context.slackened(FIRST_BYTE).min(FIRST_BYTE_AT_MOST);
    let settings = [Setting::FirstByte(first_byte), Setting::OneAttempt];
    let root = context.peer.root();
    let mut rig = context.rig_with(&settings, &THREE, |folder| {
        control = folder.join("clock");
        set(&control, 0)?;
        let mut library = library.clone();
        if root.is_some() {
            // What is outside of its root cannot be loaded.
            let copy = folder.join("libfaketime");
            fs::copy(&library, &copy).explain("cannot copy libfaketime")?;
            library = copy;
        }
        let seen = |path: &Path| within(root, path).display().to_string();
        Ok(Extras {
            environment: environment(&seen(&library), &seen(&control)),
            ..Extras::default()
        })
    })?;
    let load = context.load(&rig, context.duration);
    let load = load.make(request).start()?;
    let start = load.start;
    let jumps = jump(context, start, &control)?;
    let records = load.finish()?;
    let Outcome { output, .. } = rig.finish(context, report, &records)?;

    report.fact("jumps of the clock", jumps);
    let (held, others): (Vec<Record>, Vec<Record>) =
        records.iter().cloned().partition(|record| record.is_held);
    report.table("requests", &others, start);
    goals::no_failed_request(report, &others);
    judge_timeouts(context, report, &held, clock::micros(first_byte));
    if let Some(negative) = context.peer.negative_durations(&output) {
        report.at_most("negative durations in the access log", goals::number(negative), 0);
    }
    if let Some(days) = context.peer.days(&output) {
        report.goal("days in the access log", format!("{days}, at least 3"), days >= 3);
    }
    Ok(())
}

/// The library, where Debian and others have it.
fn library() -> Option<PathBuf> {
    let inside = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    FOLDERS.iter().map(Path::new).find_map(|folder| {
        let folders = inside(folder).map(|entry| entry.path());
        let mut paths = folders
            .chain([folder.to_owned()])
            .map(|folder| folder.join(LIBRARY));
        paths.find(|path| path.exists())
    })
}

fn environment(library: &str, control: &str) -> Vec<(&'static str, String)> {
    let preloaded = format!("{library}:{ALLOCATOR}");
    let variables = [
        ("LD_PRELOAD", preloaded.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", control),
        ("FAKETIME_NO_CACHE", "1"),
        // A wall clock that jumps is no reason for the monotonic one to jump.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    variables.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// A path as a program in this root sees it.
fn within(root: Option<&Path>, path: &Path) -> PathBuf {
    let rest = root.and_then(|root| path.strip_prefix(root).ok());
    rest.map_or_else(|| path.to_owned(), |rest| Path::new("/").join(rest))
}

/// Sets the clock of the balancer to this many seconds after the true time.
fn set(control: &Path, seconds: i64) -> Result<()> {
    let next = control.with_extension("next");
    fs::write(&next, format!("{seconds:+}\n")).explain("cannot write the clock")?;
    fs::rename(next, control).explain("cannot set the clock")
}

/// Lets the clock jump until the run is over. Returns how often.
fn jump(context: &Context, start: u64, control: &Path) -> Result<u64> {
    let tenth = clock::micros(context.duration) / 10;
    let mut jumps = 0;
    for (number, seconds) in (1..).zip(JUMPS) {
        sleep_until(start + number * tenth);
        set(control, seconds)?;
        jumps += 1;
    }
    let (mut next, end) = (start + 5 * tenth, start + 10 * tenth);
    let mut seconds = 0;
    while next < end {
        sleep_until(next);
        // Forward first, and back in the second half.
        seconds += if next < start + 15 * tenth / 2 {
            STEP
        } else {
            -STEP
        };
        set(control, seconds)?;
        jumps += 1;
        next += EACH;
    }
    sleep_until(end);
    Ok(jumps)
}

fn request(number: u64, rng: &mut crate::rng::Rng) -> Request {
    if !number.is_multiple_of(HELD) {
        return mix(rng);
    }
    let mut request = Request::new(Class::KeepAlive, Method::Post);
    request.behaviour.is_hanging = true;
    request
}

/// Requests without a response end after the timeout, not earlier and not later.
fn judge_timeouts(context: &Context, report: &mut Report, held: &[Record], limit: u64) {
    let other = held.iter().filter(|record| record.status != GATEWAY_TIMEOUT);
    report.at_most(
        "requests without a response that got none in time, or another than 504",
        goals::number(other.count()),
        0,
    );
    let took = held.iter().map(|record| record.ended - record.sent);
    let (shortest, longest) = (
        took.clone().min().unwrap_or_default(),
        took.max().unwrap_or_default(),
    );
    // A client that is late sees the end of a wait late, and never early.
    let (least, most) = (limit * 9 / 10, limit + limit / 10 * context.slack);
    report.goal(
        "timeouts",
        format!(
            "{} of {} ms after {} to {} ms, from {} to {} ms",
            held.len(),
            millis(limit),
            millis(shortest),
            millis(longest),
            millis(least),
            millis(most)
        ),
        shortest >= least && longest <= most && !held.is_empty(),
    );
}
