//! The keys of a route that say what becomes of its requests.

use std::path::Path;
use std::sync::Arc;

use evenkeel_balance::action::{self, BodyFile, MAX_BODY, Matched, Redirect, Respond, Split};

use super::built::Built;
use super::known::Known;
use crate::bounded_file;
use crate::config::params;
use crate::config::print::{self, Item, text};
use crate::config::reader::{Reader, written};
use crate::config::source::Diagnostic;
use crate::config::tree::{Node, Value};
use crate::kept::Kept;
use crate::listener;
use crate::net::ListenAddress;
use crate::proxy::{Action, PoolUse};
use crate::router::{Conditions, Matcher, PathMatcher};
use crate::schema::{Form, Key, Kind, Params, Section};

/// `pool`.
pub(super) const POOL: Key = Key::new(
    "pool",
    Kind::Text(Form::new("the name of a pool").matching("^[A-Za-z0-9._-]{1,64}$")),
    "The pool that receives the requests.",
);

/// `split`.
pub(super) const SPLIT: Key = Key::new(
    "split",
    Kind::Section(&action::SPLIT),
    "Pools that share the requests, with weights.",
);

/// `redirect`.
pub(super) const REDIRECT: Key = Key::new(
    "redirect",
    Kind::Section(&action::REDIRECT),
    "Where clients are redirected to.",
);

/// `respond`.
pub(super) const RESPOND: Key = Key::new(
    "respond",
    Kind::Section(&action::RESPOND),
    "The response to the requests, in place of a backend's.",
);

/// The keys of which a route has exactly one.
const ACTIONS: [&str; 4] = ["pool", "split", "redirect", "respond"];

/// What becomes of the requests, and the content of the file that `respond` names.
pub(super) type Read = (Action, Option<Arc<[u8]>>);

/// Reads the action of a route. `None` is an error that was reported.
pub(super) fn read(reader: &Reader<'_>, known: &Known<'_>, matcher: &Matcher, item: &Node) -> Option<Read> {
    let mut written = ACTIONS.iter().filter(|key| reader.has(key));
    let (first, second) = (written.next(), written.next());
    if let Some(span) = second.and_then(|key| reader.key_span(key)) {
        let message = "a route has exactly one of `pool`, `split`, `redirect` and `respond`";
        reader
            .cx
            .report(Diagnostic::error(span, message).note("remove the others"));
    }
    let Some(key) = first else {
        if !reader.has_any(&ACTIONS) {
            let message = "a route requires one of `pool`, `split`, `redirect` and `respond`";
            let note = "write which pool receives the requests, such as `pool: api`";
            reader.cx.report(Diagnostic::error(item.span, message).note(note));
        }
        return None;
    };
    match *key {
        "pool" => Some((Action::Pool(pool(reader, known)?), None)),
        "split" => Some((split(reader, known, matcher)?, None)),
        "redirect" => Some((redirect(reader, known, matcher)?, None)),
        _ => respond(reader, matcher),
    }
}

/// Prints the action of a route.
pub(super) fn show(action: &Action) -> (&'static str, Item) {
    let of = |section: Section, params| print::params(section.keys, params);
    match action {
        Action::Pool(pool) => ("pool", text(&pool.name)),
        Action::Split(params, _) => ("split", of(action::SPLIT, params)),
        Action::Redirect(params) => ("redirect", of(action::REDIRECT, params)),
        Action::Respond(params) => ("respond", of(action::RESPOND, params)),
    }
}

/// The parameters of a key whose value is a map, and where it is.
pub(super) fn params<'a>(
    reader: &Reader<'a>,
    key: &'static str,
    section: &Section,
) -> Option<(Params, Built<'a>)> {
    let node = reader.node(key)?;
    let before = reader.cx.reported();
    let params = params::section(reader.cx, section, node)?;
    let is_reported = reader.cx.reported() > before;
    let span = reader.key_span(key)?;
    let built = Built {
        name: key,
        span,
        node,
        is_reported,
    };
    Some((params, built))
}

/// The `path_prefix` of a route.
pub(super) fn prefix(matcher: &Matcher) -> Option<&str> {
    match &matcher.path {
        PathMatcher::Prefix(prefix) => Some(prefix),
        PathMatcher::Exact(_) | PathMatcher::Regex(_) => None,
    }
}

/// The named groups of the `path_regex` of a route.
pub(super) fn groups(matcher: &Matcher) -> Vec<&str> {
    match &matcher.path {
        PathMatcher::Regex(pattern) => pattern.names().collect(),
        PathMatcher::Exact(_) | PathMatcher::Prefix(_) => Vec::new(),
    }
}

