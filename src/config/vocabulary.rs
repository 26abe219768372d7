//! A table of keys and words of other load balancers, and of keys that are planned, with what to write in their place. None
//! of them is accepted. A word is removed from it when it becomes a key of its section.

/// Names of sections, as in the table of keys.
const TOP: &str = "top level";
const LISTENER: &str = "listeners[]";
const LISTENER_TLS: &str = "listeners[].tls";
const CERTIFICATE: &str = "certificates[]";
const HEALTH_CHECK: &str = "health_check";
const RETRY: &str = "retry";
const TIMEOUTS: &str = "timeouts";
const LIMITS: &str = "limits";
const POOL: &str = "pools.NAME";
const BACKEND: &str = "backends[]";
const ROUTE: &str = "routes[]";
const LOG: &str = "access_log";
const POOL_TLS: &str = "pools.NAME.tls";
const TRACING: &str = "tracing";

/// The meaning of an unknown key.
#[derive(Debug)]
pub(super) struct Meaning {
    /// The key of the section to use instead. If it is required, its absence is not reported as well.
    pub(super) key: Option<&'static str>,
    /// What to write, if the name of the key is not enough.
    pub(super) note: Option<&'static str>,
    /// Whether a later version will support it.
    pub(super) is_planned: bool,
}

const fn called(key: &'static str) -> Meaning {
    Meaning {
        key: Some(key),
        note: None,
        is_planned: false,
    }
}

const fn note(note: &'static str) -> Meaning {
    Meaning {
        key: None,
        note: Some(note),
        is_planned: false,
    }
}

const fn part_of(key: &'static str, note: &'static str) -> Meaning {
    Meaning {
        key: Some(key),
        note: Some(note),
        is_planned: false,
    }
}

const PLANNED: Meaning = Meaning {
    key: None,
    note: None,
    is_planned: true,
};

/// A row: sections, words that are used in them, and the meaning of the words.
type Row = (&'static [&'static str], &'static [&'static str], Meaning);

const POOL_RULES: &[&str] = &[TOP, POOL];

