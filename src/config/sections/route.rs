//! `routes`, and the route that `backends` at top level defines.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::known::Known;
use super::policies::Policies;
use super::pool::Pool;
use super::pool_name::DEFAULT_POOL;
use super::route_changes::{self, Changes};
use super::{route_action, route_match};
use crate::config::Config;
use crate::config::print::Item;
use crate::config::reader::Reader;
use crate::config::source::{Diagnostic, Span};
use crate::config::tree::Node;
use crate::proxy::RouteSettings;
use crate::router::{Conditions, Matcher, PathMatcher, RouteError, Router};
use crate::schema::{Key, Kind, Section};

/// An item of `routes`.
pub(super) const ROUTE: Section = Section {
    name: "routes[]",
    about: "Which requests it is for, and what becomes of them. Every condition that is written must hold. Exactly one of `pool`, `split`, `redirect` and `respond` is required. The most specific route wins: by host (exact, then the longest wildcard), then by path (exact, then the patterns in the order of the file, then the longest prefix), then one with `method`, with more `headers`, with more `query` and `cookies`, with the smaller `client_ip` block, with `listener`, then the first in the file. If the conditions of the best path do not hold, the next best is tried.",
    keys: &[
        route_match::NAME,
        route_match::HOST,
        route_match::PATH,
        route_match::PATH_PREFIX,
        route_match::PATH_REGEX,
        route_match::METHOD,
        route_match::HEADERS,
        route_match::QUERY,
        route_match::COOKIES,
        route_match::CLIENT_IP,
        route_match::LISTENER,
        route_action::POOL,
        route_action::SPLIT,
        route_action::REDIRECT,
        route_action::RESPOND,
        route_changes::REWRITE,
        route_changes::REQUEST_HEADERS,
        route_changes::RESPONSE_HEADERS,
        route_changes::TIMEOUTS,
        route_changes::RETRY,
        route_changes::LIMITS,
        route_changes::MIRROR,
        route_changes::POLICIES,
    ],
};

/// `route_defaults`.
pub(super) const ROUTE_DEFAULTS: Section = Section {
    name: "route_defaults",
    about: "What every route has that does not write the key itself. An inline policy is then a policy of its own for each route; a named one is shared.",
    keys: &[
        route_changes::REWRITE,
        route_changes::REQUEST_HEADERS,
        route_changes::RESPONSE_HEADERS,
        route_changes::TIMEOUTS,
        route_changes::RETRY,
        route_changes::LIMITS,
        route_changes::MIRROR,
        route_changes::POLICIES,
    ],
};

/// `route_defaults` at top level.
pub(super) const DEFAULTS: Key = Key::new(
    "route_defaults",
    Kind::Section(&ROUTE_DEFAULTS),
    "What every route has that does not write the key itself.",
)
.printed_elsewhere();

/// Most routes.
const MOST_ROUTES: usize = 200_000;

/// Reads the routes.
pub(super) fn read(known: &Known<'_>, policies: &Policies<'_>) -> Vec<RouteSettings> {
    let root = known.root;
    let items = root.list("routes").unwrap_or_default();
    if let (Some(span), true) = (root.key_span("routes"), items.len() > MOST_ROUTES) {
        let message = format!("`routes` has more than {MOST_ROUTES} items");
        root.cx.report(Diagnostic::error(span, message));
    }
    let defaults = root.section("route_defaults", &ROUTE_DEFAULTS);
    // For the errors in defaults that no route has.
    Changes::new(&defaults, None).check();
    let (mut routes, mut spans) = (Vec::new(), Vec::new());
    for item in items.iter().take(MOST_ROUTES) {
        if let Some(route) = route(known, policies, item, &defaults) {
            routes.push(route);
            spans.push(item.span);
        }
    }
    check_matchers(root, &routes, &spans);
    let is_catch_all = |route: &RouteSettings| is_catch_all(&route.matcher);
    let short = known.pools.iter().find(|pool| pool.is_short);
    if let Some(pool) = short.filter(|_| !routes.iter().any(is_catch_all)) {
        let route = RouteSettings::to_pool(Matcher::default(), &pool.settings.name);
        let changes = Changes::new(&defaults, None);
        routes.push(changes.apply(known, policies, route));
    }
    check_reach(root, known.pools, &routes, policies);
    routes
}

