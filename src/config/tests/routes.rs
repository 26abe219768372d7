//! What routes, their defaults, policies and stores mean.

use std::time::Duration;

use super::{bad, good, read, with};
use crate::config::print;
use crate::proxy::Action;
use crate::retry::{Attempts, HedgeAfter};
use crate::router::PathMatcher;

#[test]
fn a_route_has_the_defaults_that_it_does_not_write_itself() {
    let config = good(&with(
        "route_defaults: { request_headers: { remove: X-A }, timeouts: { first_byte: 9s }, policies: small }\n\
         policies: { small: { body_limit: 1MiB } }\n\
         routes: [{ host: a, pool: default }, { host: b, pool: default, policies: [], timeouts: { request: 8s } }]\n",
    ));
    let [first, second, short] = config.routes.as_slice() else {
        panic!("{:?}", config.routes);
    };
    for route in [first, short] {
        assert_eq!(route.policies, config.policies);
        let settings = route.pools()[0].settings.as_ref().unwrap();
        assert_eq!(settings.timeouts.first_byte, Duration::from_secs(9));
    }
    assert!(second.policies.is_empty() && second.request_headers.is_some());
    let settings = second.pools()[0].settings.as_ref().unwrap();
    assert_eq!(settings.timeouts.request, Duration::from_secs(8));
    // Key by key, as everywhere else.
    assert_eq!(settings.timeouts.first_byte, Duration::from_secs(9));
}

/// The settings of pool `api` as the only written route uses it; the pool and the top level have timeouts and retries of their own.
fn used(defaults: &str, route: &str) -> crate::pool::Settings {
    let config = good(&format!(
        "listen: :1\ntimeouts: {{ connect: 2s, progress: 21s }}\nretry: {{ attempts: 2, replay_limit: 2KiB }}\n\
         pools: {{ api: {{ backends: http://a:1, timeouts: {{ first_byte: 3s, request: 31s }}, retry: {{ attempts: 3, non_idempotent_503: true }} }} }}\n\
         route_defaults: {{ {defaults} }}\nroutes: [{{ pool: api, {route} }}]\n"
    ));
    let used = &config.routes[0].pools()[0];
    let settings = used.settings.as_deref().cloned();
    // What is printed means the same, although it has no `route_defaults`.
    assert_eq!(good(&print(&config)).routes, config.routes);
    settings.unwrap_or_else(|| config.pools[0].clone())
}

#[test]
fn timeouts_are_the_routes_then_of_route_defaults_then_the_pools_then_of_the_top_level() {
    let secs = Duration::from_secs;
    let of = |defaults, route| {
        let timeouts = used(defaults, route).timeouts;
        [
            timeouts.connect,
            timeouts.progress,
            timeouts.first_byte,
            timeouts.request,
        ]
    };
    let pool = [secs(2), secs(21), secs(3), secs(31)];
    assert_eq!(of("", ""), pool);
    assert_eq!(
        of("timeouts: { first_byte: 4s }", ""),
        [pool[0], pool[1], secs(4), pool[3]]
    );
    assert_eq!(
        of("", "timeouts: { first_byte: 5s }"),
        [pool[0], pool[1], secs(5), pool[3]]
    );
    let all = of(
        "timeouts: { first_byte: 4s, request: 41s, connect: 1s }",
        "timeouts: { first_byte: 5s }",
    );
    assert_eq!(all, [secs(1), pool[1], secs(5), secs(41)]);
}

#[test]
fn retries_are_the_routes_then_of_route_defaults_then_the_pools_then_of_the_top_level() {
    let of = |defaults, route| {
        let retry = used(defaults, route).retry;
        (retry.attempts, retry.replay_limit, retry.non_idempotent_503)
    };
    let attempts = Attempts::AtMost;
    assert_eq!(of("", ""), (attempts(3), 2048, true));
    assert_eq!(of("retry: { attempts: 4 }", ""), (attempts(4), 2048, true));
    assert_eq!(
        of("retry: { attempts: 4 }", "retry: { replay_limit: 5KiB }"),
        (attempts(4), 5120, true)
    );
    assert_eq!(of("retry: off", ""), (attempts(1), 2048, true));
    assert_eq!(
        of("retry: off", "retry: { attempts: 5 }"),
        (attempts(5), 2048, true)
    );
    assert_eq!(
        of("retry: off", "retry: { replay_limit: 5KiB }"),
        (attempts(1), 5120, true)
    );
    let hedge = used(
        "retry: { hedge: { after: 20ms } }",
        "retry: { hedge: { max: 1 } }",
    );
    let after = hedge.retry.hedge.map(|hedge| hedge.after);
    assert_eq!(after, Some(HedgeAfter::Time(Duration::from_millis(20))));
    assert_eq!(
        of("retry: { attempts: 4, replay_limit: 4KiB }", "retry: off"),
        (attempts(1), 4096, true)
    );
}