fn pool(reader: &Reader<'_>, known: &Known<'_>) -> Option<PoolUse> {
    let written = reader.text("pool")?;
    known.check_pool(written.span, written.text, written.is_expanded);
    Some(PoolUse {
        name: Arc::from(written.text),
        settings: None,
    })
}

fn split(reader: &Reader<'_>, known: &Known<'_>, matcher: &Matcher) -> Option<Action> {
    let (params, built) = params(reader, "split", &action::SPLIT)?;
    if let Value::Map(entries) = &built.node.value {
        for entry in entries {
            known.check_pool(entry.key_span, &entry.key, false);
        }
    }
    let split = Split::build(&params, &matcher.to_string(), &mut Kept::default().next());
    let split = split.map_err(|error| built.report(reader.cx, &[error])).ok()?;
    let pools = split.pools().map(|name| PoolUse {
        name: Arc::from(name),
        settings: None,
    });
    Some(Action::Split(params, pools.collect()))
}

fn redirect(reader: &Reader<'_>, known: &Known<'_>, matcher: &Matcher) -> Option<Action> {
    let (params, built) = params(reader, "redirect", &action::REDIRECT)?;
    let hosts: Vec<&str> = matcher.hosts.iter().map(String::as_str).collect();
    let redirect = Redirect::build(&params, &matched(known, matcher, &hosts));
    redirect.map_err(|errors| built.report(reader.cx, &errors)).ok()?;
    Some(Action::Redirect(params))
}

/// What all requests of a route with a redirect have in common.
fn matched<'m>(known: &Known<'_>, matcher: &'m Matcher, hosts: &'m [&'m str]) -> Matched<'m> {
    let with_prefix = Matched {
        path_prefix: prefix(matcher),
        ..Matched::default()
    };
    let of_listeners = Conditions {
        listeners: matcher.conditions.listeners.clone(),
        ..Conditions::default()
    };
    // The repeated request may not meet another condition, such as that a cookie is missing.
    if matcher.conditions != of_listeners {
        return with_prefix;
    }
    let all = known.listeners.iter().enumerate();
    let is_of_route =
        |index: &usize| of_listeners.listeners.is_empty() || of_listeners.listeners.contains(index);
    let listeners: Vec<&listener::Settings> = all
        .filter(|(index, _)| is_of_route(index))
        // A proxy in front has a scheme and a port of its own.
        .filter(|_| !known.root.has_any(&["trusted_proxies"]))
        .map(|(_, listener)| listener)
        .collect();
    let port = |listener: &&listener::Settings| match &listener.address {
        ListenAddress::Ip(address) => Some(address.port()),
        ListenAddress::Unix(_) => None,
    };
    Matched {
        hosts,
        path: match &matcher.path {
            PathMatcher::Exact(path) => Some(path),
            PathMatcher::Prefix(_) | PathMatcher::Regex(_) => None,
        },
        is_secure: in_common(listeners.iter().map(|listener| listener.tls.is_some())),
        port: in_common(listeners.iter().map(port)).flatten(),
        ..with_prefix
    }
}

/// The value that all have.
fn in_common<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

fn respond(reader: &Reader<'_>, matcher: &Matcher) -> Option<Read> {
    let (params, built) = params(reader, "respond", &action::RESPOND)?;
    let path = params.text("body_file");
    let content = match path {
        None => None,
        Some(path) => Some(body_file(reader, built.node, path)?),
    };
    let file = content.as_deref().zip(path);
    let file = file.map(|(content, path)| BodyFile { path, content });
    let respond = Respond::build(&params, &groups(matcher), file);
    respond.map_err(|errors| built.report(reader.cx, &errors)).ok()?;
    Some((Action::Respond(params), content))
}

/// The content of a body. `None` is an error that was reported.
fn body_file(reader: &Reader<'_>, node: &Node, path: &str) -> Option<Arc<[u8]>> {
    match bounded_file::read(Path::new(path), MAX_BODY) {
        Ok(content) => Some(content.into()),
        Err(error) => {
            let Value::Map(entries) = &node.value else {
                return None;
            };
            let entry = entries.iter().find(|entry| entry.key == "body_file")?;
            let quote = written(&entry.value).map(|written| reader.cx.quote(written.span));
            let message = format!("cannot read the file {}: {error}", quote.unwrap_or_default());
            let note = "a relative path starts at the folder of the config";
            reader
                .cx
                .report(Diagnostic::error(entry.value.span, message).note(note));
            None
        }
    }
}
