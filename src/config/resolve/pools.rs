//! Resolves `backends` and `pools`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::pool_name::{DEFAULT_POOL, is_pool_name};
use super::rules::Rules;
use super::{refer, tls};
use crate::backend::{Address, AddressError, Scheme};
use crate::config::context::Context;
use crate::config::params;
use crate::config::reader::{Reader, Written, refuse_shape, written};
use crate::config::reference::{BACKEND, POOL};
use crate::config::source::{Diagnostic, Origin, Span};
use crate::config::tree::{Entry, Node, Value};
use crate::config::{hints, suggest, vocabulary};
use crate::listener;
use crate::net::{ListenAddress, ProxyVersion};
use crate::pool::{BackendSettings, Settings};
use crate::schema::Params;
use crate::strategy;

/// Most backends of one pool: strategies keep lists of this length.
const MOST_BACKENDS: usize = 16_384;

/// The valid forms of a backend URL, for messages.
const URL_FORMS: &str = "http://10.0.0.1:8001, https://… (TLS), h2c://… (HTTP/2 without TLS, such as gRPC), or unix:/path (a Unix socket)";

/// Most pools.
const MOST_POOLS: usize = 1024;

/// A pool and the span of its name.
pub(super) struct Pool {
    pub(super) settings: Settings,
    pub(super) span: Span,
    /// Whether `backends` at top level defines it.
    pub(super) is_short: bool,
}

/// Reads the pool of `backends` at top level, and those of `pools`.
pub(super) fn read(root: &Reader<'_>, listeners: &[listener::Settings]) -> Vec<Pool> {
    let rules = Rules::top_level(root);
    let base = Base {
        strategy: strategy(root, None),
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
    if !root.has_any(&["backends", "pools"]) {
        let note = match root.cx.source.origin {
            Origin::File => "write `backends: [http://localhost:8001]`",
            Origin::Arguments => "add the URL of a backend, such as http://localhost:8001",
        };
        root.cx
            .report(Diagnostic::whole("the config has no backend").note(note));
    }
    pools
}

/// The defaults of pools, from the top level.
struct Base<'a> {
    strategy: Option<strategy::Settings>,
    rules: Rules,
    /// The listeners of this process, to warn of a backend that is one of them.
    listeners: &'a [listener::Settings],
}

