//! The keys of the rules that pools follow, and of the process-wide timeouts and limits.

use std::time::Duration;

use super::{Form, Key, Kind, Section};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);

const ANY_DURATION: Kind = Kind::Duration {
    least: MILLISECOND,
    most: DAY,
};

/// A table bound, not an operating one: it keeps arithmetic on numbers of connections and requests from overflowing.
const MANY: u64 = 1_000_000_000;

const STATUS: Kind = Kind::Text(Form {
    what: "a status, a class or a range such as 200, 2xx or 200-399, from 100 to 599",
    pattern: Some(r"^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$"),
    or_number: true,
});

/// `health_check`.
pub(in crate::config) const HEALTH_CHECK: Section = Section {
    name: "health_check",
    about: "How backends are probed. At top level it is the default of every pool; a pool's own keys replace single keys. `health_check: off` is `kind: none`.",
    keys: &[
        Key::new(
            "kind",
            Kind::Choice(crate::health::KINDS),
            "`http` sends a GET and looks at the status, `tcp` opens a connection and closes it, `grpc` asks by `grpc.health.v1` over HTTP/2, `none` does not probe: every backend counts as healthy.",
        )
        .default("http"),
        Key::new(
            "path",
            Kind::Text(Form {
                what: "a path that begins with /, such as /healthz",
                pattern: Some("^(/[!-~]*|none)$"),
                or_number: false,
            }),
            "The path that a probe asks for, with an optional query. `none` asks for `/`, and any status below 500 is healthy. Only for `kind: http`.",
        )
        .words(&["none"])
        .default("none"),
        Key::new(
            "status",
            Kind::Either(&STATUS, &Kind::List(&STATUS)),
            "Which statuses are healthy. `auto` is `200-399` with a `path` and `100-499` without. Only for `kind: http`.",
        )
        .words(&["auto"])
        .default("auto"),
        Key::new(
            "service",
            Kind::Text(Form {
                what: "the name of a gRPC service",
                pattern: Some("^[A-Za-z0-9._]{0,127}$"),
                or_number: false,
            }),
            "The service that is asked for. Only for `kind: grpc`.",
        )
        .otherwise("the server as a whole"),
        Key::new("interval", ANY_DURATION, "From one probe of a backend to the next; varied a little so that probes spread.").default("10s"),
        Key::new("timeout", ANY_DURATION, "Bound of one probe, connecting included.").default("2s"),
        Key::new(
            "healthy_after",
            Kind::Count { least: 1, most: 100 },
            "Good probes in a row after which a backend that is down gets requests again.",
        )
        .default("2"),
        Key::new(
            "unhealthy_after",
            Kind::Count { least: 1, most: 100 },
            "Failed probes in a row after which a backend gets no requests.",
        )
        .default("3"),
    ],
};

/// `retry`.
pub(in crate::config) const RETRY: Section = Section {
    name: "retry",
    about: "When a request is sent again, to another backend first. At top level it is the default of every pool; a pool's own keys replace single keys. `retry: off` is `attempts: 1`.",
    keys: &[
        Key::new(
            "attempts",
            Kind::Count { least: 1, most: 1000 },
            "Most attempts for one request, the first included. `all` is as many as the pool has backends; attempts that met a closed reused connection, or with which the backend did nothing (`REFUSED_STREAM`, `GOAWAY`), come on top, and a number bounds them too.",
        )
        .words(&["all"])
        .default("all"),
        Key::new(
            "causes",
            Kind::List(&Kind::Choice(&["connect_failure", "reset", "timeout", "502", "503", "504"])),
            "After which failures. `connect_failure` and `503` are retried for every method, the others only for idempotent ones (RFC 9110 §9.2.2).",
        )
        .default("[connect_failure, reset, timeout, 503]"),
        Key::new(
            "non_idempotent_503",
            Kind::Flag,
            "Whether a 503 is retried for methods that are not idempotent, such as POST. Set it to false for backends that answer 503 after acting.",
        )
        .default("true"),
        Key::new(
            "replay_limit",
            Kind::Size { least: 0, most: 16 << 20 },
            "How much of a request body is kept for being sent again; a longer body is sent once.",
        )
        .default("64KiB"),
    ],
};

