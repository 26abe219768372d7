//! The keys of health checks, retries, timeouts and limits.

use std::time::Duration;

use crate::schema::{Form, Key, Kind, Section};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);

const ANY_DURATION: Kind = Kind::Duration {
    least: MILLISECOND,
    most: DAY,
};

/// Not an operating limit: it only keeps arithmetic on numbers of connections and requests from overflowing.
const MANY: u64 = 1_000_000_000;

const STATUS: Kind = Kind::Text(
    Form::new("a status, a class or a range such as 200, 2xx or 200-399, from 100 to 599")
        .matching(r"^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$")
        .or_number(),
);

/// `health_check`.
pub(in crate::config) const HEALTH_CHECK: Section = Section {
    name: "health_check",
    about: "How backends are probed. At top level, the default for all pools; a pool can override single keys. `health_check: off` is the same as `kind: none`.",
    keys: &[
        Key::new(
            "kind",
            Kind::Choice(crate::health::KINDS),
            "`http` sends a GET request and checks the status, `tcp` opens a connection and closes it, `grpc` calls `grpc.health.v1` over HTTP/2, `none` disables probes: every backend counts as up.",
        )
        .default("http"),
        Key::new(
            "path",
            Kind::Text(Form::new("a path that begins with /, such as /healthz").matching("^(/[!-~]*|none)$")),
            "The path that a probe requests, with an optional query. `none` requests `/` and treats every status below 500 as healthy. Only for `kind: http`.",
        )
        .words(&["none"])
        .default("none"),
        Key::new(
            "status",
            Kind::Either(&STATUS, &Kind::List(&STATUS)),
            "The statuses that count as healthy. `auto` is `200-399` with a `path` and `100-499` without. Only for `kind: http`.",
        )
        .words(&["auto"])
        .default("auto"),
        Key::new(
            "service",
            Kind::Text(Form::new("the name of a gRPC service").matching("^[A-Za-z0-9._]{0,127}$")),
            "The service whose health is requested. Only for `kind: grpc`.",
        )
        .otherwise("the server as a whole"),
        Key::new("interval", ANY_DURATION, "Time between two probes of a backend, with a little jitter so that probes spread out.").default("10s"),
        Key::new("timeout", ANY_DURATION, "Timeout of one probe, connecting included.").default("2s"),
        Key::new(
            "healthy_after",
            Kind::Count { least: 1, most: 100 },
            "Consecutive healthy probes after which a backend that is down is up again.",
        )
        .default("2"),
        Key::new(
            "unhealthy_after",
            Kind::Count { least: 1, most: 100 },
            "Consecutive failed probes after which a backend is down and receives no requests.",
        )
        .default("3"),
    ],
};

/// `retry`.
pub(in crate::config) const RETRY: Section = Section {
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
const IN_FLIGHT: Key = Key::new(
    "in_flight_per_backend",
    Kind::Count {
        least: 1,
        most: 1_000_000,
    },
    "Maximum requests in flight to one backend.",
)
.words(&["none"])
.default("none");

/// `timeouts`, at top level.
pub(in crate::config) const TIMEOUTS: Section = Section {
    name: "timeouts",
    about: "Timeouts. `client_header`, `client_idle` and `drain` are process-wide; the others are defaults for all pools. There is no total limit for a request or response whose bytes keep flowing.",
    keys: &[
        CONNECT,
        Key::new(
            "client_header",
            ANY_DURATION,
            "Time from the first byte of a request to the end of its headers. A total, so that sending slowly does not extend it.",
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
            "How long a client connection is kept open between requests.",
        )
        .default("60s"),
        BACKEND_IDLE,
        Key::new(
            "drain",
            Kind::Duration { least: Duration::ZERO, most: DAY },
            "How long requests in flight may take to finish when the process stops.",
        )
        .default("30s"),
    ],
};

/// `timeouts` of a pool.
pub(in crate::config) const POOL_TIMEOUTS: Section = Section {
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

/// `limits`, at top level.
pub(in crate::config) const LIMITS: Section = Section {
    name: "limits",
    about: "Limits for clients and backends. All are process-wide, except `in_flight_per_backend`, which is a default for all pools.",
    keys: &[
        Key::new(
            "connections",
            Kind::Count { least: 1, most: MANY },
            "Maximum client connections. `auto` is 45% of the limit of file descriptors, which is raised to its hard limit at start. At the limit, the connection that has been waiting longest, idle or without complete request headers, is closed to accept a new one.",
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
        IN_FLIGHT,
    ],
};

/// `limits` of a pool.
pub(in crate::config) const POOL_LIMITS: Section = Section {
    name: "pools.NAME.limits",
    about: "The limit that a pool can override. The default is taken from `limits` at top level.",
    keys: &[IN_FLIGHT],
};
