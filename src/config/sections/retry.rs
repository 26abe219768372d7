//! `retry`: when a request is retried. Read at top level first; a pool's own keys then replace single values.

use crate::config::print::{Item, map, word};
use crate::config::reader::{Reader, written};
use crate::config::tree::Node;
use crate::config::{suggest, vocabulary};
use crate::retry::{Attempts, Cause, Causes, Policy};
use crate::schema::units::show_size;
use crate::schema::{Key, Kind, Section};

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
            "Maximum attempts for one request, the first included. `all` is the number of backends of the pool; attempts on a reused connection that was closed, or that the backend did not process (`REFUSED_STREAM`, `GOAWAY`), do not count against it. A number limits these attempts as well.",
        )
        .words(&["all"])
        .default("all"),
        Key::new(
            "causes",
            Kind::List(&Kind::Choice(&["connect_failure", "reset", "timeout", "502", "503", "504"])),
            "The failures that are retried. `connect_failure` and `503` are retried for every method, the others only for idempotent methods (RFC 9110 §9.2.2).",
        )
        .default("[connect_failure, reset, timeout, 503]"),
        Key::new(
            "non_idempotent_503",
            Kind::Flag,
            "Whether a 503 is retried for methods that are not idempotent, such as POST. Set it to false for backends that may respond with 503 after processing a request.",
        )
        .default("true"),
        Key::new(
            "replay_limit",
            Kind::Size { least: 0, most: 16 << 20 },
            "How much of a request body is buffered for retries; a longer body is sent only once.",
        )
        .default("64KiB"),
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
    ])
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
            let names = Cause::ALL.map(Cause::name);
            let hint = other.or_else(|| suggest::did_you_mean(written.text, names));
            reader.refuse("causes", written, hint);
        }
        cause
    };
    items.iter().filter_map(read_one).collect()
}
