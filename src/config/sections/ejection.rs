//! `ejection` and `slow_start`: when a backend whose requests fail gets none for a while, and how it gets its share back. Read at top
//! level first; a pool's own keys then replace single values.

use std::time::Duration;

use super::duration::{ANY_DURATION, DAY};
use crate::config::print::{Item, map, word};
use crate::config::reader::{Reader, written};
use crate::config::suggest;
use crate::health::ejection::{Failures, Settings};
use crate::schema::units::show_duration;
use crate::schema::{Form, Key, Kind, Section};

/// The key, at top level and of a pool.
pub(super) const KEY: Key = Key::new(
    "ejection",
    Kind::Section(&EJECTION),
    "When a backend whose requests fail receives none for a while.",
)
.words(&["off"]);

/// `slow_start`, at top level and of a pool.
pub(super) const SLOW_START: Key = Key::new(
    "slow_start",
    Kind::Duration {
        least: Duration::from_secs(1),
        most: DAY,
    },
    "How long a backend takes to get its whole share of requests after it has come back, or was added to a running pool. It begins with a tenth of its weight. Backends that start together with their pool have their whole share at once.",
)
.words(&["off"]);

/// `ejection`.
pub(super) const EJECTION: Section = Section {
    name: "ejection",
    about: "When a backend whose requests fail receives none for a while, whatever its health checks say. At top level, the default for all pools; a pool can override single keys. The last eligible backend is never ejected. `ejection: off` disables it.",
    keys: &[
        Key::new(
            "consecutive",
            Kind::Count { least: 1, most: 1000 },
            "Consecutive failures after which a backend is ejected. Connect failures and timeouts weigh more, because clients wait for them: three fifths of the number are enough, so 3 of them with the default.",
        )
        .default("5"),
        Key::new(
            "failure_ratio",
            PERCENT,
            "The share of failed requests in `window` that ejects a backend, for failures that are mixed with successes.",
        )
        .default("50%"),
        Key::new(
            "window",
            Kind::Duration {
                least: Duration::from_secs(1),
                most: Duration::from_hours(1),
            },
            "The time over which the share of failed requests is computed.",
        )
        .default("10s"),
        Key::new(
            "min_requests",
            Kind::Count {
                least: 1,
                most: 1_000_000,
            },
            "Requests in `window` below which the share is not looked at.",
        )
        .default("20"),
        Key::new(
            "base",
            ANY_DURATION,
            "How long the first ejection lasts. Each further one in a row lasts this much longer; one is forgotten when the backend has been healthy for as long as it lasted. After that, 3 trial requests have to succeed; a health check alone brings no backend back.",
        )
        .default("10s"),
        Key::new("max", ANY_DURATION, "The longest ejection.").default("5m"),
        Key::new(
            "max_ejected",
            PERCENT,
            "The share of the pool's backends that may be ejected at the same time, rounded down; but one of two may be.",
        )
        .default("50%"),
        Key::new(
            "failures",
            Kind::List(&Kind::Choice(&Failures::NAMES)),
            "The failures that count. `reset` is a connection that ended before a response; the end of a reused connection never counts. `5xx` is a response with such a status, except 501 and 505, which are about the request.",
        )
        .default("[connect_failure, reset, timeout, 5xx]"),
    ],
};

const PERCENT: Kind =
    Kind::Text(Form::new("a percentage from 1% to 100%, such as 50%").matching("^([1-9][0-9]?|100)%$"));

/// Reads the key of the top level or of a pool; what it does not have is taken from `base`, which is `None` within where ejection
/// is off.
pub(super) fn read(parent: &Reader<'_>, base: Option<Option<Settings>>) -> Option<Settings> {
    if parent.is_off("ejection") || base == Some(None) && !parent.has("ejection") {
        return None;
    }
    let base = base.flatten();
    let reader = parent.section("ejection", &EJECTION);
    let default = Settings::default();
    let count = |name, base: Option<u32>| {
        let count = reader.count(name, base.map(u64::from));
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let given = base.unwrap_or(default);
    Some(Settings {
        consecutive: count("consecutive", base.map(|base| base.consecutive)),
        failure_ratio: percent(&reader, "failure_ratio", given.failure_ratio),
        window: reader.duration("window", base.map(|base| base.window)),
        min_requests: count("min_requests", base.map(|base| base.min_requests)),
        base: reader.duration("base", base.map(|base| base.base)),
        max: reader.duration("max", base.map(|base| base.max)),
        max_ejected: percent(&reader, "max_ejected", given.max_ejected),
        failures: failures(&reader, given.failures),
    })
}

/// Reads `slow_start` of the top level or of a pool.
pub(super) fn read_slow_start(parent: &Reader<'_>, base: Option<Duration>) -> Option<Duration> {
    if parent.is_off("slow_start") {
        return None;
    }
    let time = parent.duration("slow_start", base);
    (!time.is_zero()).then_some(time)
}

/// Prints the ejection of a pool.
pub(super) fn show(settings: Option<&Settings>) -> Item {
    let Some(settings) = settings else {
        return word("off");
    };
    let percent = |number: u32| word(format!("{number}%"));
    map([
        ("consecutive", word(settings.consecutive)),
        ("failure_ratio", percent(settings.failure_ratio)),
        ("window", word(show_duration(settings.window))),
        ("min_requests", word(settings.min_requests)),
        ("base", word(show_duration(settings.base))),
        ("max", word(show_duration(settings.max))),
        ("max_ejected", percent(settings.max_ejected)),
        (
            "failures",
            Item::Line(settings.failures.names().map(word).collect()),
        ),
    ])
}

/// Prints the slow start of a pool.
pub(super) fn show_slow_start(time: Option<Duration>) -> Item {
    word(time.map_or_else(|| "off".to_owned(), show_duration))
}

fn percent(reader: &Reader<'_>, name: &str, base: u32) -> u32 {
    let Some(written) = reader.text(name) else {
        return base;
    };
    let parse = |text: &str| {
        let digits = text.strip_suffix('%')?;
        let is_number = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|number| (1..=100).contains(number));
        number.filter(|_| is_number)
    };
    parse(written.text).unwrap_or_else(|| {
        let near = format!("{}%", written.text.trim_end_matches([' ', '%']));
        let hint = parse(&near).map(|_| format!("did you mean `{near}`?"));
        reader.refuse(name, written, hint);
        base
    })
}

fn failures(reader: &Reader<'_>, base: Failures) -> Failures {
    let Some(items) = reader.list("failures") else {
        return base;
    };
    let mut failures = Failures::NONE;
    for item in items {
        let Some(written) = written(item) else {
            reader.refuse_node("failures", item);
            continue;
        };
        if !failures.insert(written.text) {
            let hint = match written.text {
                "500" | "502" | "503" | "504" => Some("did you mean `5xx`?".to_owned()),
                text => suggest::did_you_mean(text, Failures::NAMES),
            };
            reader.refuse("failures", written, hint);
        }
    }
    if items.is_empty() {
        let note = "to disable ejection, write `ejection: off`";
        let span = reader.key_span("failures");
        if let Some(span) = span {
            let message = "`failures` is empty: no backend would ever be ejected";
            reader
                .cx
                .report(crate::config::source::Diagnostic::error(span, message).note(note));
        }
    }
    failures
}
