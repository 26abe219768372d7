//! `pools`, and the pool of `backends` at top level.

use std::sync::Arc;
use std::time::Duration;

use super::backend::Items;
use super::limits::{LIMITS, POOL_LIMITS};
use super::pool_name::{DEFAULT_POOL, is_pool_name};
use super::timeouts::{POOL_TIMEOUTS, TIMEOUTS};
use super::{backend, ejection, health_check, limits, pool_tls, queue, retry, sticky, strategy, timeouts};
use crate::admission::{Adaptive, QueueSettings};
use crate::backend::Scheme;
use crate::config::print::{self, Item, map, word};
use crate::config::reader::{Reader, written};

use crate::config::source::{Diagnostic, Origin, Span};
use crate::config::suggest;
use crate::config::tree::{Entry, Value};
use crate::discovery::{self, SourceSettings};
use crate::health::Check;
use crate::health::ejection::Settings as Ejection;
use crate::listener;
use crate::net::ProxyVersion;
use crate::pool::{BackendSettings, ForwardedHeaders, HeaderCase, Settings, Timeouts};
use crate::retry::Policy;
use crate::schema::{Key, Kind, Params, Row, Section};

/// A value of `pools`.
pub(super) const POOL: Section = Section {
    name: "pools.NAME",
    about: "Backends that are interchangeable for a request, and their settings. Settings that are not written are taken from the top level.",
    keys: &[
        strategy::KEY.otherwise("as at top level"),
        sticky::KEY,
        Key::new("backends", backend::LIST, "The backends, at least one.").required(),
        health_check::KEY.otherwise("as at top level"),
        ejection::KEY.otherwise("as at top level"),
        ejection::SLOW_START.otherwise("as at top level"),
        retry::KEY.otherwise("as at top level"),
        queue::KEY.otherwise("as at top level"),
        Key::new(
            "timeouts",
            Kind::Section(&POOL_TIMEOUTS),
            "Timeouts.",
        )
        .otherwise("as at top level"),
        Key::new("limits", Kind::Section(&POOL_LIMITS), "Limits for each backend.")
            .otherwise("as at top level"),
        pool_tls::KEY,
        Key::new(
            "send_proxy",
            Kind::Choice(&["off", "v1", "v2"]),
            "Whether connections to backends begin with a PROXY header that names the client, and its version. Each connection then carries only one request, because it belongs to that client. Probes send a header without an address (`PROXY UNKNOWN`, or LOCAL).",
        )
        .default("off"),
        Key::new(
            "header_case",
            Kind::Choice(&[HeaderCase::Preserve.name(), HeaderCase::Title.name()]),
            "How the names of request headers are written for HTTP/1 backends. `preserve` writes them as they came, which is in lower case from clients that speak HTTP/2; `title` begins each word with a capital letter, such as `Content-Type`, for backends that need this.",
        )
        .default(HeaderCase::Preserve.name()),
        Key::new(
            "forwarded",
            Kind::List(&Kind::Choice(&["x-forwarded", "forwarded", "x-real-ip", "x-forwarded-port"])),
            "Which headers tell the backends who the client is: `x-forwarded` is `X-Forwarded-For`, `-Host` and `-Proto`, `forwarded` is `Forwarded` (RFC 7239), `x-real-ip` is `X-Real-IP`, and `x-forwarded-port` is the port that the client connected to. Whatever the list says, headers of these names are removed from the requests of clients that are not in `trusted_proxies`.",
        )
        .default("[x-forwarded]"),
    ],
};

/// Most pools.
const MOST_POOLS: usize = 1024;

/// A pool and the span of its name.
pub(super) struct Pool {
    pub(super) settings: Settings,
    /// The sources of more backends.
    pub(super) sources: Vec<(Row, Params)>,
    pub(super) span: Span,
    /// Whether `backends` at top level defines it.
    pub(super) is_short: bool,
}

/// Reads the pool of `backends` at top level, and those of `pools`.
pub(super) fn read(root: &Reader<'_>, listeners: &[listener::Settings]) -> Vec<Pool> {
    let rules = Rules::top_level(root);
    let base = Base {
        strategy: strategy::read(root, None),
        rules,
        listeners,
    };
    let mut pools: Vec<Pool> = short(root, &base).into_iter().collect();
    let entries = match root.node("pools").map(|node| (node, &node.value)) {
        None => &[][..],
        Some((_, Value::Map(entries))) => entries,
        Some((node, _)) => {
            root.refuse_node("pools", node);
            &[]
        }
    };
    if let (Some(span), true) = (root.key_span("pools"), entries.len() > MOST_POOLS) {
        root.cx.report(Diagnostic::error(
            span,
            format!("`pools` has more than {MOST_POOLS} items"),
        ));
    }
    for entry in entries.iter().take(MOST_POOLS) {
        pools.extend(long(root, entry, &base));
    }
    // Routes that name a pool report that it is unknown; others need none.
    if !root.has_any(&["backends", "pools", "routes"]) {
        let note = match root.cx.source.origin {
            Origin::File => "write `backends: [http://localhost:8001]`",
            Origin::Arguments => "add the URL of a backend, such as http://localhost:8001",
        };
        root.cx
            .report(Diagnostic::whole("the config has no backend").note(note));
    }
    pools
}

