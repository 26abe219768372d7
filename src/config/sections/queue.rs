//! `queue`: which requests wait when no backend may take one. Read at top level first; a pool's own keys then replace single values.

use crate::admission::QueueSettings;
use crate::config::print::{Item, map, word};
use crate::config::reader::Reader;
use crate::schema::units::show_duration;
use crate::schema::{Key, Kind, Section};

/// The key, at top level and of a pool.
pub(super) const KEY: Key = Key::new(
    "queue",
    Kind::Section(&QUEUE),
    "Which requests wait while no backend may take one. `off` turns waiting off.",
)
.words(&["off"]);

/// `queue`.
pub(super) const QUEUE: Section = Section {
    name: "queue",
    about: "Requests wait here, in the order of their arrival, while every backend of the pool is down, refuses connections, or has as many requests as `limits` allow. A restart of the only backend then costs time and no errors. At top level, the default for all pools; a pool can override single keys. A pool that has been without a backend for longer than `timeout`, or has never had one, responds at once. While a pool is overloaded, new requests may wait only about twice as long as its responses usually take.",
    keys: &[
        Key::new(
            "size",
            Kind::Count {
                least: 1,
                most: 100_000,
            },
            "Maximum number of requests that wait at the same time in one pool; one more gets a 503 response at once (`queue_full`).",
        )
        .default("1024"),
        Key::new(
            "timeout",
            Kind::Duration {
                least: std::time::Duration::from_millis(1),
                most: std::time::Duration::from_secs(3600),
            },
            "How long a request waits at most before it gets a 503 response (`queue_timeout`).",
        )
        .default("5s"),
    ],
};

/// Reads the key of the top level or of a pool; what it does not have is taken from `base`.
pub(super) fn read(parent: &Reader<'_>, base: Option<Option<QueueSettings>>) -> Option<QueueSettings> {
    if parent.is_off("queue") || (!parent.has("queue") && base == Some(None)) {
        return None;
    }
    let reader = parent.section("queue", &QUEUE);
    let base = base.flatten();
    let size = reader.count("size", base.map(|base| base.size as u64));
    Some(QueueSettings {
        size: usize::try_from(size).unwrap_or(usize::MAX),
        timeout: reader.duration("timeout", base.map(|base| base.timeout)),
    })
}

/// Prints it.
pub(super) fn show(queue: Option<QueueSettings>) -> Item {
    let Some(queue) = queue else { return word("off") };
    map([
        ("size", word(queue.size)),
        ("timeout", word(show_duration(queue.timeout))),
    ])
}