#[rustfmt::skip]
static KEYS: &[Row] = &[
    (&[TOP], &["bind", "port", "address", "entrypoints", "entry_points", "frontend", "frontends", "server", "binds"],
        part_of("listen", "write the address where clients connect as `listen: 0.0.0.0:8080`")),
    (&[TOP], &["servers", "upstream", "upstreams", "services", "service", "clusters", "cluster", "targets", "origins", "endpoints", "proxy_pass", "reverse_proxy"],
        part_of("backends", "write backends as `backends: [http://localhost:8001]`, or in `pools`")),
    (&[TOP], &["routers", "locations", "location", "rules", "vhosts", "virtual_hosts", "paths", "ingress"],
        note("write which requests go to which pool as `routes: [{ path_prefix: /api, pool: api }]`")),
    (&[TOP], &["server_name", "host", "hosts", "hostname", "domain", "domains"],
        note("a host belongs to a route: `routes: [{ host: example.com, pool: default }]`")),
    (&[TOP], &["tls", "ssl", "https", "certificates", "certificate", "cert", "certs"],
        note("TLS belongs to a listener: `listeners: [{ address: 0.0.0.0:443, tls: { certificates: [{ cert: site.pem, key: site.key }] } }]`")),
    (&[TOP], &["http", "global", "defaults", "events", "stream", "static_resources"],
        note("there is no such section: write its keys at top level")),
    (&[TOP], &["log", "logs", "logging"], note("`access_log` sets where requests are logged; everything else is logged to stdout")),
    (&[TOP], &["log_level", "loglevel"], PLANNED),
    (&[TOP], &["metrics", "prometheus", "stats", "status", "dashboard", "api"],
        note("metrics and status are part of the admin API: `admin: 127.0.0.1:9900`, which is the default; metrics are at `/metrics`")),
    (&[TOP], &["worker_processes", "threads", "nbthread", "worker_threads", "concurrency"], called("workers")),
    (&[TOP], &["real_ip", "set_real_ip_from", "trusted_ips", "forwarded_headers", "forward_for"], called("trusted_proxies")),
    (&[TOP], &["traces", "trace", "opentelemetry", "otel", "otlp", "jaeger", "zipkin"],
        part_of("tracing", "write it as `tracing: { otlp: http://127.0.0.1:4318 }`")),
    (&[TRACING], &["url", "endpoint", "collector", "address", "exporter"], called("otlp")),
    (&[TRACING], &["ratio", "sampling", "sampler", "sample_rate", "sampling_ratio", "random_sampling"], called("sample")),
    (&[TRACING], &["service", "servicename"], called("service_name")),
    (&[TOP], &["docker"], PLANNED),
    (&[TOP], &["client_max_body_size"], note("write it as `limits: { body: 1MiB }`")),
    (&[TOP], &["maxconn", "max_connections", "worker_connections"], note("write it as `limits: { connections: 1000 }`")),
    (&[TOP], &["keepalive_timeout"], note("write it as `timeouts: { client_idle: 60s }`")),
    (&[TOP], &["http2", "proxy_protocol", "redirect_to_https"], note("it is a key of a listener: `listeners: [{ address: 0.0.0.0:8080, … }]`")),

    (POOL_RULES, &["balance", "lb_policy", "algorithm", "load_balancing", "lb", "method", "load_balancer"], called("strategy")),
    (POOL_RULES, &["retries", "max_retries", "num_retries"], note("write it as `retry: { attempts: 3 }`")),
    (&[POOL], &["sticky_sessions", "session_affinity", "affinity", "cookie", "session_cookie", "stickiness"],
        part_of("sticky", "write it as `sticky: { cookie: lb }`")),
    (&[TOP], &["sticky", "sticky_sessions", "session_affinity", "affinity", "cookie"],
        note("it is a key of a pool: `pools: { web: { sticky: { cookie: lb }, … } }`")),
    (POOL_RULES, &["outlier_detection", "outlier", "passive_health_check", "max_fails"], called("ejection")),
    (POOL_RULES, &["slowstart"], called("slow_start")),
    (&[POOL], &["servers", "targets", "members", "nodes", "upstreams", "endpoints", "urls", "url"], called("backends")),

    (&[BACKEND], &["address", "server", "target", "uri", "addr", "endpoint"], called("url")),
    (&[BACKEND], &["host", "port", "scheme"], part_of("url", "write host and port as a URL: `url: http://10.0.0.1:8001`")),
    (&[BACKEND], &["id", "label", "alias"], called("name")),
    (&[BACKEND], &["draining", "maintenance", "maint"], called("drain")),
    (&[BACKEND], &["down", "disabled"], note("to send a backend no requests, write `weight: 0`; `drain: true` keeps its sticky clients")),
    (&[BACKEND], &["check", "health_check", "max_fails", "fail_timeout"], note("`health_check` belongs to a pool, or to the top level")),
    (&[BACKEND], &["max_conns", "maxconn"], note("write it as `limits: { in_flight_per_backend: 100 }`, in the pool or at top level")),

    (&[LISTENER], &["port", "bind", "listen", "addr"], called("address")),
    (&[LISTENER], &["ssl", "cert", "certs", "certificate", "certificates", "key"],
        part_of("tls", "write TLS as `tls: { certificates: [{ cert: site.pem, key: site.key }] }`")),
    (&[LISTENER], &["http3", "quic"], PLANNED),
    (&[LISTENER], &["protocol"], note("a listener accepts both HTTP/1.1 and HTTP/2; `tls` adds TLS")),
    (&[LISTENER_TLS], &["cert", "key", "certificate", "private_key", "certs", "cert_file", "key_file"],
        part_of("certificates", "write certificate and key as `certificates: [{ cert: site.pem, key: site.key }]`")),
    (&[LISTENER_TLS], &["ca", "client_certificate"], called("client_ca")),
    (&[LISTENER_TLS], &["min_version", "protocols", "versions", "ciphers", "acme", "auto"], PLANNED),
    (&[POOL_TLS], &["insecure_skip_verify", "skip_verify", "insecure", "verify", "ssl_verify"], called("danger_skip_verify")),
    (&[POOL_TLS], &["sni", "servername", "hostname"], called("server_name")),
    (&[POOL_TLS], &["root_ca", "ca_file", "trusted_certificate"], called("ca")),
    (&[CERTIFICATE], &["certificate", "cert_file", "crt", "pem", "chain", "fullchain"], called("cert")),
    (&[CERTIFICATE], &["private_key", "key_file", "privkey"], called("key")),

    (&[HEALTH_CHECK], &["uri", "url", "endpoint"], called("path")),
    (&[HEALTH_CHECK], &["type", "protocol", "mode"], called("kind")),
    (&[HEALTH_CHECK], &["inter", "period", "every", "interval_seconds"], called("interval")),
    (&[HEALTH_CHECK], &["rise", "passes", "healthy_threshold", "successes", "success_threshold"], called("healthy_after")),
    (&[HEALTH_CHECK], &["fall", "fails", "unhealthy_threshold", "failures", "failure_threshold", "max_fails"], called("unhealthy_after")),
    (&[HEALTH_CHECK], &["expect", "expect_status", "expected_status", "codes", "match", "statuses"], called("status")),
    (&[HEALTH_CHECK], &["enabled"], note("health checks are on by default; `health_check: off` disables them")),

    (&[RETRY], &["on", "retry_on", "conditions", "codes", "status", "statuses"], called("causes")),
    (&[RETRY], &["max", "count", "tries", "times", "retries", "max_retries", "num_retries", "max_attempts"],
        part_of("attempts", "it is called `attempts` here and includes the first attempt")),

    (&[TIMEOUTS], &["read", "server", "response", "backend", "proxy_read", "upstream", "timeout"],
        note("`first_byte` limits one attempt, `request` all attempts together")),
    (&[TIMEOUTS], &["write", "send", "body"], called("progress")),
    (&[TIMEOUTS], &["idle", "client", "keepalive", "keep_alive"], called("client_idle")),
    (&[TIMEOUTS], &["header", "headers", "read_header", "http_request"], called("client_header")),
    (&[TIMEOUTS], &["websocket", "tunnel"], called("tunnel_idle")),
    (&[TIMEOUTS], &["shutdown", "graceful", "grace", "stop"], called("drain")),

    (&[LIMITS], &["max_connections", "maxconn"], called("connections")),
    (&[LIMITS], &["max_body_size", "body_size", "max_body", "client_max_body_size", "request_body"], called("body")),
    (&[LIMITS], &["headers", "max_headers", "header_count"], called("fields")),
    (&[LIMITS], &["header", "header_size", "max_header_size", "request_head"], called("head")),
    (&[LIMITS], &["in_flight", "max_in_flight", "max_requests"], called("in_flight_per_backend")),
    (&[LIMITS], &["rate", "rps", "requests_per_second"], PLANNED),

    (&[LOG], &["file", "filename", "target", "output", "to"], called("path")),
    (&[LOG], &["log_format", "style"], called("format")),
    (&[LOG], &["sampling", "sample_rate"], part_of("sample", "write it as `sample: { 2xx: 1% }`")),
    (&[LOG], &["headers"], part_of("fields", "name headers as `fields: [time, status, header.User-Agent]`")),
    (&[LOG], &["level"], PLANNED),

    (&[ROUTE], &["prefix", "location", "uri"], called("path_prefix")),
    (&[ROUTE], &["backend", "upstream", "service", "target", "cluster", "to", "proxy_pass"], called("pool")),
    (&[ROUTE], &["backends", "servers", "url"], part_of("pool", "write the backends in `pools`, and `pool: NAME` here")),
    (&[ROUTE], &["hosts", "domain", "domains", "server_name"], called("host")),
    (&[ROUTE], &["regex", "path_regexp"], called("path_regex")),
    (&[ROUTE], &["methods", "verb", "verbs"], called("method")),
    (&[ROUTE], &["header"], called("headers")),
    (&[ROUTE], &["query_params", "query_parameters", "args", "params"], called("query")),
    (&[ROUTE], &["cookie"], called("cookies")),
    (&[ROUTE], &["source_ip", "src", "remote_addr", "ip", "client"], called("client_ip")),
    (&[ROUTE], &["entrypoints", "entry_points", "listeners"], called("listener")),
    (&[ROUTE], &["weights", "weighted", "canary", "traffic_split"], called("split")),
    (&[ROUTE], &["return", "direct_response", "fixed_response", "static_response"], called("respond")),
    (&[ROUTE], &["strip_prefix", "stripprefix", "strip_path"], part_of("rewrite", "write it as `rewrite: { path_prefix: / }`, with a `path_prefix` of the route")),
    (&[ROUTE], &["shadow", "request_mirror", "request_mirror_policies"], called("mirror")),
    (&[ROUTE], &["middlewares", "middleware", "plugins", "filters"], called("policies")),
    (&[ROUTE], &["cors", "rate_limit", "basic_auth", "jwt", "forward_auth", "compress", "error_pages", "body_limit", "concurrency"],
        part_of("policies", "it is a policy: write it in `policies: [{ … }]` of the route")),
    (&[TOP], &["compression", "compress", "gzip", "cors", "rate_limit", "rate_limits", "basic_auth", "error_pages"],
        part_of("policies", "it is a policy: name it in `policies`, and write that name in `policies` of routes or of `route_defaults`")),
    (&[TOP], &["middlewares", "middleware", "plugins", "filters"], called("policies")),
    (&[TOP], &["redis", "valkey"], part_of("stores", "write it as `stores: { limits: { redis: redis://127.0.0.1:6379/0 } }`")),
];