fn short(root: &Reader<'_>, base: &Base<'_>) -> Option<Pool> {
    let span = root.key_span("backends")?;
    let settings = settings(
        DEFAULT_POOL,
        base.strategy.clone()?,
        base.rules.clone(),
        backends(root, base.listeners),
    );
    let settings = with_connection_settings(settings, &Reader::absent(root.cx, &POOL));
    Some(Pool {
        settings,
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
    let strategy = strategy(&pool, base.strategy.as_ref())?;
    let rules = Rules::of_pool(&pool, &base.rules);
    Some(Pool {
        settings: with_connection_settings(
            settings(&entry.key, strategy, rules, backends(&pool, base.listeners)),
            &pool,
        ),
        span: entry.key_span,
        is_short: false,
    })
}

fn settings(
    name: &str,
    strategy: strategy::Settings,
    rules: Rules,
    backends: Vec<BackendSettings>,
) -> Settings {
    Settings {
        name: Arc::from(name),
        strategy,
        health_check: rules.health_check,
        retry: rules.retry,
        timeouts: rules.timeouts,
        in_flight_per_backend: rules.in_flight_per_backend,
        tls: None,
        send_proxy: None,
        backends,
    }
}

/// Adds the settings of new connections: the PROXY header, and TLS if a backend URL or the pool requires it.
fn with_connection_settings(mut settings: Settings, pool: &Reader<'_>) -> Settings {
    let uses_tls = |backend: &BackendSettings| backend.address.scheme == Scheme::Https;
    settings.tls = tls::pool(pool, settings.backends.iter().any(uses_tls)).map(Arc::new);
    settings.health_check.tls.clone_from(&settings.tls);
    settings.send_proxy = send_proxy(pool);
    settings.health_check.send_proxy = settings.send_proxy;
    settings
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

/// Reads `strategy`: a name, or a map from the name to its parameters. A pool that writes it takes no parameter from the top level.
fn strategy(reader: &Reader<'_>, base: Option<&strategy::Settings>) -> Option<strategy::Settings> {
    let written = params::row(reader, "strategy", &vocabulary::strategy);
    let found = written.and_then(|(row, params)| {
        let entry = strategy::by_name(row.name)?;
        Some(strategy::Settings { entry, params })
    });
    found.or_else(|| base.cloned()).or_else(|| {
        let entry = strategy::STRATEGIES.first()?;
        Some(strategy::Settings {
            entry,
            params: Params::default(),
        })
    })
}

fn backends(reader: &Reader<'_>, listeners: &[listener::Settings]) -> Vec<BackendSettings> {
    let Some(items) = reader.one_or_more("backends") else {
        return Vec::new();
    };
    let Some(span) = reader.key_span("backends") else {
        return Vec::new();
    };
    if items.is_empty() {
        let diagnostic = Diagnostic::error(span, "`backends` is empty").note("write at least one URL");
        reader.cx.report(diagnostic);
    } else if items.len() > MOST_BACKENDS {
        let message = format!("`backends` has more than {MOST_BACKENDS} items");
        reader.cx.report(Diagnostic::error(span, message));
    }
    let mut seen = HashMap::new();
    let mut backends = Vec::with_capacity(items.len().min(MOST_BACKENDS));
    for item in items.iter().take(MOST_BACKENDS) {
        let Some((backend, url)) = backend(reader.cx, item) else {
            continue;
        };
        let (scheme, host, port, file) = backend.address.identity();
        let span = (scheme, host.to_owned(), port, file.map(Path::to_owned));
        if let Some(first) = seen.insert(span, url) {
            let message = format!("duplicate backend, the same as {}", refer(reader.cx, first));
            let note = "to give it more requests, use `weight`";
            reader.cx.report(Diagnostic::error(url.span, message).note(note));
        }
        check_loop(reader.cx, (&backend.address, url), listeners);
        backends.push(backend);
    }
    if !backends.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
        let message = "every backend has weight 0: none of them receives requests";
        reader.cx.report(Diagnostic::warning(span, message));
    }
    backends
}

/// Warns of a backend that is a listener of this process, judging by the addresses alone.
fn check_loop(cx: &Context<'_>, (backend, url): (&Address, Written<'_>), listeners: &[listener::Settings]) {
    let mut listeners = listeners.iter().map(|listener| &listener.address);
    if let Some(listener) = listeners.find(|listener| leads_to(backend, listener)) {
        let message = format!("this backend is our own listener {listener}: requests to it loop");
        let note = "a request that loops gets a 508 response (`loop_detected`); write the address of the backend server";
        cx.report(Diagnostic::warning(url.span, message).note(note));
    }
}

/// Whether a connection to the backend reaches the listener. Other addresses of the machine are not looked up.
fn leads_to(backend: &Address, listener: &ListenAddress) -> bool {
    let listener = match (listener, &backend.file) {
        (ListenAddress::Unix(path), file) => return file.as_ref() == Some(path),
        (ListenAddress::Ip(_), Some(_)) => return false,
        (ListenAddress::Ip(address), None) => *address,
    };
    if backend.port != listener.port() {
        return false;
    }
    let own = listener.ip();
    // `localhost` is any address of the loopback interface; connecting to `0.0.0.0` leads there too.
    let is_name = backend.host == "localhost" || backend.host.ends_with(".localhost");
    if is_name {
        return own.is_unspecified() || own.is_loopback();
    }
    let Ok(ip) = backend.host.parse::<IpAddr>() else {
        return false;
    };
    let ip = ip.to_canonical();
    let is_this_machine = ip.is_loopback() || ip.is_unspecified();
    ip == own.to_canonical()
        || ip.is_ipv4() == own.is_ipv4()
            && is_this_machine
            && (own.is_unspecified() || ip.is_unspecified() && own.is_loopback())
}

fn backend<'a>(cx: &Context<'_>, item: &'a Node) -> Option<(BackendSettings, Written<'a>)> {
    if let Some(url) = written(item) {
        let settings = BackendSettings {
            address: address(cx, url)?,
            weight: 1,
            is_backup: false,
        };
        return Some((settings, url));
    }
    if !matches!(item.value, Value::Map(_)) {
        refuse_shape(
            cx,
            item,
            "a URL such as http://10.0.0.1:8001, or a map with url, weight, backup",
        );
        return None;
    }
    backend_map(cx, item)
}

