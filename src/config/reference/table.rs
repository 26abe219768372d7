//! The keys of the top level, and of its lists and maps.

use super::rules::{HEALTH_CHECK, LIMITS, POOL_LIMITS, POOL_TIMEOUTS, RETRY, TIMEOUTS};
use super::tls::{LISTENER_TLS, POOL_TLS};
use crate::schema::{Form, Key, Kind, Section};
use crate::strategy;

const ADDRESS: Kind = Kind::Text(
    Form::new("an IP address and a port, such as 0.0.0.0:8080, [::1]:8080 or :8080")
        .matching(r"^([0-9.]+:|\[[0-9A-Fa-f:.%]+\]:|\*:|:)?[0-9]{1,5}$")
        .or_number(),
);

/// An address of a listener: an IP address or a Unix socket.
const LISTEN_ADDRESS: Kind = Kind::Text(Form::new("an IP address and a port, such as 0.0.0.0:8080, [::1]:8080 or :8080, or a Unix socket such as unix:/run/evenkeel.sock").matching(r"^(unix:.+|([0-9.]+:|\[[0-9A-Fa-f:.%]+\]:|\*:|:)?[0-9]{1,5})$").or_number());

const BACKEND_URL: Kind = Kind::Text(Form::new("a URL such as http://10.0.0.1:8001, https://… or h2c://…, or a Unix socket such as unix:/run/app.sock").matching(r"^(unix:.+|(http|https|h2c)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?)$"));

const BACKENDS: Kind = Kind::Either(
    &BACKEND_URL,
    &Kind::List(&Kind::Either(&BACKEND_URL, &Kind::Section(&BACKEND))),
);

/// Words that disable a feature.
const OFF: &[&str] = &["off", "none"];

const STRATEGY_ABOUT: &str =
    "How a backend is chosen for a request; `evenkeel strategies` lists the strategies.";

/// The file itself.
pub(in crate::config) const ROOT: Section = Section {
    name: "top level",
    about: "`listen` and `backends` are enough: they are short forms of `listeners`, and of a pool named `default` with a route to it. Short and long forms can be combined.",
    keys: &[
        Key::new(
            "listen",
            Kind::Either(&LISTEN_ADDRESS, &Kind::List(&LISTEN_ADDRESS)),
            "Address where clients connect. Short form of `listeners` with only an `address`. `:8080` is port 8080 of every IPv4 address.",
        ),
        Key::new("listeners", Kind::List(&Kind::Section(&LISTENER)), "Addresses where clients connect."),
        Key::new(
            "workers",
            Kind::Count { least: 1, most: 1024 },
            "Number of worker threads. `auto` is one per core that the process may use.",
        )
        .words(&["auto"])
        .default("auto"),
        Key::new(
            "admin",
            Kind::Either(&ADDRESS, &Kind::Section(&ADMIN)),
            "Address of the admin API, which includes the metrics. Without a `token` it must be a loopback address.",
        )
        .words(&["off"])
        .default("127.0.0.1:9900"),
        Key::new(
            "access_log",
            Kind::Either(&Kind::Choice(&["stdout", "stderr", "off"]), &Kind::Section(&ACCESS_LOG)),
            "Where requests are logged, one line each.",
        )
        .default("stdout"),
        Key::new(
            "trusted_proxies",
            Kind::List(&Kind::Text(Form::new("an IP address, a CIDR block such as 10.0.0.0/8, or unix").matching(r"^(unix|[0-9A-Fa-f:.]+(/[0-9]{1,3})?)$"))),
            "The proxies whose `X-Forwarded-*` headers and PROXY headers are trusted. `unix` is every client of a Unix socket; it applies to `X-Forwarded-*` only.",
        )
        .default("[]"),
        Key::new("strategy", Kind::Row(&strategy::TABLE), STRATEGY_ABOUT).default("round_robin"),
        Key::new("health_check", Kind::Section(&HEALTH_CHECK), "How backends are probed.").words(&["off"]),
        Key::new("retry", Kind::Section(&RETRY), "When a request is retried.").words(&["off"]),
        Key::new("timeouts", Kind::Section(&TIMEOUTS), "Timeouts."),
        Key::new("limits", Kind::Section(&LIMITS), "Limits for clients and backends."),
        Key::new(
            "backends",
            BACKENDS,
            "Short form of a pool named `default` with these backends, and of a route for all requests to it, unless `routes` has such a route.",
        ),
        Key::new("pools", Kind::Named(&POOL), "Pools by name. A name has at most 64 letters, digits, `-`, `_` and `.`."),
        Key::new(
            "routes",
            Kind::List(&Kind::Section(&ROUTE)),
            "Which requests go to which pool. The most specific host wins, then the longest path; the order does not matter.",
        ),
    ],
};

