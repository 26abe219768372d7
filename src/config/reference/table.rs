//! The keys of the top level, and of what stands in its lists and maps.

use super::rules::{HEALTH_CHECK, LIMITS, POOL_LIMITS, POOL_TIMEOUTS, RETRY, TIMEOUTS};
use super::tls::{LISTENER_TLS, POOL_TLS};
use super::{Form, Key, Kind, Section};

const ADDRESS: Kind = Kind::Text(Form {
    what: "an IP address and a port, such as 0.0.0.0:8080, [::1]:8080 or :8080",
    pattern: Some(r"^([0-9.]+:|\[[0-9A-Fa-f:.%]+\]:|\*:|:)?[0-9]{1,5}$"),
    or_number: true,
});

/// What clients can come to, beside an address of the network.
const LISTEN_ADDRESS: Kind = Kind::Text(Form {
    what: "an IP address and a port, such as 0.0.0.0:8080, [::1]:8080 or :8080, or a socket file such as unix:/run/evenkeel.sock",
    pattern: Some(r"^(unix:.+|([0-9.]+:|\[[0-9A-Fa-f:.%]+\]:|\*:|:)?[0-9]{1,5})$"),
    or_number: true,
});

const BACKEND_URL: Kind = Kind::Text(Form {
    what: "a URL such as http://10.0.0.1:8001, https://… or h2c://…, or a socket file such as unix:/run/app.sock",
    pattern: Some(r"^(unix:.+|(http|https|h2c)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?)$"),
    or_number: false,
});

const BACKENDS: Kind = Kind::Either(
    &BACKEND_URL,
    &Kind::List(&Kind::Either(&BACKEND_URL, &Kind::Section(&BACKEND))),
);

/// What switches a feature off.
const OFF: &[&str] = &["off", "none"];

const STRATEGY_ABOUT: &str = "How a backend is chosen; `evenkeel strategies` lists them.";

/// The file itself.
pub(in crate::config) const ROOT: Section = Section {
    name: "top level",
    about: "`listen` and `backends` are enough. They are short for `listeners`, and for a pool named `default` with a route to it; short and long keys mix.",
    keys: &[
        Key::new(
            "listen",
            Kind::Either(&LISTEN_ADDRESS, &Kind::List(&LISTEN_ADDRESS)),
            "Where clients connect. Short for `listeners` with nothing but an `address`. `:8080` is port 8080 of every IPv4 address.",
        ),
        Key::new("listeners", Kind::List(&Kind::Section(&LISTENER)), "Where clients connect."),
        Key::new(
            "workers",
            Kind::Count { least: 1, most: 1024 },
            "Number of worker threads. `auto` is one a core that the process may use.",
        )
        .words(&["auto"])
        .default("auto"),
        Key::new(
            "admin",
            Kind::Either(&ADDRESS, &Kind::Section(&ADMIN)),
            "Where the API, the metrics and the dashboard are. Without `token` it must be a loopback address.",
        )
        .words(&["off"])
        .default("127.0.0.1:9900"),
        Key::new(
            "access_log",
            Kind::Either(&Kind::Choice(&["stdout", "stderr", "off"]), &Kind::Section(&ACCESS_LOG)),
            "Where the line of every request goes.",
        )
        .default("stdout"),
        Key::new(
            "trusted_proxies",
            Kind::List(&Kind::Text(Form {
                what: "an IP address, a block such as 10.0.0.0/8, or unix",
                pattern: Some(r"^(unix|[0-9A-Fa-f:.]+(/[0-9]{1,3})?)$"),
                or_number: false,
            })),
            "Whose `X-Forwarded-*` fields, and whose PROXY headers, are believed. `unix` is whoever comes through a socket file: it counts for the fields only.",
        )
        .default("[]"),
        Key::new("strategy", Kind::Strategy, STRATEGY_ABOUT).default("round_robin"),
        Key::new("health_check", Kind::Section(&HEALTH_CHECK), "How backends are probed.").words(&["off"]),
        Key::new("retry", Kind::Section(&RETRY), "When a request is sent again.").words(&["off"]),
        Key::new("timeouts", Kind::Section(&TIMEOUTS), "How long things may take."),
        Key::new("limits", Kind::Section(&LIMITS), "What clients and backends may use."),
        Key::new(
            "backends",
            BACKENDS,
            "Short for a pool named `default` with these backends, and a route of every request to it unless `routes` has one.",
        ),
        Key::new("pools", Kind::Named(&POOL), "Pools by name: letters, digits, `-`, `_` and `.`, at most 64."),
        Key::new(
            "routes",
            Kind::List(&Kind::Section(&ROUTE)),
            "Which requests go to which pool. The most specific host wins, then the longest path; order does not matter.",
        ),
    ],
};

