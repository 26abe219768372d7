//! `retry`: when a request is retried. Read at top level first; a pool's own keys then replace single values.

use std::time::Duration;

use crate::config::print::{Item, map, word};
use crate::config::reader::{Reader, written};
use crate::config::tree::Node;
use crate::config::{suggest, vocabulary};
use crate::retry::{Attempts, Backoff, Cause, Causes, Hedge, HedgeAfter, Policy};
use crate::schema::units::{parse_duration, show_duration, show_size};
use crate::schema::{Form, Key, Kind, Section};

/// The longest wait of `backoff` and the longest time of `hedge.after`: a request that waits longer has no use of it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The key, at top level and of a pool.
pub(super) const KEY: Key =
    Key::new("retry", Kind::Section(&RETRY), "When a request is retried.").words(&["off"]);

/// `retry`.
pub(super) const RETRY: Section = Section {
    name: "retry",
    about: "When a request is retried; another backend is preferred. At top level, the default for all pools; a pool can override single keys. `retry: off` is the same as `attempts: 1`.",
    keys: &[
        Key::new(
            "attempts",
            Kind::Count { least: 1, most: 1000 },
            "Maximum attempts for one request, the first included. `all` is the number of backends of the pool; attempts on a reused connection that was closed, or that the backend did not process (`REFUSED_STREAM`, `GOAWAY`), do not count against it. A number limits these attempts as well; if it is larger than the number of backends, those that failed are asked again, after `backoff`.",
        )
        .words(&["all"])
        .default("all"),
        Key::new(
            "causes",
            Kind::List(&Kind::Choice(&Cause::NAMES)),
            "The failures that are retried. `connect_failure`, `503` and `grpc_unavailable` (status `UNAVAILABLE` in a response without messages) are retried for every method, the others only for idempotent methods (RFC 9110 §9.2.2), and for POST and PATCH with an `Idempotency-Key`.",
        )
        .default("[connect_failure, reset, timeout, 503, grpc_unavailable]"),
        Key::new(
            "non_idempotent_503",
            Kind::Flag,
            "Whether a 503 or `grpc_unavailable` is retried for methods that are not idempotent, such as POST. Set it to false for backends that may respond so after processing a request.",
        )
        .default("true"),
        Key::new(
            "replay_limit",
            Kind::Size { least: 0, most: 16 << 20 },
            "How much of a request body is buffered for retries; a longer body is sent only once.",
        )
        .default("64KiB"),
        Key::new(
            "per_try_timeout",
            Kind::Duration {
                least: Duration::from_millis(10),
                most: Duration::from_secs(24 * 3600),
            },
            "Maximum time of one attempt from its beginning, connecting included, to the response headers. An attempt that takes longer fails with cause `timeout`. It does not run while the client still sends the request body.",
        )
        .words(&["none"])
        .default("none"),
        Key::new(
            "backoff",
            Kind::Text(
                Form::new("two durations such as 25ms-250ms, at most 1m")
                    .matching("^([0-9]+(h|m|s|ms))+-([0-9]+(h|m|s|ms))+$")
                    .checked(is_backoff),
            ),
            "The wait before a backend is asked again that was asked before: a random time up to the first duration, which doubles with each wait up to the second one. Another backend is asked without a wait.",
        )
        .words(&["none"])
        .default("25ms-250ms"),
        Key::new(
            "respect_retry_after",
            Kind::Flag,
            "Whether a backend that responds with 503 and `Retry-After` gets no requests for that time, at most 1 minute, as long as at most half of the eligible backends ask for it and another one can be picked.",
        )
        .default("true"),
        Key::new(
            "hedge",
            Kind::Section(&HEDGE),
            "When a request that waits for its response is sent to another backend too.",
        )
        .words(&["off"]),
    ],
};

/// `retry.hedge`.
pub(super) const HEDGE: Section = Section {
    name: "retry.hedge",
    about: "A second attempt, at another backend, while the first one still waits. The first good response wins, and the other attempt is canceled. Only for requests with an idempotent method and without a body. Each takes one token of the retry budget, which is not given back. `hedge: off` is the default.",
    keys: &[
        Key::new(
            "after",
            Kind::Text(
                Form::new("a duration from 1ms to 1m, or a quantile from p50 to p99")
                    .matching("^(p[5-9][0-9]|([0-9]+(m|s|ms))+)$")
                    .checked(is_after),
            ),
            "When the second attempt begins, from the beginning of the first: after a duration, or when this share of the backend's responses of the last minute had come.",
        )
        .default("p95"),
        Key::new(
            "max",
            Kind::Count { least: 1, most: 1 },
            "How many attempts run beside the first one.",
        )
        .default("1"),
    ],
};