/// An item of `listeners`.
pub(in crate::config) const LISTENER: Section = Section {
    name: "listeners[]",
    about: "One address where clients connect. Addresses must not be the same or overlap (`0.0.0.0:80` includes `127.0.0.1:80`).",
    keys: &[
        Key::new(
            "address",
            LISTEN_ADDRESS,
            "IP address and port; port 0 is any free port. `:8080` is `0.0.0.0:8080`; `[::]` is IPv6 only. `unix:PATH` is a Unix socket, created with mode 0660: a stale socket at this path is replaced, and the socket is removed when the process stops.",
        )
        .required(),
        Key::new("tls", Kind::Section(&LISTENER_TLS), "TLS with clients.")
            .words(OFF)
            .default("off"),
        Key::new(
            "http2",
            Kind::Flag,
            "Whether clients may use HTTP/2: with TLS if ALPN selects it, without TLS if a connection starts with the HTTP/2 preface.",
        )
        .default("true"),
        Key::new(
            "proxy_protocol",
            Kind::Flag,
            "Whether every connection begins with a PROXY header, version 1 or 2, that names the client. It is accepted only from `trusted_proxies`, which are then required, or on a Unix socket, where the permissions of the file control access. A connection without it, or from another address, is closed.",
        )
        .default("false"),
        Key::new(
            "redirect_to_https",
            Kind::Either(&Kind::Flag, &Kind::Count { least: 1, most: 65_535 }),
            "Whether requests are redirected (308) to the same URL with `https`. A number is the port to redirect to. `true` is port 443 if a listener with TLS uses it or none exists, else the port of the first listener with TLS of the same address, or of any address. Requests that a trusted proxy received over HTTPS, and those below `/.well-known/acme-challenge/`, are not redirected.",
        )
        .default("false"),
        Key::new(
            "client_half_close",
            Kind::Choice(&["abort", "serve"]),
            "What to do when an HTTP/1 client closes its sending side while it waits for the response or receives it. `abort`: treat the client as gone, abort the request at the backend and log status 499. `serve`: still send the response. A client that closes its sending side together with its request or directly after it, as `printf … | nc -N` does, is always served.",
        )
        .default("abort"),
    ],
};

/// `admin` as a map.
pub(in crate::config) const ADMIN: Section = Section {
    name: "admin",
    about: "The admin API, which includes the metrics. `admin: ADDRESS` is the short form of a map with only `address`.",
    keys: &[
        Key::new("address", ADDRESS, "IP address and port; port 0 is any free port.").default("127.0.0.1:9900"),
        Key::new(
            "token",
            Kind::Text(Form::new("visible ASCII characters").matching("^[!-~]+$")),
            "The bearer token that requests must have. Required when `address` is not a loopback address. Use a variable, such as `${EVENKEEL_TOKEN}`.",
        )
        .words(&["none"])
        .default("none"),
    ],
};

/// `access_log` as a map.
pub(in crate::config) const ACCESS_LOG: Section = Section {
    name: "access_log",
    about: "The access log has one JSON object per request. `access_log: stdout` is the short form of a map with `path: stdout`.",
    keys: &[
        Key::new(
            "path",
            Kind::Text(Form::new("a file")),
            "The file that lines are appended to, or a stream. Write a file with the name of a stream as `./stdout`.",
        )
        .words(&["stdout", "stderr", "off"])
        .default("stdout"),
        Key::new(
            "on_full",
            Kind::Choice(&["drop", "block"]),
            "What to do when the log cannot keep up: `drop` drops and counts the line, `block` makes the worker wait.",
        )
        .default("drop"),
        Key::new("query", Kind::Flag, "Whether `path` in a line includes the query, which may contain secrets.").default("false"),
    ],
};