#[test]
fn the_body_limit_is_the_routes_then_of_route_defaults() {
    let limit = |keys: &str, route: &str| {
        let config = good(&with(&format!("{keys}routes: [{{ pool: default{route} }}]\n")));
        config.routes[0].body_limit
    };
    let defaults = "limits: { body: 1MiB }\nroute_defaults: { limits: { body: 2KiB } }\n";
    assert_eq!(limit("limits: { body: 1MiB }\n", ""), None);
    assert_eq!(limit(defaults, ""), Some(2048));
    assert_eq!(limit(defaults, ", limits: { body: 3KiB }"), Some(3072));
}

#[test]
fn overrides_apply_to_every_pool_of_a_split_and_keep_the_rest_of_each() {
    let config = good(
        "listen: :1\npools: { a: { backends: http://a:1, timeouts: { connect: 7s } }, b: { backends: http://b:1 } }\n\
         routes: [{ split: { a: 1, b: 1 }, retry: off, limits: { body: 1KiB } }, { host: c, pool: a }]\n",
    );
    let route = &config.routes[0];
    assert!(matches!(route.action, Action::Split(..)));
    for (used, connect) in route.pools().iter().zip([7, 1]) {
        let settings = used.settings.as_ref().unwrap();
        assert_eq!(settings.retry.attempts, Attempts::AtMost(1));
        assert_eq!(settings.timeouts.connect, Duration::from_secs(connect));
    }
    assert_eq!(route.body_limit, Some(1024));
    let other = &config.routes[1];
    assert!(other.pools()[0].settings.is_none() && other.body_limit.is_none());
}

#[test]
fn inline_policies_of_routes_with_one_label_have_names_of_their_own() {
    let config = good(&with(
        "routes: [{ method: GET, pool: default, policies: [{ body_limit: 1KiB }] }, \
         { method: PUT, pool: default, policies: [{ body_limit: 2KiB }, { body_limit: 3KiB }] }]\n",
    ));
    let policies = config.routes.iter().flat_map(|route| &route.policies);
    let names: Vec<&str> = policies.map(|policy| &*policy.name).collect();
    assert_eq!(names, ["*//body_limit", "*//body_limit/2", "*//body_limit/3"]);
}

#[test]
fn files_of_policies_start_at_the_folder_of_the_config() {
    let config = good(&with(
        "routes: [{ pool: default, policies: [{ basic_auth: { users_file: users } }, { jwt: { jwks: 'file:keys.json' } }, \
         { error_pages: { 404: pages/a.html } }] }, { host: a, pool: default, policies: [{ jwt: { jwks: 'https://a/keys' } }] }]\n",
    ));
    let text = print(&config);
    for shown in [
        "/etc/evenkeel/users",
        "\"file:/etc/evenkeel/keys.json\"",
        "/etc/evenkeel/pages/a.html",
        "\"https://a/keys\"",
    ] {
        assert!(text.contains(shown), "{shown}\n{text}");
    }
}

#[test]
fn environment_variables_of_header_values_are_expanded_and_those_of_requests_stay() {
    let config = good(&with(
        "routes: [{ pool: default, request_headers: { set: { X-A: '${PORT} ${client_ip} $$' } } }]\n",
    ));
    let text = print(&config);
    assert!(text.contains("\"48123 ${client_ip} $$\""), "{text}");
    assert_eq!(print(&good(&text)), text);
}

/// Nor is a long one quoted whole.
#[test]
fn a_pattern_that_costs_too_much_is_an_error_in_every_key() {
    let (long, deep) = ("a".repeat(1 << 20), "(".repeat(1 << 20));
    for pattern in [long.as_str(), &deep, "((a{100}){100}){100}"] {
        for keys in [
            format!("path_regex: '{pattern}'"),
            format!("headers: {{ X-A: {{ regex: '{pattern}' }} }}"),
            format!("query: {{ a: {{ regex: '{pattern}' }} }}"),
            format!("cookies: {{ a: {{ regex: '{pattern}' }} }}"),
            format!("rewrite: {{ path_regex: {{ match: '{pattern}', replace: / }} }}"),
        ] {
            let report = bad(&with(&format!("routes: [{{ pool: default, {keys} }}]\n"))).to_string();
            assert!(report.len() < 4_000, "{} {}", &keys[..20], report.len());
        }
    }
}

#[test]
fn of_many_names_a_message_about_an_unknown_one_lists_few() {
    let pools = (0..30).map(|number| format!("  pool{number}: {{ backends: [http://a:1] }}\n"));
    let policies = (0..30).map(|number| format!("  policy{number}: {{ body_limit: 1MiB }}\n"));
    let text = format!(
        "listen: :8080\npools:\n{}policies:\n{}routes: [{{ pool: xyz, policies: [uvw] }}]\n",
        pools.collect::<String>(),
        policies.collect::<String>()
    );
    let report = bad(&text).to_string();
    for part in [", pool9 and 20 more\n", ", policy9 and 20 more\n"] {
        assert!(report.contains(part), "{report}");
    }
}