/// The meaning of an unknown key of a section. Differences in case, and `-` for `_`, do not matter.
pub(super) fn key(section: &str, word: &str) -> Option<&'static Meaning> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    // `timeouts` and `limits` of a pool have keys of their sections at top level.
    let at_top = section.strip_prefix("pools.NAME.").unwrap_or(section);
    let is_of = |sections: &[&str]| sections.contains(&section) || sections.contains(&at_top);
    let row = KEYS
        .iter()
        .find(|(sections, words, _)| is_of(sections) && words.contains(&word.as_str()));
    row.map(|(_, _, meaning)| meaning)
}

/// A hint for a strategy of another balancer: the name of ours, or that this version has none.
pub(super) fn strategy(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    Some(match word.as_str() {
        "least_conn" | "leastconn" | "least_connections" | "least_request" | "lc" => {
            "it is called `least_requests` here"
        }
        "rr" | "wrr" | "weighted" | "weighted_round_robin" | "static_rr" => {
            "it is called `round_robin` here; every strategy supports weights"
        }
        "ip_hash" | "source" | "client_ip" | "client_ip_hash" | "hash" | "uri" | "uri_hash" | "url_hash"
        | "header" | "cookie" | "sticky" => {
            "a client, or another part of the request, stays with a backend by `strategy: { kind: maglev, key: client_ip }`"
        }
        "ringhash" | "ring" | "consistent_hash" | "consistent" | "ketama" | "chash" => {
            "it is called `ring_hash` here: `strategy: { kind: ring_hash, key: client_ip }`; `maglev` is more even"
        }
        "p2c" | "power_of_two" | "power_of_two_choices" | "random_choose" | "random_two" => {
            "it is called `two_choices` here"
        }
        "ewma" | "peakewma" | "least_time" | "fastest" | "response_time" | "least_response_time" => {
            "it is called `peak_ewma` here"
        }
        _ => return None,
    })
}