const CONNECT: Key = Key::new(
    "connect",
    ANY_DURATION,
    "Bound of connecting to a backend, over all addresses of its name. Another attempt begins beside one that is not answered after 250 ms.",
)
.default("1s");
const FIRST_BYTE: Key = Key::new(
    "first_byte",
    ANY_DURATION,
    "One attempt: from the request wholly sent to the first byte of the answer.",
)
.default("30s");
const REQUEST: Key = Key::new(
    "request",
    ANY_DURATION,
    "All attempts together; runs only while the request is wholly sent and its answer has not begun.",
)
.default("60s");
const PROGRESS: Key = Key::new(
    "progress",
    ANY_DURATION,
    "For a client or backend that does not take, or does not send, bytes in the middle of a message.",
)
.default("30s");
const STREAM_IDLE: Key = Key::new(
    "stream_idle",
    ANY_DURATION,
    "For an answer that pauses (events, long polls) and for two-way streams.",
)
.default("5m");
const TUNNEL_IDLE: Key = Key::new(
    "tunnel_idle",
    ANY_DURATION,
    "For a WebSocket, or another tunnel, in which nothing moves.",
)
.default("1h");
const BACKEND_IDLE: Key = Key::new(
    "backend_idle",
    ANY_DURATION,
    "How long an idle connection to a backend is kept. Choose less than the backend's own keep-alive time.",
)
.default("50s");
const IN_FLIGHT: Key = Key::new(
    "in_flight_per_backend",
    Kind::Count {
        least: 1,
        most: 1_000_000,
    },
    "Most requests that one backend works on at one time.",
)
.words(&["none"])
.default("none");

/// `timeouts`, at top level.
pub(in crate::config) const TIMEOUTS: Section = Section {
    name: "timeouts",
    about: "How long things may take. `client_header`, `client_idle` and `drain` are process-wide; the others are defaults of every pool. Nothing is bounded by a total once bytes flow.",
    keys: &[
        CONNECT,
        Key::new(
            "client_header",
            ANY_DURATION,
            "From the first byte of a request's head to its end; a total, so that a slow drip does not live longer.",
        )
        .default("10s"),
        FIRST_BYTE,
        REQUEST,
        PROGRESS,
        STREAM_IDLE,
        TUNNEL_IDLE,
        Key::new(
            "client_idle",
            ANY_DURATION,
            "How long a client's connection is kept between requests.",
        )
        .default("60s"),
        BACKEND_IDLE,
        Key::new(
            "drain",
            Kind::Duration { least: Duration::ZERO, most: DAY },
            "How long running requests may take to end when the process stops.",
        )
        .default("30s"),
    ],
};

/// `timeouts` of a pool.
pub(in crate::config) const POOL_TIMEOUTS: Section = Section {
    name: "pools.NAME.timeouts",
    about: "The timeouts that a pool can have of its own; what is not written is taken from `timeouts` at top level.",
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

/// `limits`, at top level.
pub(in crate::config) const LIMITS: Section = Section {
    name: "limits",
    about: "What clients and backends may use. All but `in_flight_per_backend`, which is a default of every pool, are process-wide.",
    keys: &[
        Key::new(
            "connections",
            Kind::Count { least: 1, most: MANY },
            "Connections of clients at one time. `auto` is 45% of the descriptor limit, which is raised to its hard value at start. When full, the connection that has waited longest, idle or without a whole head, is closed first.",
        )
        .words(&["auto"])
        .default("auto"),
        Key::new(
            "connections_per_client",
            Kind::Count { least: 1, most: MANY },
            "Connections of one client address at one time.",
        )
        .words(&["none"])
        .default("none"),
        Key::new(
            "requests_per_connection",
            Kind::Count { least: 1, most: MANY },
            "Requests after which a client's connection is closed.",
        )
        .words(&["none"])
        .default("none"),
        Key::new("head", Kind::Size { least: 1 << 10, most: 1 << 20 }, "A whole head: start line, fields and the empty line.").default("32KiB"),
        Key::new("line", Kind::Size { least: 256, most: 1 << 20 }, "One line of a head.").default("16KiB"),
        Key::new("fields", Kind::Count { least: 1, most: 10_000 }, "Number of fields of a head.").default("100"),
        Key::new(
            "chunk_extensions",
            Kind::Size { least: 0, most: 1 << 20 },
            "All chunk extensions of one body together.",
        )
        .default("4KiB"),
        Key::new("trailers", Kind::Size { least: 0, most: 1 << 20 }, "All trailers of one body together.").default("8KiB"),
        Key::new("body", Kind::Size { least: 0, most: u64::MAX }, "Bytes of one body.").words(&["none"]).default("none"),
        Key::new(
            "min_body_rate",
            Kind::Size { least: 1, most: 1 << 40 },
            "Bytes a second that a body must reach, averaged over `timeouts.progress`.",
        )
        .words(&["none"])
        .default("none"),
        IN_FLIGHT,
    ],
};

/// `limits` of a pool.
pub(in crate::config) const POOL_LIMITS: Section = Section {
    name: "pools.NAME.limits",
    about: "The limit that a pool can have of its own; when not written it is taken from `limits` at top level.",
    keys: &[IN_FLIGHT],
};