#[test]
fn blocks_of_ipv4_addresses_inside_ipv6_are_those_of_ipv4() {
    let blocks = "['::ffff:10.0.0.0/104', '::ffff:192.0.2.7', 2001:db8::/32]";
    let config = good(&with(&format!(
        "trusted_proxies: {blocks}\nroutes: [{{ pool: default, client_ip: {blocks} }}]\n"
    )));
    let expected: [ipnet::IpNet; 3] =
        ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"].map(|block| block.parse().unwrap());
    assert_eq!(config.trusted_proxies.blocks, expected);
    assert_eq!(config.routes[0].matcher.conditions.client_ip, expected);
    let client = |ip: [u8; 4]| crate::net::ClientAddress::Ip((ip, 1).into());
    assert!(config.trusted_proxies.contains(client([10, 1, 2, 3])));
    assert!(!config.trusted_proxies.contains(client([11, 1, 2, 3])));
}

#[test]
fn the_path_of_a_route_is_exact_a_prefix_or_a_pattern() {
    let config = good(&with(
        "routes: [{ path: /a/, pool: default }, { path_prefix: /b/, pool: default }, { path_regex: '/c|/d', pool: default }]\n",
    ));
    let paths: Vec<_> = config.routes.iter().map(|route| &route.matcher.path).collect();
    assert_eq!(*paths[0], PathMatcher::Exact("/a/".to_owned()));
    assert_eq!(*paths[1], PathMatcher::Prefix("/b".to_owned()));
    assert!(matches!(paths[2], PathMatcher::Regex(_)));
}

#[test]
fn a_route_that_responds_needs_no_pool() {
    let loaded = read("listen: :1\nbackends: http://a:1\nroutes: [{ respond: { status: 404 } }]\n").unwrap();
    let routes = &loaded.config.routes;
    assert!(matches!(routes[0].action, Action::Respond(_)));
    assert_eq!(routes.len(), 1, "the route for every request is written");
}

#[test]
fn passwords_and_variables_of_routes_are_not_shown() {
    let text = print(
        &super::read(&with("stores: { a: { redis: 'redis://me:hush@a:1/0' } }\n"))
            .unwrap()
            .config,
    );
    assert!(
        text.contains("redis://me:****@a:1/0") && !text.contains("hush"),
        "{text}"
    );
    for lines in [
        "stores: { a: { redis: 'http://me:hush@a' } }",
        "stores: { a: { redis: '${WRONG}' } }",
        "routes: [{ pool: default, rewrite: { path: '${WRONG}' } }]",
        "routes: [{ pool: default, request_headers: { set: { X-A: '${WRONG}${nope}' } } }]",
        "routes: [{ pool: default, path_regex: '(${WRONG}' }]",
        "routes: [{ pool: default, listener: '${WRONG}', method: '${WRONG} x', client_ip: '${WRONG}' }]",
        "routes: [{ pool: default, policies: '${WRONG}' }]",
        "policies: { a: { basic_auth: { users: { b: '${WRONG}', c: hush } } } }",
        "policies: { a: { rate_limit: { rate: 1/s, shared: '${WRONG}' } } }",
        "policies: { a: { error_pages: { 404: { pool: '${WRONG}', path: /a } } } }",
    ] {
        let shown = bad(&with(lines)).to_string();
        assert!(!shown.contains("hush"), "{lines}\n{shown}");
    }
}

#[test]
fn routes_that_name_no_pool_need_no_backend() {
    let config = good("listen: :1\nroutes: [{ redirect: { scheme: https } }, { path: /a, respond: {} }]\n");
    assert!(config.pools.is_empty());
    let report = bad("listen: :1\nroutes: [{ pool: app }]\n").to_string();
    assert!(
        report.contains("unknown pool `app`") && report.contains("write `pools: { app: { backends:"),
        "{report}"
    );
}

#[test]
fn a_redirect_to_its_own_url_is_an_error_where_that_is_certain() {
    for (route, is_loop) in [
        ("{ redirect: { port: 8080 } }", true),
        ("{ host: a.test, redirect: { host: a.test, scheme: http } }", true),
        ("{ host: a.test, path: /x, redirect: { path: /x } }", true),
        ("{ host: a.test, redirect: { host: b.test } }", false),
        ("{ redirect: { scheme: https } }", false),
        ("{ host: [a.test, b.test], redirect: { host: a.test } }", false),
        ("{ path_prefix: /x, redirect: { path: /x } }", false),
        (
            "{ cookies: { seen: 'no' }, host: a.test, redirect: { host: a.test } }",
            false,
        ),
    ] {
        let text = |rest: &str| {
            format!(
                "listen: :8080\nbackends: [http://a:1]\nroutes: [{{ path_prefix: /other, pool: default }}, {route}]\n{rest}"
            )
        };
        match read(&text("")) {
            Ok(_) => assert!(!is_loop, "{route}"),
            Err(report) => assert!(
                is_loop && report.to_string().contains("for ever"),
                "{route}: {report}"
            ),
        }
        // A proxy in front may have another scheme and port.
        let behind = read(&text("trusted_proxies: [10.0.0.0/8]\n"));
        let is_of_path = route.contains("path: /x, redirect");
        assert_eq!(behind.is_err(), is_loop && is_of_path, "{route}");
    }
}
