//! `timeouts`, at top level and of a pool.

use std::time::Duration;

use super::duration::{ANY_DURATION, DAY};
use crate::config::print::{Item, map, word};
use crate::config::reader::Reader;
use crate::pool::Timeouts;
use crate::proxy::ClientTimeouts;
use crate::schema::units::show_duration;
use crate::schema::{Key, Kind, Section};

/// `timeouts`, at top level.
pub(super) const TIMEOUTS: Section = Section {
    name: "timeouts",
    about: "Timeouts. `client_header`, `client_idle`, `drain`, `drain_delay` and `upgrade` are process-wide; the others are defaults for all pools. There is no total limit for a request or response whose bytes keep flowing.",
    keys: &[
        CONNECT.printed_elsewhere(),
        Key::new(
            "client_header",
            ANY_DURATION,
            "Time from the first byte of a request to the end of its headers. A total, so that sending slowly does not extend it.",
        )
        .default("10s"),
        FIRST_BYTE.printed_elsewhere(),
        REQUEST.printed_elsewhere(),
        PROGRESS.printed_elsewhere(),
        STREAM_IDLE.printed_elsewhere(),
        TUNNEL_IDLE.printed_elsewhere(),
        Key::new(
            "client_idle",
            ANY_DURATION,
            "How long a client connection is kept open between requests.",
        )
        .default("60s"),
        BACKEND_IDLE.printed_elsewhere(),
        Key::new(
            "drain",
            Kind::Duration { least: Duration::ZERO, most: DAY },
            "How long requests in flight may take to finish when the process stops.",
        )
        .default("30s"),
        Key::new(
            "drain_delay",
            Kind::Duration { least: Duration::ZERO, most: DAY },
            "How long the process still accepts new connections at a stop, while `/readyz` already is 503: the time that a load balancer in front takes to notice. `drain` begins after it.",
        )
        .default("0s"),
        Key::new(
            "upgrade",
            Kind::Duration { least: Duration::from_millis(100), most: Duration::from_secs(60) },
            "How long the new process may take to be ready at an upgrade. If it takes longer, it is killed and the running process goes on.",
        )
        .default("60s"),
    ],
};

/// `timeouts` of a pool.
pub(super) const POOL_TIMEOUTS: Section = Section {
    name: "pools.NAME.timeouts",
    about: "The timeouts that a pool can override. The others are taken from `timeouts` at top level.",
    keys: &[
        CONNECT,
        FIRST_BYTE,
        REQUEST,
        PROGRESS,
        STREAM_IDLE,
        TUNNEL_IDLE,
        BACKEND_IDLE,
    ],
};

/// The keys of `timeouts` of a route. Idle connections belong to the pool, which routes share.
pub(super) const OF_ROUTE: &[Key] = &[
    CONNECT.otherwise("as in the pool"),
    FIRST_BYTE.otherwise("as in the pool"),
    REQUEST.otherwise("as in the pool"),
    PROGRESS.otherwise("as in the pool"),
    STREAM_IDLE.otherwise("as in the pool"),
    TUNNEL_IDLE.otherwise("as in the pool"),
];

const CONNECT: Key = Key::new(
    "connect",
    ANY_DURATION,
    "Timeout for connecting to a backend, over all addresses of its name. If an address has not accepted after 250 ms, the next one is tried in parallel.",
)
.default("1s");

const FIRST_BYTE: Key = Key::new(
    "first_byte",
    ANY_DURATION,
    "Timeout of one attempt, from the end of the request to the first byte of the response.",
)
.default("30s");

const REQUEST: Key = Key::new(
    "request",
    ANY_DURATION,
    "Timeout of all attempts together. It runs only after the whole request is sent and until the response begins.",
)
.default("60s");

const PROGRESS: Key = Key::new(
    "progress",
    ANY_DURATION,
    "Longest stall of a client or backend while sending or receiving a message.",
)
.default("30s");

const STREAM_IDLE: Key = Key::new(
    "stream_idle",
    ANY_DURATION,
    "Longest pause of a streamed response (events, long polls) or a bidirectional stream.",
)
.default("5m");

const TUNNEL_IDLE: Key = Key::new(
    "tunnel_idle",
    ANY_DURATION,
    "Longest time without data in a WebSocket or another tunnel.",
)
.default("1h");

const BACKEND_IDLE: Key = Key::new(
    "backend_idle",
    ANY_DURATION,
    "How long an idle connection to a backend is kept open. Choose less than the backend's own keep-alive timeout.",
)
.default("50s");

/// Reads the process-wide timeouts from the section of the top level.
pub(super) fn read(timeouts: &Reader<'_>) -> ClientTimeouts {
    ClientTimeouts {
        header: timeouts.duration("client_header", None),
        idle: timeouts.duration("client_idle", None),
        drain: timeouts.duration("drain", None),
        drain_delay: timeouts.duration("drain_delay", None),
        upgrade: timeouts.duration("upgrade", None),
    }
}

/// Reads the timeouts of pools from the section of the top level or of a pool; what it does not have is taken from `base`.
pub(super) fn read_of_pool(reader: &Reader<'_>, base: Option<&Timeouts>) -> Timeouts {
    Timeouts {
        connect: reader.duration("connect", base.map(|base| base.connect)),
        first_byte: reader.duration("first_byte", base.map(|base| base.first_byte)),
        request: reader.duration("request", base.map(|base| base.request)),
        progress: reader.duration("progress", base.map(|base| base.progress)),
        stream_idle: reader.duration("stream_idle", base.map(|base| base.stream_idle)),
        tunnel_idle: reader.duration("tunnel_idle", base.map(|base| base.tunnel_idle)),
        backend_idle: reader.duration("backend_idle", base.map(|base| base.backend_idle)),
    }
}

/// Reads the timeouts of a route; what it does not have is taken from `base`.
pub(super) fn read_of_route(reader: &Reader<'_>, base: Option<&Timeouts>) -> Timeouts {
    let duration = |name, base| reader.duration(name, base);
    Timeouts {
        connect: duration("connect", base.map(|base| base.connect)),
        first_byte: duration("first_byte", base.map(|base| base.first_byte)),
        request: duration("request", base.map(|base| base.request)),
        progress: duration("progress", base.map(|base| base.progress)),
        stream_idle: duration("stream_idle", base.map(|base| base.stream_idle)),
        tunnel_idle: duration("tunnel_idle", base.map(|base| base.tunnel_idle)),
        backend_idle: base.map(|base| base.backend_idle).unwrap_or_default(),
    }
}

/// Prints the process-wide timeouts.
pub(super) fn show(timeouts: &ClientTimeouts) -> Item {
    map([
        ("client_header", word(show_duration(timeouts.header))),
        ("client_idle", word(show_duration(timeouts.idle))),
        ("drain", word(show_duration(timeouts.drain))),
        ("drain_delay", word(show_duration(timeouts.drain_delay))),
        ("upgrade", word(show_duration(timeouts.upgrade))),
    ])
}

/// Prints the timeouts of a pool.
pub(super) fn show_of_pool(timeouts: &Timeouts) -> Item {
    map([
        ("connect", word(show_duration(timeouts.connect))),
        ("first_byte", word(show_duration(timeouts.first_byte))),
        ("request", word(show_duration(timeouts.request))),
        ("progress", word(show_duration(timeouts.progress))),
        ("stream_idle", word(show_duration(timeouts.stream_idle))),
        ("tunnel_idle", word(show_duration(timeouts.tunnel_idle))),
        ("backend_idle", word(show_duration(timeouts.backend_idle))),
    ])
}
