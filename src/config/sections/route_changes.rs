//! The keys that a route has in common with `route_defaults`: what is changed in its messages, and the settings that it overrides.

use evenkeel_balance::action::{self, Mirror};
use evenkeel_balance::edits::{self, Direction, HeaderEdits};
use evenkeel_balance::rewrite::{self, Rewrite};

use super::known::Known;
use super::policies::{self, Policies};
use super::retry;
use super::route_action::{self, groups, prefix};
use super::timeouts;
use crate::config::params;
use crate::config::print::{self, Item, word};
use crate::config::reader::Reader;
use crate::config::source::Diagnostic;
use crate::config::tree::Value;
use crate::pool;
use crate::proxy::{Action, PoolUse, RouteSettings};
use crate::schema::{self, Key, Kind, Params, Section};

/// `rewrite`.
pub(super) const REWRITE: Key = Key::new(
    "rewrite",
    Kind::Section(&rewrite::SECTION),
    "Changes of the path and the host before requests go to a backend.",
);

/// `request_headers`.
pub(super) const REQUEST_HEADERS: Key = Key::new(
    "request_headers",
    Kind::Section(&edits::SECTION),
    "Changes of the headers of requests.",
);

/// `response_headers`.
pub(super) const RESPONSE_HEADERS: Key = Key::new(
    "response_headers",
    Kind::Section(&edits::SECTION),
    "Changes of the headers of responses.",
);

/// `timeouts`.
pub(super) const TIMEOUTS: Key = Key::new(
    "timeouts",
    Kind::Section(&ROUTE_TIMEOUTS),
    "Timeouts in place of the pool's.",
)
.otherwise("as in the pool");

/// `retry`.
pub(super) const RETRY: Key = retry::KEY.otherwise("as in the pool");

/// `limits`.
pub(super) const LIMITS: Key = Key::new(
    "limits",
    Kind::Section(&ROUTE_LIMITS),
    "Limits in place of those at top level.",
)
.otherwise("as at top level");

/// `mirror`.
pub(super) const MIRROR: Key = Key::new(
    "mirror",
    Kind::Section(&action::MIRROR),
    "Copies of requests to another pool.",
);

/// `policies`.
pub(super) const POLICIES: Key = Key::new(
    "policies",
    policies::LIST,
    "Policies: names from `policies` at top level, or maps such as `{ body_limit: 1MiB }`. Their order does not matter.",
)
.otherwise("none");

/// `timeouts` of a route.
pub(super) const ROUTE_TIMEOUTS: Section = Section {
    name: "routes[].timeouts",
    about: "The timeouts that a route can override. The others are taken from the pool.",
    keys: timeouts::OF_ROUTE,
};

/// `limits` of a route.
pub(super) const ROUTE_LIMITS: Section = Section {
    name: "routes[].limits",
    about: "The limit that a route can override. The default is taken from `limits` at top level.",
    keys: &[Key::new(
        "body",
        Kind::Size {
            least: 0,
            most: u64::MAX,
        },
        "Maximum size of one request body.",
    )
    .otherwise("as at top level")],
};

/// The keys that have no effect without a backend.
const OF_BACKENDS: [&str; 5] = ["rewrite", "request_headers", "timeouts", "retry", "mirror"];

/// The keys of one route, and those of `route_defaults` that it does not write.
pub(super) struct Changes<'a> {
    defaults: &'a Reader<'a>,
    own: Option<&'a Reader<'a>>,
}

impl<'a> Changes<'a> {
    /// Those of a route; `None` is the route of `backends` at top level, which writes none.
    pub(super) fn new(defaults: &'a Reader<'a>, own: Option<&'a Reader<'a>>) -> Self {
        Self { defaults, own }
    }

    /// Where a key is written, if it is.
    fn source(&self, key: &str) -> Option<&'a Reader<'a>> {
        let own = self.own.filter(|own| own.has(key));
        own.or_else(|| self.defaults.has(key).then_some(self.defaults))
    }