/// The key of requests that is meant by a name from elsewhere, such as `ip` for `client_ip`.
pub(super) fn request_key(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let known = match word.trim_matches(['$', '{', '}']) {
        "ip" | "addr" | "address" | "client" | "client_addr" | "remote_addr" | "remote_address"
        | "binary_remote_addr" | "remote_ip" | "source" | "source_ip" | "src" => "client_ip",
        "url" | "request_uri" => "uri",
        "hostname" | "http_host" | "authority" => "host",
        "username" | "remote_user" => "user",
        _ => return None,
    };
    Some(known.to_owned())
}

/// A hint for a kind of policy of another balancer.
pub(super) fn policy(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    Some(match word.as_str() {
        "gzip" | "brotli" | "compression" => "it is called `compress` here",
        "ratelimit" | "limit_req" | "local_ratelimit" | "throttle" => "it is called `rate_limit` here",
        "limit_conn" | "inflightreq" | "in_flight_req" | "max_in_flight" => "it is called `concurrency` here",
        "basicauth" | "auth_basic" => "it is called `basic_auth` here",
        "forwardauth" | "auth_request" | "ext_authz" => "it is called `forward_auth` here",
        "ipallowlist" | "ip_allow_list" | "ipwhitelist" | "allow" | "deny" | "rbac" => {
            "it is called `ip` here"
        }
        "errors" | "error_page" | "errorfile" => "it is called `error_pages` here",
        "buffering" | "max_body" | "client_max_body_size" => "it is called `body_limit` here",
        "headers" => "headers are changed by `request_headers` and `response_headers` of a route",
        "redirectscheme" | "redirectregex" | "redirect" => "write `redirect` in a route",
        "retry" => "write `retry` in a route",
        _ => return None,
    })
}

