//! `routes`, and the route that `backends` at top level defines.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::pool::Pool;
use super::pool_name::DEFAULT_POOL;
use super::refer;
use crate::config::print::{Item, map, text};
use crate::config::reader::{Reader, Written};
use crate::config::source::{Diagnostic, Origin};
use crate::config::suggest;
use crate::config::tree::{Node, Value};
use crate::proxy::RouteSettings;
use crate::router::{Matcher, PathMatcher};
use crate::schema::{Form, Key, Kind, Section};

/// An item of `routes`.
pub(super) const ROUTE: Section = Section {
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

/// Most routes.
const MOST_ROUTES: usize = 200_000;

/// Longest name of a DNS host, in bytes (RFC 1035 §2.3.4).
const LONGEST_HOST: usize = 253;

/// Reads the routes. `pools` are the valid ones; a route may also name a pool that has errors.
pub(super) fn read(root: &Reader<'_>, pools: &[Pool]) -> Vec<RouteSettings> {
    let names = pool_names(root);
    let items = root.list("routes").unwrap_or_default();
    if let (Some(span), true) = (root.key_span("routes"), items.len() > MOST_ROUTES) {
        let message = format!("`routes` has more than {MOST_ROUTES} items");
        root.cx.report(Diagnostic::error(span, message));
    }
    let mut routes = Vec::new();
    let mut seen = HashMap::new();
    for item in items.iter().take(MOST_ROUTES) {
        let Some((route, pool)) = route(root, item, &names) else {
            continue;
        };
        let key = route.matcher.to_string();
        if let Some(first) = seen.insert(key, pool) {
            let message = format!(
                "duplicate route: it matches the same requests as the route to {}",
                refer(root.cx, first)
            );
            root.cx.report(Diagnostic::error(item.span, message));
        }
        routes.push(route);
    }
    let has_catch_all = seen.contains_key(&Matcher::default().to_string());
    if let Some(pool) = pools.iter().find(|pool| pool.is_short && !has_catch_all) {
        routes.push(RouteSettings::to_pool(Matcher::default(), &pool.settings.name));
    }
    check_reach(root, pools, &routes);
    routes
}

/// Prints an item of `routes`.
pub(super) fn show(route: &RouteSettings) -> Item {
    let host = route.matcher.hosts.iter().map(|host| ("host", text(host)));
    let pool = route.pools().iter().map(|pool| ("pool", text(&pool.name)));
    let path = ("path_prefix", text(&route.matcher.path.to_string()));
    map(host.chain([path]).chain(pool))
}

/// Reports a missing route, and warns of pools that no route uses. Does nothing after an error, because the invalid route
/// or pool may be the missing one.
fn check_reach(root: &Reader<'_>, pools: &[Pool], routes: &[RouteSettings]) {
    if root.cx.has_error() {
        return;
    }
    if let (Some(pool), []) = (pools.first(), routes) {
        let note = format!("write `routes: [{{ pool: {} }}]`", pool.settings.name);
        root.cx
            .report(Diagnostic::whole("the config has no route").note(note));
        return;
    }
    for pool in pools {
        if !routes
            .iter()
            .flat_map(RouteSettings::pools)
            .any(|used| used.name == pool.settings.name)
        {
            let message = format!(
                "no route uses pool `{}`: it receives no requests",
                pool.settings.name
            );
            root.cx.report(Diagnostic::warning(pool.span, message));
        }
    }
}

/// The names of all pools, including those with errors: an error in a pool does not make its name unknown.
fn pool_names<'a>(root: &Reader<'a>) -> Vec<&'a str> {
    let mut names = Vec::new();
    if root.has("backends") {
        names.push(DEFAULT_POOL);
    }
    if let Some(Value::Map(entries)) = root.node("pools").map(|node| &node.value) {
        names.extend(entries.iter().map(|entry| entry.key.as_str()));
    }
    names
}