/// Reads the key of the top level or of a pool; what it does not have is taken from `base`.
pub(super) fn read(parent: &Reader<'_>, base: Option<&Policy>) -> Policy {
    let is_off = parent.is_off("retry");
    let reader = if is_off {
        Reader::absent(parent.cx, &RETRY)
    } else {
        parent.section("retry", &RETRY)
    };
    let base_attempts = base.map(|base| match base.attempts {
        Attempts::All => None,
        Attempts::AtMost(count) => Some(u64::from(count)),
    });
    let attempts = match reader.optional("attempts", base_attempts) {
        _ if is_off => Attempts::AtMost(1),
        Some(count) => Attempts::AtMost(u32::try_from(count).unwrap_or(u32::MAX)),
        None => Attempts::All,
    };
    Policy {
        attempts,
        causes: causes(&reader, base.map(|base| base.causes)),
        non_idempotent_503: reader.flag("non_idempotent_503", base.map(|base| base.non_idempotent_503)),
        replay_limit: reader.size("replay_limit", base.map(|base| base.replay_limit)),
        per_try_timeout: reader.optional_duration("per_try_timeout", base.map(|base| base.per_try_timeout)),
        backoff: backoff(&reader, base),
        respect_retry_after: reader.flag("respect_retry_after", base.map(|base| base.respect_retry_after)),
        hedge: hedge(&reader, base),
    }
}

/// Prints a retry policy.
pub(super) fn show(policy: &Policy) -> Item {
    let attempts = match policy.attempts {
        Attempts::All => word("all"),
        Attempts::AtMost(count) => word(count),
    };
    map([
        ("attempts", attempts),
        ("causes", Item::Line(policy.causes.names().map(word).collect())),
        ("non_idempotent_503", word(policy.non_idempotent_503)),
        ("replay_limit", word(show_size(policy.replay_limit))),
        (
            "per_try_timeout",
            word(policy.per_try_timeout.map_or("none".to_owned(), show_duration)),
        ),
        ("backoff", word(show_backoff(policy.backoff))),
        ("respect_retry_after", word(policy.respect_retry_after)),
        (
            "hedge",
            match policy.hedge {
                None => word("off"),
                Some(hedge) => map([("after", word(show_after(hedge.after))), ("max", word(1))]),
            },
        ),
    ])
}

/// Prints `backoff`.
pub(crate) fn show_backoff(backoff: Backoff) -> String {
    match backoff {
        Backoff::NONE => "none".to_owned(),
        Backoff { base, most } => format!("{}-{}", show_duration(base), show_duration(most)),
    }
}

/// Prints `hedge.after`.
pub(crate) fn show_after(after: HedgeAfter) -> String {
    match after {
        HedgeAfter::Time(time) => show_duration(time),
        HedgeAfter::Quantile(percent) => format!("p{percent}"),
    }
}

fn backoff(reader: &Reader<'_>, base: Option<&Policy>) -> Backoff {
    let inherited = base.map_or_else(Backoff::default, |base| base.backoff);
    let Some(written) = reader.text("backoff") else {
        return inherited;
    };
    parse_backoff(written.text).unwrap_or_else(|| {
        let hint =
            parse_duration(written.text).map(|_| format!("write two durations: `{0}-{0}`", written.text));
        reader.refuse("backoff", written, hint);
        inherited
    })
}

fn hedge(reader: &Reader<'_>, base: Option<&Policy>) -> Option<Hedge> {
    let inherited = base.and_then(|base| base.hedge);
    if reader.is_off("hedge") {
        return None;
    }
    if !reader.has("hedge") {
        return inherited;
    }
    let section = reader.section("hedge", &HEDGE);
    section.count("max", None);
    let inherited = inherited.map_or(HedgeAfter::Quantile(95), |hedge| hedge.after);
    let after = match section.text("after") {
        None => inherited,
        Some(written) => parse_after(written.text).unwrap_or_else(|| {
            section.refuse("after", written, None);
            inherited
        }),
    };
    Some(Hedge { after })
}

fn parse_backoff(text: &str) -> Option<Backoff> {
    if text == "none" {
        return Some(Backoff::NONE);
    }
    let (base, most) = text.split_once('-')?;
    let (base, most) = (parse_duration(base)?, parse_duration(most)?);
    (base <= most && most <= LONGEST_WAIT && !most.is_zero()).then_some(Backoff { base, most })
}

fn is_backoff(text: &str) -> bool {
    parse_backoff(text).is_some()
}

fn parse_after(text: &str) -> Option<HedgeAfter> {
    let time = || {
        let time =
            parse_duration(text).filter(|time| (Duration::from_millis(1)..=LONGEST_WAIT).contains(time));
        time.map(HedgeAfter::Time)
    };
    HedgeAfter::parse_quantile(text).or_else(time)
}

fn is_after(text: &str) -> bool {
    parse_after(text).is_some()
}

fn causes(reader: &Reader<'_>, base: Option<Causes>) -> Causes {
    let Some(items) = reader.list("causes") else {
        return base.unwrap_or_default();
    };
    let read_one = |item: &Node| {
        let Some(written) = written(item) else {
            reader.refuse_node("causes", item);
            return None;
        };
        let cause = Cause::by_name(written.text);
        if cause.is_none() {
            let other = vocabulary::cause(written.text).map(str::to_owned);
            let names = Cause::NAMES;
            let hint = other.or_else(|| suggest::did_you_mean(written.text, names));
            reader.refuse("causes", written, hint);
        }
        cause
    };
    items.iter().filter_map(read_one).collect()
}