/// An item of `listeners`.
pub(in crate::config) const LISTENER: Section = Section {
    name: "listeners[]",
    about: "One address where clients connect. No two may be the same, nor one a part of another (`0.0.0.0:80` has `127.0.0.1:80` in it).",
    keys: &[
        Key::new(
            "address",
            LISTEN_ADDRESS,
            "IP address and port; port 0 takes a free one. `:8080` is `0.0.0.0:8080`; `[::]` is IPv6 only. `unix:PATH` is a socket file, made with mode 0660: one at which nobody listens is replaced, and it is removed at the stop.",
        )
        .required(),
        Key::new("tls", Kind::Section(&LISTENER_TLS), "How TLS is spoken to clients.")
            .words(OFF)
            .default("off"),
        Key::new(
            "http2",
            Kind::Flag,
            "Whether clients may speak HTTP/2: under TLS when both sides agree on it, else when a connection begins with its preface.",
        )
        .default("true"),
        Key::new(
            "proxy_protocol",
            Kind::Flag,
            "Whether every connection begins with a PROXY header, version 1 or 2, which says whose it is. It is believed from `trusted_proxies`, which are needed then; at a socket file the permissions of the file are the trust. A connection without it, or of anybody else, is closed.",
        )
        .default("false"),
        Key::new(
            "redirect_to_https",
            Kind::Either(&Kind::Flag, &Kind::Count { least: 1, most: 65_535 }),
            "Whether requests are answered with a redirect (308) to the same place by https. The port is the one that is written; `true` is 443 where a listener with TLS has it or there is none, else that of the first listener with TLS of the same address or of all. What a trusted proxy received by https and what is below `/.well-known/acme-challenge/` is served.",
        )
        .default("false"),
        Key::new(
            "client_half_close",
            Kind::Choice(&["abort", "serve"]),
            "What it means when an HTTP/1 client closes its sending side while it waits for its response or receives it. `abort`: it has left, so its request is given up at the backend and logged with status 499. `serve`: it still gets its response. A client that closes its sending side together with its request or directly behind it, as `printf … | nc -N` does, is always served.",
        )
        .default("abort"),
    ],
};

/// `admin` as a map.
pub(in crate::config) const ADMIN: Section = Section {
    name: "admin",
    about: "The admin API, the metrics and the dashboard. `admin: ADDRESS` is short for a map with nothing but `address`.",
    keys: &[
        Key::new("address", ADDRESS, "IP address and port; port 0 takes a free one.").default("127.0.0.1:9900"),
        Key::new(
            "token",
            Kind::Text(Form {
                what: "visible ASCII characters",
                pattern: Some("^[!-~]+$"),
                or_number: false,
            }),
            "The bearer token that requests must carry. Needed when `address` is not loopback. Take it from a variable: `${EVENKEEL_TOKEN}`.",
        )
        .words(&["none"])
        .default("none"),
    ],
};

/// `access_log` as a map.
pub(in crate::config) const ACCESS_LOG: Section = Section {
    name: "access_log",
    about: "One JSON object a request. `access_log: stdout` is short for a map with `path: stdout`.",
    keys: &[
        Key::new(
            "path",
            Kind::Text(Form {
                what: "a file",
                pattern: None,
                or_number: false,
            }),
            "The file that lines are appended to, or a stream. A file that has such a name is `./stdout`.",
        )
        .words(&["stdout", "stderr", "off"])
        .default("stdout"),
        Key::new(
            "on_full",
            Kind::Choice(&["drop", "block"]),
            "What happens to a line when the log cannot keep up: it is dropped and counted, or the worker waits.",
        )
        .default("drop"),
        Key::new("query", Kind::Flag, "Whether `path` of a line carries the query, which may hold secrets.").default("false"),
    ],
};