fn route<'a>(root: &Reader<'a>, item: &'a Node, names: &[&str]) -> Option<(RouteSettings, Written<'a>)> {
    let reader = Reader::open(root.cx, &ROUTE, item)?;
    reader.require("pool");
    let host = host(&reader);
    let path_prefix = path_prefix(&reader);
    let pool = reader.text("pool")?;
    // If `pools` is not a map, that is already reported and the names are not known.
    let has_names = !root.has("pools")
        || root
            .node("pools")
            .is_some_and(|node| matches!(node.value, Value::Map(_)));
    if has_names && !names.contains(&pool.text) {
        let message = format!("unknown pool {}", root.cx.quote(pool.span));
        let hint = suggest::did_you_mean(pool.text, names.iter().copied()).filter(|_| !pool.is_expanded);
        let known = names.iter().take(20).copied().collect::<Vec<_>>().join(", ");
        let note = match root.cx.source.origin {
            Origin::File if !names.is_empty() => Some(format!("pools: {known}")),
            _ => None,
        };
        root.cx
            .report(Diagnostic::error(pool.span, message).note_if(hint).note_if(note));
    }
    let matcher = Matcher {
        hosts: host?.into_iter().collect(),
        path: PathMatcher::Prefix(path_prefix?),
        ..Matcher::default()
    };
    Some((RouteSettings::to_pool(matcher, &Arc::from(pool.text)), pool))
}

/// The host in lower case. The outer `None` is an error that was reported.
fn host(reader: &Reader<'_>) -> Option<Option<String>> {
    if !reader.has("host") {
        return Some(None);
    }
    let written = reader.text("host")?;
    let host = parse_host(written.text);
    if host.is_none() {
        reader.refuse("host", written, host_hint(written.text));
    }
    Some(Some(host?))
}

fn parse_host(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(is_part)
    };
    let is_host = name.len() <= LONGEST_HOST && name.split('.').all(is_label);
    is_host.then(|| text.to_ascii_lowercase())
}

fn host_hint(text: &str) -> Option<String> {
    if text == "*" {
        return Some("to match every host, omit `host`".to_owned());
    }
    if !text.is_ascii() {
        return Some("write the name as it appears in requests: `xn--…`".to_owned());
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(format!("did you mean `[{address}]`?"));
    }
    if text.split('.').skip(1).any(|label| label.contains('*')) {
        return Some("`*` is allowed only as the first label, such as `*.example.com`".to_owned());
    }
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    if let Some(domain) = text.strip_prefix('.').and_then(parse_host) {
        return Some(format!("did you mean `*.{domain}`?"));
    }
    let end = text.find([':', '/']).unwrap_or(text.len());
    let host = parse_host(text.get(..end)?)?;
    Some(format!("did you mean `{host}`?"))
}

/// The prefix without a `/` at its end. `None` is an error that was reported.
fn path_prefix(reader: &Reader<'_>) -> Option<String> {
    if !reader.has("path_prefix") {
        return Some("/".to_owned());
    }
    let written = reader.text("path_prefix")?;
    let text = written.text;
    let is_path = text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    let is_dots = |segment: &str| {
        matches!(
            segment.to_ascii_lowercase().replace("%2e", ".").as_str(),
            "." | ".."
        )
    };
    if !is_path || text.split('/').any(is_dots) {
        let hint = match text {
            _ if text.starts_with('/') && is_path => {
                Some("dot segments are removed before routing: no path has them".to_owned())
            }
            _ if text.contains(['?', '#']) => Some("a route matches the path only, not the query".to_owned()),
            _ if text.starts_with(['~', '^', '=', '(']) => {
                Some("paths are matched literally: patterns are not supported".to_owned())
            }
            _ if !text.starts_with('/') && !text.contains("://") => Some(format!("did you mean `/{text}`?")),
            _ => None,
        };
        reader.refuse("path_prefix", written, hint);
        return None;
    }
    warn_of_pattern(reader, written);
    let short = text.strip_suffix('/').filter(|short| !short.is_empty());
    Some(short.unwrap_or(text).to_owned())
}

/// Warns of a prefix that looks like a pattern of another balancer, which would not match what was meant.
fn warn_of_pattern(reader: &Reader<'_>, written: Written<'_>) {
    let text = written.text;
    let is_parameter =
        |segment: &&str| segment.starts_with([':', '{', '*']) || segment.ends_with(['}', '$', '*']);
    let Some(part) = text
        .split('/')
        .find(|segment| is_parameter(segment) || segment.contains(".*"))
    else {
        return;
    };
    let quote = reader.cx.quote(written.span);
    let message = format!("{quote} is matched literally: `path_prefix` does not support patterns");
    let before: Vec<&str> = text.split('/').take_while(|segment| *segment != part).collect();
    let meant = match before.join("/") {
        empty if empty.is_empty() => "to match every path, omit `path_prefix`".to_owned(),
        prefix => format!("a prefix matches everything below it: did you mean `{prefix}`?"),
    };
    let meant = (!written.is_expanded).then_some(meant);
    reader
        .cx
        .report(Diagnostic::warning(written.span, message).note_if(meant));
}