/// A value of `pools`.
pub(in crate::config) const POOL: Section = Section {
    name: "pools.NAME",
    about: "Backends that are interchangeable for a request, and their settings. Settings that are not written are taken from the top level.",
    keys: &[
        Key::new("strategy", Kind::Row(&strategy::TABLE), STRATEGY_ABOUT).otherwise("as at top level"),
        Key::new("backends", BACKENDS, "The backends, at least one.").required(),
        Key::new(
            "health_check",
            Kind::Section(&HEALTH_CHECK),
            "How backends are probed.",
        )
        .words(&["off"])
        .otherwise("as at top level"),
        Key::new("retry", Kind::Section(&RETRY), "When a request is retried.")
            .words(&["off"])
            .otherwise("as at top level"),
        Key::new(
            "timeouts",
            Kind::Section(&POOL_TIMEOUTS),
            "Timeouts.",
        )
        .otherwise("as at top level"),
        Key::new("limits", Kind::Section(&POOL_LIMITS), "Limits for each backend.")
            .otherwise("as at top level"),
        Key::new(
            "tls",
            Kind::Section(&POOL_TLS),
            "TLS with backends whose URL starts with `https`.",
        )
        .words(OFF)
        .otherwise("off, or the defaults of its keys if a backend has an `https` URL"),
        Key::new(
            "send_proxy",
            Kind::Choice(&["off", "v1", "v2"]),
            "Whether connections to backends begin with a PROXY header that names the client, and its version. Each connection then carries only one request, because it belongs to that client. Probes send a header without an address (`PROXY UNKNOWN`, or LOCAL).",
        )
        .default("off"),
    ],
};

/// An item of `backends` as a map.
pub(in crate::config) const BACKEND: Section = Section {
    name: "backends[]",
    about: "One backend. A URL is the short form of a map with only `url`.",
    keys: &[
        Key::new(
            "url",
            BACKEND_URL,
            "Scheme, host and optional port (default 80, or 443 for `https`), and nothing else. `http` is HTTP/1.1, `h2c` is HTTP/2 without TLS, `https` is HTTP/2 or HTTP/1.1 as negotiated with the backend. `unix:PATH` is HTTP/1.1 over a Unix socket; probes use the host `localhost`.",
        )
        .required(),
        Key::new(
            "weight",
            Kind::Count { least: 0, most: 256 },
            "Its share of the requests relative to the other backends; 0 receives none.",
        )
        .default("1"),
        Key::new("backup", Kind::Flag, "Whether it is used only when no other backend is eligible.").default("false"),
    ],
};

/// An item of `routes`.
pub(in crate::config) const ROUTE: Section = Section {
    name: "routes[]",
    about: "Selects the pool for requests by host and path.",
    keys: &[
        Key::new(
            "host",
            Kind::Text(Form::new("a host name such as api.example.com or *.example.com, without a port").matching(r"^(\*\.)?[A-Za-z0-9._-]+$|^\[[0-9A-Fa-f:.]+\]$")),
            "The host of the request. `*.example.com` matches every name below `example.com`, but not `example.com` itself.",
        )
        .otherwise("every host"),
        Key::new(
            "path_prefix",
            Kind::Text(Form::new("a path that begins with /, such as /api").matching("^/[!-~]*$")),
            "The start of the path, in whole segments: `/api` matches `/api` and `/api/x`, but not `/apis`. A `/` at its end is ignored.",
        )
        .default("/"),
        Key::new(
            "pool",
            Kind::Text(Form::new("the name of a pool").matching("^[A-Za-z0-9._-]{1,64}$")),
            "The pool that receives the requests.",
        )
        .required(),
    ],
};