/// Prints a pool.
pub(super) fn show(settings: &Settings, sources: &[SourceSettings]) -> Item {
    let sources = sources.iter().filter(|source| source.pool == settings.name);
    let sources = sources.map(|source| print::row(&discovery::TABLE, source.source.name, &source.params));
    map([
        ("strategy", strategy::show(&settings.strategy)),
        ("sticky", sticky::show(settings.sticky.as_ref())),
        (
            "backends",
            Item::List(
                settings
                    .backends
                    .iter()
                    .map(backend::show)
                    .chain(sources)
                    .collect(),
            ),
        ),
        ("health_check", health_check::show(&settings.health_check)),
        ("ejection", ejection::show(settings.ejection.as_ref())),
        ("slow_start", ejection::show_slow_start(settings.slow_start)),
        ("retry", retry::show(&settings.retry)),
        ("timeouts", timeouts::show_of_pool(&settings.timeouts)),
        (
            "limits",
            limits::show_of_pool(settings.in_flight_per_backend, settings.adaptive),
        ),
        ("queue", queue::show(settings.queue)),
        ("tls", pool_tls::show(settings.tls.as_deref())),
        (
            "send_proxy",
            word(settings.send_proxy.map_or("off", ProxyVersion::name)),
        ),
        ("header_case", word(settings.header_case.name())),
        (
            "forwarded",
            Item::Line(settings.forwarded.names().map(word).collect()),
        ),
    ])
}

/// What pools inherit from the top level.
struct Base<'a> {
    strategy: Option<crate::strategy::Settings>,
    rules: Rules,
    /// The listeners of this process, to warn of a backend that is one of them.
    listeners: &'a [listener::Settings],
}

/// The inherited settings of one pool, or the defaults of all.
#[derive(Clone)]
struct Rules {
    health_check: Check,
    ejection: Option<Ejection>,
    slow_start: Option<Duration>,
    retry: Policy,
    timeouts: Timeouts,
    in_flight_per_backend: Option<u32>,
    adaptive: Adaptive,
    queue: Option<QueueSettings>,
}

impl Rules {
    /// Reads the keys at top level; the others get the defaults of the table.
    fn top_level(root: &Reader<'_>) -> Self {
        let limits = root.section("limits", &LIMITS);
        Self {
            health_check: health_check::read(root, None),
            ejection: ejection::read(root, None),
            slow_start: ejection::read_slow_start(root, None),
            retry: retry::read(root, None),
            timeouts: timeouts::read_of_pool(&root.section("timeouts", &TIMEOUTS), None),
            in_flight_per_backend: limits::read_of_pool(&limits, None),
            adaptive: limits::read_adaptive(&limits, None),
            queue: queue::read(root, None),
        }
    }

    /// Reads the keys of a pool; the others are taken from `base`.
    fn of_pool(pool: &Reader<'_>, base: &Self) -> Self {
        let limits = pool.section("limits", &POOL_LIMITS);
        Self {
            health_check: health_check::read(pool, Some(&base.health_check)),
            ejection: ejection::read(pool, Some(base.ejection)),
            slow_start: ejection::read_slow_start(pool, base.slow_start),
            retry: retry::read(pool, Some(&base.retry)),
            timeouts: timeouts::read_of_pool(&pool.section("timeouts", &POOL_TIMEOUTS), Some(&base.timeouts)),
            in_flight_per_backend: limits::read_of_pool(&limits, Some(base.in_flight_per_backend)),
            adaptive: limits::read_adaptive(&limits, Some(base.adaptive)),
            queue: queue::read(pool, Some(base.queue)),
        }
    }
}

fn short(root: &Reader<'_>, base: &Base<'_>) -> Option<Pool> {
    let span = root.key_span("backends")?;
    let Items { listed, sources } = backend::read(root, base.listeners);
    health_check::warn_of_http1(root, &base.rules.health_check, &listed);
    let settings = settings(DEFAULT_POOL, base.strategy.clone()?, base.rules.clone(), listed);
    let settings = with_connection_settings(settings, &Reader::absent(root.cx, &POOL));
    Some(Pool {
        settings,
        sources,
        span,
        is_short: true,
    })
}