/// Prints an item of `routes`.
pub(super) fn show(route: &RouteSettings, config: &Config) -> Item {
    let matching = route_match::show(&route.matcher, &config.listeners);
    let action = route_action::show(&route.action);
    let changes = route_changes::show(route);
    let keys = matching.into_iter().chain([action]).chain(changes);
    Item::Map(keys.map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Whether a route without conditions is for every request that no other is for.
fn is_catch_all(matcher: &Matcher) -> bool {
    matcher.hosts.is_empty()
        && matcher.path == PathMatcher::default()
        && matcher.conditions == Conditions::default()
}

fn route(
    known: &Known<'_>,
    policies: &Policies<'_>,
    item: &Node,
    defaults: &Reader<'_>,
) -> Option<RouteSettings> {
    let reader = Reader::open(known.root.cx, &ROUTE, item)?;
    let matcher = route_match::read(&reader, known.listeners);
    // Errors of the other keys are reported too when the match has some.
    let is_valid = matcher.is_some();
    let matcher = matcher.unwrap_or_default();
    let action = route_action::read(&reader, known, &matcher, item);
    let is_valid = is_valid && action.is_some();
    let unknown = || RouteSettings::to_pool(matcher.clone(), &Arc::from(DEFAULT_POOL));
    let route = match action {
        Some((action, body)) => RouteSettings {
            action,
            body,
            ..unknown()
        },
        None => unknown(),
    };
    let changes = Changes::new(defaults, Some(&reader));
    let route = changes.apply(known, policies, route);
    is_valid.then_some(route)
}

/// Reports routes that cannot be used together. Spans are those of the routes.
fn check_matchers(root: &Reader<'_>, routes: &[RouteSettings], spans: &[Span]) {
    let matchers: Vec<Matcher> = routes.iter().map(|route| route.matcher.clone()).collect();
    let Err(errors) = Router::new(&matchers) else {
        return;
    };
    let cx = root.cx;
    for error in &errors.0 {
        let (second, message, first, advice) = match error {
            RouteError::Equal { first, second, .. } => (
                second,
                "duplicate route: it never matches".to_owned(),
                Some(first),
                "remove one of them, or give one a condition that the other does not have",
            ),
            RouteError::DuplicateName { name, first, second } => (
                second,
                format!("duplicate name `{name}`"),
                Some(first),
                "choose another name",
            ),
            RouteError::NotAPath { route, .. } => (
                route,
                "this route never matches: its path does not begin with `/`".to_owned(),
                None,
                "write a path such as /api",
            ),
        };
        let Some(span) = spans.get(*second) else { continue };
        let first = first.and_then(|first| spans.get(*first));
        let other = first.map(|first| {
            let same = match error {
                RouteError::Equal { .. } => "the same host, path and conditions",
                _ => "the same name",
            };
            format!(
                "the route on line {} has {same}: {}",
                cx.source.line(*first),
                cx.quote(*first)
            )
        });
        cx.report(Diagnostic::error(*span, message).note_if(other).note(advice));
    }
}

/// Reports a missing route, and warns of pools and policies that no route uses. Does nothing after an error, because the invalid
/// route or pool may be the missing one.
fn check_reach(root: &Reader<'_>, pools: &[Pool], routes: &[RouteSettings], policies: &Policies<'_>) {
    if root.cx.has_error() {
        return;
    }
    if routes.is_empty() {
        let note = match pools.first() {
            Some(pool) => format!("write `routes: [{{ pool: {} }}]`", pool.settings.name),
            None => "write `routes: [{ respond: { status: 404 } }]`".to_owned(),
        };
        root.cx
            .report(Diagnostic::whole("the config has no route").note(note));
        return;
    }
    let mut used: BTreeSet<&str> = policies.pools_of(routes);
    for route in routes {
        used.extend(route.pools().iter().map(|pool| &*pool.name));
        used.extend(route.mirror.as_ref().and_then(|mirror| mirror.text("pool")));
    }
    for pool in pools.iter().filter(|pool| !used.contains(&*pool.settings.name)) {
        let message = format!(
            "no route uses pool `{}`: it receives no requests",
            pool.settings.name
        );
        root.cx.report(Diagnostic::warning(pool.span, message));
    }
    policies.warn_of_unused(routes);
}