    /// Where a key is written whose value is applied key by key, in the order in which that happens.
    fn layers(&self, key: &'static str) -> impl Iterator<Item = &'a Reader<'a>> {
        let all = [Some(self.defaults), self.own].into_iter().flatten();
        all.filter(move |reader| reader.has(key))
    }

    /// Reports the errors in the keys themselves.
    pub(super) fn check(&self) {
        self.overrides(None);
        for (key, section) in [
            ("rewrite", &rewrite::SECTION),
            ("request_headers", &edits::SECTION),
            ("response_headers", &edits::SECTION),
            ("mirror", &action::MIRROR),
        ] {
            self.params(key, section);
        }
    }

    /// The route with its changes and policies.
    pub(super) fn apply(
        &self,
        known: &Known<'_>,
        policies: &Policies<'_>,
        mut route: RouteSettings,
    ) -> RouteSettings {
        let cx = known.root.cx;
        let matcher = &route.matcher;
        self.warn_without_backend(&route);
        let groups = groups(matcher);
        route.rewrite = self.params("rewrite", &rewrite::SECTION).map(|(params, built)| {
            if let Err(errors) = Rewrite::build(&params, prefix(matcher)) {
                built.report(cx, &errors);
            }
            params
        });
        let edits = |key, direction| {
            let (params, built) = self.params(key, &edits::SECTION)?;
            if let Err(errors) = HeaderEdits::build(&params, direction, &groups) {
                built.report(cx, &errors);
            }
            Some(params)
        };
        route.request_headers = edits("request_headers", Direction::Request);
        route.response_headers = edits("response_headers", Direction::Response);
        route.mirror = self.mirror(known);
        let label = matcher.to_string();
        let source = self.source("policies");
        let of_route = source.map(|source| policies.of_route(known, source, &label));
        route.policies = of_route.unwrap_or_default();
        self.apply_overrides(known, &mut route);
        route
    }

    fn params(&self, key: &'static str, section: &Section) -> Option<(Params, super::built::Built<'a>)> {
        route_action::params(self.source(key)?, key, section)
    }

    fn mirror(&self, known: &Known<'_>) -> Option<Params> {
        let (params, built) = self.params("mirror", &action::MIRROR)?;
        if let Value::Map(entries) = &built.node.value
            && let Some(entry) = entries.iter().find(|entry| entry.key == "pool")
            && let Some(pool) = crate::config::reader::written(&entry.value)
        {
            known.check_pool(pool.span, pool.text, pool.is_expanded);
            if let Err(error) = Mirror::build(&params) {
                built.report(known.root.cx, &[error]);
            }
        }
        Some(params)
    }

    /// Applies `timeouts`, `retry` and `limits` to the pools of the route.
    fn apply_overrides(&self, known: &Known<'_>, route: &mut RouteSettings) {
        let overrides = ["timeouts", "retry"];
        if overrides.iter().any(|key| self.source(key).is_some()) {
            let pools: &mut [PoolUse] = match &mut route.action {
                Action::Pool(pool) => std::slice::from_mut(pool),
                Action::Split(_, pools) => pools,
                Action::Redirect(_) | Action::Respond(_) => &mut [],
            };
            for used in pools {
                let settings = known.pool(&used.name);
                used.settings = settings.map(|settings| {
                    Box::new(self.overrides(Some(settings)).unwrap_or_else(|| settings.clone()))
                });
            }
            self.overrides(None);
        }
        route.body_limit = self.body_limit();
        // What is written is valid then, and is not reported twice in other words.
        if !known.root.cx.has_error() {
            route.overrides = self.as_written();
        }
    }

    /// The settings of a pool with the overrides; without a pool, only errors are reported.
    fn overrides(&self, base: Option<&pool::Settings>) -> Option<pool::Settings> {
        let mut timeouts = base.map(|base| base.timeouts);
        for source in self.layers("timeouts") {
            let layer = source.section("timeouts", &ROUTE_TIMEOUTS);
            timeouts = Some(timeouts::read_of_route(&layer, timeouts.as_ref()));
        }
        let mut retry = base.map(|base| base.retry.clone());
        for source in self.layers("retry") {
            retry = Some(retry::read(source, retry.as_ref()));
        }
        Some(pool::Settings {
            timeouts: timeouts?,
            retry: retry?,
            ..base?.clone()
        })
    }