fn long(root: &Reader<'_>, entry: &Entry, base: &Base<'_>) -> Option<Pool> {
    check_name(root, entry);
    let node = &entry.value;
    if matches!(node.value, Value::Empty) {
        let message = format!("pool {} has no value", root.cx.quote(entry.key_span));
        root.cx
            .report(Diagnostic::error(entry.key_span, message).note("a pool requires `backends`"));
        return None;
    }
    let pool = Reader::open(root.cx, &POOL, node)?;
    if !pool.has_any(&["backends"]) {
        let message = format!("pool {} requires `backends`", root.cx.quote(entry.key_span));
        root.cx.report(Diagnostic::error(entry.key_span, message));
    }
    let strategy = strategy::read(&pool, base.strategy.as_ref())?;
    let rules = Rules::of_pool(&pool, &base.rules);
    let Items { listed, sources } = backend::read(&pool, base.listeners);
    health_check::warn_of_http1(&pool, &rules.health_check, &listed);
    let settings = Settings {
        sticky: sticky::read(&pool),
        ..settings(&entry.key, strategy, rules, listed)
    };
    Some(Pool {
        settings: with_connection_settings(settings, &pool),
        sources,
        span: entry.key_span,
        is_short: false,
    })
}

fn settings(
    name: &str,
    strategy: crate::strategy::Settings,
    rules: Rules,
    backends: Vec<BackendSettings>,
) -> Settings {
    Settings {
        name: Arc::from(name),
        strategy,
        health_check: rules.health_check,
        ejection: rules.ejection,
        slow_start: rules.slow_start,
        retry: rules.retry,
        timeouts: rules.timeouts,
        workers: 1,
        in_flight_per_backend: rules.in_flight_per_backend,
        adaptive: rules.adaptive,
        queue: rules.queue,
        tls: None,
        send_proxy: None,
        header_case: HeaderCase::default(),
        forwarded: ForwardedHeaders::default(),
        sticky: None,
        backends,
    }
}

/// Adds the settings of new connections: the PROXY header, and TLS if a backend URL or the pool requires it.
fn with_connection_settings(mut settings: Settings, pool: &Reader<'_>) -> Settings {
    let uses_tls = |backend: &BackendSettings| backend.address.scheme == Scheme::Https;
    settings.tls = pool_tls::read(pool, settings.backends.iter().any(uses_tls)).map(Arc::new);
    settings.health_check.tls.clone_from(&settings.tls);
    settings.send_proxy = send_proxy(pool);
    settings.health_check.send_proxy = settings.send_proxy;
    settings.header_case = match pool.choice("header_case", None) == HeaderCase::Title.name() {
        true => HeaderCase::Title,
        false => HeaderCase::Preserve,
    };
    settings.forwarded = forwarded(pool);
    settings
}

fn forwarded(pool: &Reader<'_>) -> ForwardedHeaders {
    let Some(items) = pool.list("forwarded") else {
        return ForwardedHeaders::default();
    };
    let mut headers = ForwardedHeaders::NONE;
    for item in items {
        let Some(written) = written(item) else {
            pool.refuse_node("forwarded", item);
            continue;
        };
        let mut all = ForwardedHeaders::ALL.iter();
        match all.find(|(name, _)| *name == written.text) {
            Some((_, family)) => headers.add(*family),
            None => {
                let names = ForwardedHeaders::ALL.map(|(name, _)| name);
                let hint = suggest::did_you_mean(written.text, names);
                pool.refuse("forwarded", written, hint);
            }
        }
    }
    headers
}

fn send_proxy(pool: &Reader<'_>) -> Option<ProxyVersion> {
    if pool.is_off("send_proxy") {
        return None;
    }
    let word = pool.choice("send_proxy", None);
    let version = ProxyVersion::ALL.iter().find(|(name, _)| *name == word);
    version.map(|(_, version)| *version)
}

fn check_name(root: &Reader<'_>, entry: &Entry) {
    let quote = root.cx.quote(entry.key_span);
    if !is_pool_name(&entry.key) {
        let message = format!("{quote} is not a valid pool name");
        let note = "accepted: letters, digits, `-`, `_` and `.`, at most 64 characters";
        root.cx
            .report(Diagnostic::error(entry.key_span, message).note(note));
    }
    if entry.key == DEFAULT_POOL && root.has("backends") {
        let message = "duplicate pool `default`: `backends` at top level already defines it";
        root.cx.report(Diagnostic::error(entry.key_span, message));
    }
}