fn backend_map<'a>(cx: &Context<'_>, item: &'a Node) -> Option<(BackendSettings, Written<'a>)> {
    let Value::Map(entries) = &item.value else {
        return None;
    };
    let reader = Reader::open(cx, &BACKEND, item)?;
    reader.require("url");
    let weight = reader.count("weight", None);
    let is_backup = reader.flag("backup", None);
    let _ = reader.text("url")?;
    let url = entries.iter().find(|entry| entry.key == "url")?;
    let url = written(&url.value)?;
    let settings = BackendSettings {
        address: address(cx, url)?,
        weight: u32::try_from(weight).unwrap_or(u32::MAX),
        is_backup,
    };
    Some((settings, url))
}

/// Parses the URL of a backend. Messages show it as written, never its expanded form.
fn address(cx: &Context<'_>, written: Written<'_>) -> Option<Address> {
    let text = written.text;
    if let Some(path) = super::address::unix_socket(cx, written) {
        return Some(Address::of_file(text, path?));
    }
    match Address::parse(text) {
        Ok(address) => Some(address),
        Err(error) => {
            let (message, hint) = explain(&cx.quote(written.span), text, error);
            let hint = hint.filter(|_| !written.is_expanded);
            let diagnostic = Diagnostic::error(written.span, message).note_if(hint);
            cx.report(diagnostic.note(format!("accepted: {URL_FORMS}")));
            None
        }
    }
}

/// The message and the hint for an invalid backend URL.
fn explain(quote: &str, text: &str, error: AddressError) -> (String, Option<String>) {
    if let Some(hint) = several(text) {
        return (format!("{quote} is not a valid backend URL"), Some(hint));
    }
    match error {
        AddressError::NoScheme => {
            let text = text.trim_start_matches('-');
            let with_scheme = format!("http://{text}");
            let is_url = Address::parse(&with_scheme).is_ok();
            let hint = is_url.then(|| format!("did you mean `{with_scheme}`?"));
            (
                format!("{quote} is not a valid backend URL: it has no scheme"),
                hint,
            )
        }
        AddressError::Unsupported(scheme) if scheme.starts_with('-') => (
            format!("{quote} is not a valid backend URL"),
            Some("write a space after `-`: `- http://10.0.0.1:8001`".to_owned()),
        ),
        AddressError::Unsupported(scheme) => (
            format!("{quote} has an unsupported scheme"),
            vocabulary::scheme(&scheme)
                .map(str::to_owned)
                .or_else(|| suggest::did_you_mean(&scheme, Scheme::ALL.map(|(word, _)| word))),
        ),
        AddressError::Extra(_) if text.contains('@') => (
            "a backend URL cannot have a user or password".to_owned(),
            Some("remove the part between `//` and `@`, and the `@`".to_owned()),
        ),
        AddressError::Extra(extra) => {
            let hint = text
                .strip_suffix(&extra)
                .or_else(|| text.trim_end_matches('/').strip_suffix(&extra));
            let hint = hint.map(|origin| format!("did you mean `{origin}`?"));
            (format!("{quote} has more than a scheme, host and port"), hint)
        }
        AddressError::Host(_) => (
            format!("{quote} has no valid host"),
            Some("a host is a name, an IPv4 address, or an IPv6 address in brackets".to_owned()),
        ),
        AddressError::Port(_) => (
            format!("the port of {quote} is invalid: it must be a number from 1 to 65535"),
            None,
        ),
    }
}

/// A hint for a text with blanks or commas, which are not part of a URL.
fn several(text: &str) -> Option<String> {
    let items = hints::split(text);
    let (first, others) = items.split_first().filter(|(_, others)| !others.is_empty())?;
    if text.contains('@') {
        return None;
    }
    if others.contains(&"-") {
        return Some("the `-` of every item must be in the same column".to_owned());
    }
    if let Some(weight) = others.iter().find_map(|item| item.strip_prefix("weight=")) {
        return Some(format!("did you mean `{{ url: {first}, weight: {weight} }}`?"));
    }
    let is_url = |item: &&str| Address::parse(item).is_ok();
    let hint = || format!("write several backends as a list: `[{}]`", items.join(", "));
    items.iter().all(is_url).then(hint)
}