/// A hint for a retry cause of another balancer.
pub(super) fn cause(word: &str) -> Option<&'static str> {
    Some(match word {
        "error" => "it is called `connect_failure` and `reset` here",
        "conn_failure" | "conn-failure" | "connect_error" | "connect-error" | "refused" => {
            "it is called `connect_failure` here"
        }
        "empty-response" | "junk-response" | "disconnect" | "connection_reset" => "it is called `reset` here",
        "response-timeout" | "http_timeout" => "it is called `timeout` here",
        "5xx" | "gateway-error" | "gateway_error" | "http_5xx" => "write the statuses: `502, 503, 504`",
        "http_502" => "did you mean `502`?",
        "http_503" => "did you mean `503`?",
        "http_504" => "did you mean `504`?",
        "all" | "any" | "all-retryable-errors" => "write the causes one by one",
        _ if word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()) => {
            "this status is never retried: only 502, 503 and 504 can mean that the request was not handled"
        }
        _ => return None,
    })
}

/// A hint for an unsupported scheme of a backend URL.
pub(super) fn scheme(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "grpc" => "gRPC without TLS is `h2c://`, with TLS `https://`",
        "grpcs" => "gRPC with TLS is `https://`",
        "h2" | "http2" => "HTTP/2 without TLS is `h2c://`, with TLS `https://`",
        "ws" => "write `http://`: it supports WebSockets",
        "tcp" | "udp" => "only HTTP is supported: write `http://`",
        "wss" | "tls" | "ssl" => "write `https://`: it supports WebSockets",
        "http" => "write `http://`",
        "https" => "write `https://`",
        "h2c" => "write `h2c://`",
        "http+unix" => "write a Unix socket as `unix:/path`",
        "fcgi" | "fastcgi" | "uwsgi" | "scgi" | "ajp" => "only HTTP backends are supported",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sections::SECTIONS;

    #[test]
    fn names_sections_and_keys_that_exist() {
        for (sections, words, meaning) in KEYS {
            for name in *sections {
                let section = SECTIONS.iter().find(|section| section.name == *name).unwrap();
                if let Some(key) = meaning.key {
                    assert!(section.key(key).is_some(), "{name}: {key}");
                }
                for word in *words {
                    assert!(section.key(word).is_none(), "{name}: `{word}` is a key now");
                    assert!(
                        std::ptr::eq(super::key(name, word).unwrap(), meaning),
                        "{name}: {word}"
                    );
                }
            }
        }
    }
}
