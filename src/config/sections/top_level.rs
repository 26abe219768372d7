//! The file itself: the keys at top level, and the order in which their sections are read.

use super::access_log::{self, ACCESS_LOG, ACCESS_LOG_SINK};
use super::address::LISTEN_ADDRESS;
use super::admin::{self, ADMIN};
use super::known::Known;
use super::limits::{self, LIMITS};
use super::listener::{self, LISTENER};
use super::policies::{self, Policies};
use super::pool::{self, POOL};
use super::route::{self, ROUTE};
use super::stores::{self, Stores};
use super::timeouts::{self, TIMEOUTS};
use super::{
    backend, ejection, health_check, lists, queue, reloads, retry, strategy, tracing, trusted_proxies,
};
use crate::config::context::Context;
use crate::config::print::{Item, map, quoted, word};
use crate::config::reader::Reader;
use crate::config::source::Diagnostic;
use crate::config::tree::{Node, Value};
use crate::config::{self, Config, Workers};
use crate::schema::{Key, Kind, Section};

/// The file itself.
pub(super) const ROOT: Section = Section {
    name: "top level",
    about: "`listen` and `backends` are enough: they are short forms of `listeners`, and of a pool named `default` with a route to it. Short and long forms can be combined.",
    keys: &[
        Key::new(
            "listen",
            Kind::Either(&LISTEN_ADDRESS, &Kind::List(&LISTEN_ADDRESS)),
            "Address where clients connect. Short form of `listeners` with only an `address`. `:8080` is port 8080 of every IPv4 address.",
        )
        .printed_elsewhere(),
        Key::new("listeners", Kind::List(&Kind::Section(&LISTENER)), "Addresses where clients connect."),
        Key::new(
            "workers",
            Kind::Count { least: 1, most: 1024 },
            "Number of worker threads. `auto` is one per core that the process may use. A reload starts more of them, or lets the last ones end.",
        )
        .words(&["auto"])
        .default("auto"),
        Key::new(
            "admin",
            Kind::Either(&LISTEN_ADDRESS, &Kind::Section(&ADMIN)),
            "Address of the admin API, which includes the metrics. Without a `token` it must be a loopback address or a Unix socket.",
        )
        .words(&["off"])
        .default("127.0.0.1:9900"),
        Key::new(
            "access_log",
            Kind::Either(
                &Kind::Choice(&["stdout", "stderr", "off"]),
                &Kind::Either(&Kind::Section(&ACCESS_LOG), &Kind::List(&ACCESS_LOG_SINK)),
            ),
            "Where requests are logged, one line each: one sink, or up to 8.",
        )
        .default("stdout"),
        reloads::GUARD,
        reloads::WATCH_CONFIG,
        trusted_proxies::KEY,
        strategy::KEY.default("round_robin").printed_elsewhere(),
        health_check::KEY.printed_elsewhere(),
        ejection::KEY.printed_elsewhere(),
        ejection::SLOW_START.default("off").printed_elsewhere(),
        retry::KEY.printed_elsewhere(),
        queue::KEY.printed_elsewhere(),
        Key::new("timeouts", Kind::Section(&TIMEOUTS), "Timeouts."),
        Key::new("limits", Kind::Section(&LIMITS), "Limits for clients and backends."),
        Key::new(
            "backends",
            backend::LIST,
            "Short form of a pool named `default` with these backends, and of a route for all requests to it, unless `routes` has such a route.",
        )
        .printed_elsewhere(),
        Key::new("pools", Kind::Named(&POOL), "Pools by name. A name has at most 64 letters, digits, `-`, `_` and `.`."),
        Key::new(
            "routes",
            Kind::List(&Kind::Section(&ROUTE)),
            "Which requests go where. The most specific route wins; the order matters only between equally specific ones.",
        ),
        route::DEFAULTS,
        policies::KEY,
        stores::KEY,
        tracing::KEY,
    ],
};

/// Resolves the whole tree. The result is valid only if no error was reported.
pub(in crate::config) fn read(cx: &Context<'_>, root: Option<&Node>) -> Option<Config> {
    let Some(node) = root.filter(|node| !matches!(node.value, Value::Empty)) else {
        cx.report(
            Diagnostic::whole("the config is empty")
                .note("a minimal config:")
                .note("    listen: 0.0.0.0:8080")
                .note("    backends: [http://localhost:8001]"),
        );
        return None;
    };
    let root = Reader::open(cx, &ROOT, node)?;
    let workers = match root.optional("workers", None) {
        Some(count) => Workers::Count(usize::try_from(count).unwrap_or(usize::MAX)),
        None => Workers::Auto,
    };
    let trusted_proxies = trusted_proxies::read(&root);
    let (listeners, admin) = listener::read(&root, &trusted_proxies);
    let pools = pool::read(&root, &listeners);
    let stores = Stores::read(&root);
    let known = Known::new(&root, &listeners, &pools);
    let policies = Policies::read(&known, &stores);
    let routes = route::read(&known, &policies);
    let policies = policies.settings();
    Some(Config {
        policies,
        stores: stores.settings,
        routes,
        listeners,
        workers,
        admin,
        access_log: access_log::read(&root),
        tracing: tracing::read(&root, &trusted_proxies),
        guard: root.optional_duration("guard", None),
        watch_config: root.flag("watch_config", None),
        text_hash: config::hash(cx.source.text),
        trusted_proxies,
        timeouts: timeouts::read(&root.section("timeouts", &TIMEOUTS)),
        limits: limits::read(&root.section("limits", &LIMITS)),
        sources: lists::sources(&pools),
        pools: pools.into_iter().map(|pool| pool.settings).collect(),
    })
}

/// Prints the whole config.
pub(in crate::config) fn show(config: &Config) -> Item {
    let pools = config.pools.iter();
    let mut keys = vec![
        (
            "listeners",
            Item::List(config.listeners.iter().map(listener::show).collect()),
        ),
        (
            "workers",
            match config.workers {
                Workers::Auto => word("auto"),
                Workers::Count(count) => word(count),
            },
        ),
        ("admin", admin::show(config.admin.as_ref())),
        ("access_log", access_log::show(&config.access_log)),
        ("guard", reloads::show_guard(config.guard)),
        ("watch_config", word(config.watch_config)),
        ("trusted_proxies", trusted_proxies::show(&config.trusted_proxies)),
        ("timeouts", timeouts::show(&config.timeouts)),
        ("limits", limits::show(&config.limits)),
        (
            "pools",
            Item::Map(
                pools
                    .map(|settings| (quoted(&settings.name), pool::show(settings, &config.sources)))
                    .collect(),
            ),
        ),
        (
            "routes",
            Item::List(
                config
                    .routes
                    .iter()
                    .map(|route| route::show(route, config))
                    .collect(),
            ),
        ),
    ];
    if !config.policies.is_empty() {
        keys.push(("policies", policies::show(&config.policies)));
    }
    if !config.stores.is_empty() {
        keys.push(("stores", stores::show(&config.stores)));
    }
    if let Some(settings) = &config.tracing {
        keys.push(("tracing", tracing::show(settings)));
    }
    map(keys)
}