/// A value of `pools`.
pub(in crate::config) const POOL: Section = Section {
    name: "pools.NAME",
    about: "Backends that are interchangeable for a request, and the rules for asking them. What is not written is taken from the top level.",
    keys: &[
        Key::new("strategy", Kind::Strategy, STRATEGY_ABOUT).otherwise("as at top level"),
        Key::new("backends", BACKENDS, "At least one.").required(),
        Key::new(
            "health_check",
            Kind::Section(&HEALTH_CHECK),
            "How backends are probed.",
        )
        .words(&["off"])
        .otherwise("as at top level"),
        Key::new("retry", Kind::Section(&RETRY), "When a request is sent again.")
            .words(&["off"])
            .otherwise("as at top level"),
        Key::new(
            "timeouts",
            Kind::Section(&POOL_TIMEOUTS),
            "How long things may take.",
        )
        .otherwise("as at top level"),
        Key::new("limits", Kind::Section(&POOL_LIMITS), "What a backend may get.")
            .otherwise("as at top level"),
        Key::new(
            "tls",
            Kind::Section(&POOL_TLS),
            "How TLS is spoken to backends whose URL begins with `https`.",
        )
        .words(OFF)
        .otherwise("off, or with `https` backends what its keys say when absent"),
        Key::new(
            "send_proxy",
            Kind::Choice(&["off", "v1", "v2"]),
            "Whether connections to backends begin with a PROXY header that names the client, and in which version. Each carries one request then, because it belongs to that client. Probes say that they are nobody's (`PROXY UNKNOWN`, or LOCAL).",
        )
        .default("off"),
    ],
};

/// An item of `backends` as a map.
pub(in crate::config) const BACKEND: Section = Section {
    name: "backends[]",
    about: "One backend. A URL alone is short for a map with nothing but `url`.",
    keys: &[
        Key::new(
            "url",
            BACKEND_URL,
            "Scheme, host and port (80 when not written, 443 for `https`), and nothing else. `http` is HTTP/1.1, `h2c` is HTTP/2 without TLS, `https` is what backend and balancer agree on. `unix:PATH` is HTTP/1.1 over a socket file; probes ask for the host `localhost` there.",
        )
        .required(),
        Key::new(
            "weight",
            Kind::Count { least: 0, most: 256 },
            "Its share of the requests relative to the other backends; 0 gets none.",
        )
        .default("1"),
        Key::new("backup", Kind::Flag, "Whether it is used only when no other backend is eligible.").default("false"),
    ],
};

/// An item of `routes`.
pub(in crate::config) const ROUTE: Section = Section {
    name: "routes[]",
    about: "Requests for a host and a path go to a pool.",
    keys: &[
        Key::new(
            "host",
            Kind::Text(Form {
                what: "a host name such as api.example.com or *.example.com, without a port",
                pattern: Some(r"^(\*\.)?[A-Za-z0-9._-]+$|^\[[0-9A-Fa-f:.]+\]$"),
                or_number: false,
            }),
            "The host of the request. `*.example.com` is every name below `example.com`, not `example.com` itself.",
        )
        .otherwise("every host"),
        Key::new(
            "path_prefix",
            Kind::Text(Form {
                what: "a path that begins with /, such as /api",
                pattern: Some("^/[!-~]*$"),
                or_number: false,
            }),
            "The beginning of the path, in whole segments: `/api` is also `/api/x`, not `/apis`. A `/` at its end says nothing.",
        )
        .default("/"),
        Key::new(
            "pool",
            Kind::Text(Form {
                what: "the name of a pool",
                pattern: Some("^[A-Za-z0-9._-]{1,64}$"),
                or_number: false,
            }),
            "Where the requests go.",
        )
        .required(),
    ],
};
