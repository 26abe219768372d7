//! `limits`, at top level and of a pool.

use crate::admission::Adaptive;
use crate::config::print::{Item, map, word};
use crate::config::reader::Reader;
use crate::schema::units::show_size;
use crate::schema::{Key, Kind, Section};
use crate::{http1, proxy};

/// `limits`, at top level.
pub(super) const LIMITS: Section = Section {
    name: "limits",
    about: "Limits for clients and backends. All are process-wide, except `in_flight_per_backend` and `adaptive`, which are defaults for all pools.",
    keys: &[
        Key::new(
            "connections",
            Kind::Count { least: 1, most: MANY },
            "Maximum client connections. `auto` is 45% of the limit of file descriptors, which is raised to its hard limit at start. At the limit, the connection that has been waiting longest, idle or without complete request headers, is closed to accept a new one: of those that have sent no request yet if they are at least a quarter of all that wait, so that clients that only connect do not displace others.",
        )
        .words(&["auto"])
        .default("auto"),
        Key::new(
            "connections_per_client",
            Kind::Count { least: 1, most: MANY },
            "Maximum connections of one client address.",
        )
        .words(&["none"])
        .default("none"),
        Key::new(
            "requests_per_connection",
            Kind::Count { least: 1, most: MANY },
            "Number of requests after which a client connection is closed.",
        )
        .words(&["none"])
        .default("none"),
        Key::new("head", Kind::Size { least: 1 << 10, most: 1 << 20 }, "Maximum size of the start line and headers of a message, the empty line included.").default("32KiB"),
        Key::new("line", Kind::Size { least: 256, most: 1 << 20 }, "Maximum size of the start line, or of one header.").default("16KiB"),
        Key::new("fields", Kind::Count { least: 1, most: 10_000 }, "Maximum number of headers of a message.").default("100"),
        Key::new(
            "chunk_extensions",
            Kind::Size { least: 0, most: 1 << 20 },
            "Maximum size of all chunk extensions of one body.",
        )
        .default("4KiB"),
        Key::new("trailers", Kind::Size { least: 0, most: 1 << 20 }, "Maximum size of all trailers of one body.").default("8KiB"),
        Key::new("body", Kind::Size { least: 0, most: u64::MAX }, "Maximum size of one body.").words(&["none"]).default("none"),
        Key::new(
            "min_body_rate",
            Kind::Size { least: 1, most: 1 << 40 },
            "Minimum rate of a body in bytes per second, averaged over `timeouts.progress`.",
        )
        .words(&["none"])
        .default("none"),
        IN_FLIGHT.printed_elsewhere(),
        ADAPTIVE.printed_elsewhere(),
    ],
};

/// `limits` of a pool.
pub(super) const POOL_LIMITS: Section = Section {
    name: "pools.NAME.limits",
    about: "The limits that a pool can override. The defaults are taken from `limits` at top level.",
    keys: &[IN_FLIGHT, ADAPTIVE],
};

const IN_FLIGHT: Key = Key::new(
    "in_flight_per_backend",
    Kind::Count {
        least: 1,
        most: 1_000_000,
    },
    "Maximum requests in flight to one backend. More wait in the `queue` of the pool.",
)
.words(&["none"])
.default("none");

const ADAPTIVE: Key = Key::new(
    "adaptive",
    Kind::Choice(&[
        Adaptive::Off.name(),
        Adaptive::Observe.name(),
        Adaptive::On.name(),
    ]),
    "Whether the limit of each backend follows its latency: it grows while responses take about as long as from an idle backend, and shrinks as they take longer (1 to 1000 requests in flight, at most `in_flight_per_backend`). `observe` only reports the limits that it finds.",
)
.default(Adaptive::Off.name());

/// Not an operating limit: it only keeps arithmetic on numbers of connections and requests from overflowing.
const MANY: u64 = 1_000_000_000;

/// Reads the process-wide limits from the section of the top level.
pub(super) fn read(limits: &Reader<'_>) -> proxy::Limits {
    let size = |name| usize::try_from(limits.size(name, None)).unwrap_or(usize::MAX);
    let count = |name| {
        let count = limits.optional(name, None)?;
        Some(usize::try_from(count).unwrap_or(usize::MAX))
    };
    proxy::Limits {
        connections: count("connections"),
        connections_per_client: count("connections_per_client"),
        requests_per_connection: limits.optional("requests_per_connection", None),
        message: http1::Limits {
            head: size("head"),
            line: size("line"),
            fields: size("fields"),
            chunk_extensions: size("chunk_extensions"),
            trailers: size("trailers"),
        },
        body: limits.optional("body", None),
        min_body_rate: limits.optional("min_body_rate", None),
    }
}

/// Reads the limit of requests in flight from the section of the top level or of a pool; what it does not have is taken from `base`.
pub(super) fn read_of_pool(limits: &Reader<'_>, base: Option<Option<u32>>) -> Option<u32> {
    let base = base.map(|base| base.map(u64::from));
    let limit = limits.optional("in_flight_per_backend", base)?;
    Some(u32::try_from(limit).unwrap_or(u32::MAX))
}

/// Reads how the limit follows the latency, from the section of the top level or of a pool; without the key, it is as in `base`.
pub(super) fn read_adaptive(limits: &Reader<'_>, base: Option<Adaptive>) -> Adaptive {
    let name = limits.choice("adaptive", base.map(Adaptive::name));
    let found = Adaptive::ALL.iter().find(|(known, _)| *known == name);
    found.map_or(Adaptive::Off, |(_, adaptive)| *adaptive)
}

/// Prints the process-wide limits.
pub(super) fn show(limits: &proxy::Limits) -> Item {
    let size = |bytes: usize| word(show_size(u64::try_from(bytes).unwrap_or(u64::MAX)));
    let or = |count: Option<String>, otherwise: &str| word(count.unwrap_or_else(|| otherwise.to_owned()));
    map([
        (
            "connections",
            or(limits.connections.map(|count| count.to_string()), "auto"),
        ),
        (
            "connections_per_client",
            or(
                limits.connections_per_client.map(|count| count.to_string()),
                "none",
            ),
        ),
        (
            "requests_per_connection",
            or(
                limits.requests_per_connection.map(|count| count.to_string()),
                "none",
            ),
        ),
        ("head", size(limits.message.head)),
        ("line", size(limits.message.line)),
        ("fields", word(limits.message.fields)),
        ("chunk_extensions", size(limits.message.chunk_extensions)),
        ("trailers", size(limits.message.trailers)),
        ("body", or(limits.body.map(show_size), "none")),
        ("min_body_rate", or(limits.min_body_rate.map(show_size), "none")),
    ])
}

/// Prints the limits of a pool.
pub(super) fn show_of_pool(in_flight: Option<u32>, adaptive: Adaptive) -> Item {
    let in_flight = in_flight.map_or_else(|| word("none"), word);
    map([
        ("in_flight_per_backend", in_flight),
        ("adaptive", word(adaptive.name())),
    ])
}