    fn body_limit(&self) -> Option<u64> {
        let mut limit = None;
        for source in self.layers("limits") {
            let limits = source.section("limits", &ROUTE_LIMITS);
            let size = limits.size("body", None);
            limit = limits.has("body").then_some(size).or(limit);
        }
        limit
    }

    /// `timeouts`, `retry` and `limits` as written, those of the route over those of the defaults.
    fn as_written(&self) -> Params {
        let mut all = Params::default();
        for (key, section) in [
            ("timeouts", &ROUTE_TIMEOUTS),
            ("retry", &retry::RETRY),
            ("limits", &ROUTE_LIMITS),
        ] {
            for source in self.layers(key) {
                if source.is_off(key) {
                    all.set(key, schema::Value::Word("off"));
                    continue;
                }
                let node = source.node(key);
                let layer = node.and_then(|node| params::as_written(source.cx, section, node));
                if let Some(layer) = layer {
                    let below = all.get(key).map(below).unwrap_or_default();
                    all.set(key, schema::Value::Section(merged(section, &below, &layer)));
                }
            }
        }
        all
    }

    /// Warns of keys that have no effect because no request goes to a backend.
    fn warn_without_backend(&self, route: &RouteSettings) {
        let (Some(own), Action::Redirect(_) | Action::Respond(_)) = (self.own, &route.action) else {
            return;
        };
        for key in OF_BACKENDS {
            if let Some(span) = own.key_span(key) {
                let message = format!("`{key}` has no effect: no request of this route goes to a backend");
                own.cx.report(Diagnostic::warning(span, message));
            }
        }
    }
}

/// The keys of a value over which another one is applied. `off`, which only `retry` can be, is one attempt.
fn below(value: &schema::Value) -> Params {
    let mut params = Params::default();
    match value {
        schema::Value::Section(below) => return below.clone(),
        _ => params.set("attempts", schema::Value::Count(1)),
    }
    params
}

/// Both, in the order of the table; where both have a key, that of `layer`.
fn merged(section: &Section, below: &Params, layer: &Params) -> Params {
    let mut all = Params::default();
    for key in section.keys {
        let value = match (&key.kind, below.get(key.name), layer.get(key.name)) {
            (
                Kind::Section(inner),
                Some(schema::Value::Section(below)),
                Some(schema::Value::Section(layer)),
            ) => schema::Value::Section(merged(inner, below, layer)),
            (_, below, layer) => match layer.or(below) {
                Some(value) => value.clone(),
                None => continue,
            },
        };
        all.set(key.name, value);
    }
    all
}

/// Prints what a route changes and overrides.
pub(super) fn show(route: &RouteSettings) -> Vec<(&'static str, Item)> {
    let of = |key, section: Section, params: &Option<Params>| {
        let shown = params.as_ref().map(|params| print::params(section.keys, params));
        shown.map(|shown| (key, shown))
    };
    let mut keys = Vec::new();
    keys.extend(of("rewrite", rewrite::SECTION, &route.rewrite));
    keys.extend(of("request_headers", edits::SECTION, &route.request_headers));
    keys.extend(of("response_headers", edits::SECTION, &route.response_headers));
    for (key, value) in route.overrides.iter() {
        let section = match key {
            "timeouts" => ROUTE_TIMEOUTS,
            "retry" => retry::RETRY,
            _ => ROUTE_LIMITS,
        };
        keys.push((
            key,
            match value {
                schema::Value::Section(params) => print::params(section.keys, params),
                _ => word("off"),
            },
        ));
    }
    keys.extend(of("mirror", action::MIRROR, &route.mirror));
    if !route.policies.is_empty() {
        let policies = route.policies.iter().map(policies::show_use);
        keys.push(("policies", Item::List(policies.collect())));
    }
    keys
}
