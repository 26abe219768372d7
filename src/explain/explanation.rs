//! What would become of a request. Built from the same snapshot as that of a running process.

use evenkeel_balance::action::{Redirect, Respond};
use evenkeel_balance::policy::{Decision, Notes, Order};
use evenkeel_balance::request::Request;
use evenkeel_balance::rewrite::{Host, InvalidPath, Rewrite, Rewritten};
use serde::Serialize;

use super::asked::Asked;
use super::changes::{self, HeaderChange, Known};
use super::pools::{PoolShown, only_backend, settings_of};
use crate::config::Config;
use crate::listener;
use crate::pool;
use crate::proxy::{Action, Plan, RouteSettings, Snapshot, Step, Target};
use crate::router::Outcome;
use crate::schema::{Params, Value, units};

/// All that is printed.
#[derive(Debug, Serialize)]
pub struct Explanation {
    pub(super) request: RequestShown,
    /// Whether the listener redirects the request to HTTPS, so that it is not routed.
    pub(super) redirected_to_https: bool,
    /// The chosen route, as it is named in the log; `None` when no route matches: 404.
    pub(super) route: Option<String>,
    /// Every route, in the order of the config.
    pub(super) routes: Vec<RouteOutcome>,
    /// The policies of the route, in the order in which they act.
    pub(super) policies: Vec<PolicyShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<ActionShown>,
    /// The request that a backend would receive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) forwarded: Option<ForwardedShown>,
    /// The changes of the headers of the response.
    pub(super) response_headers: Vec<HeaderChange>,
    /// The pools that the request may go to.
    pub(super) pools: Vec<PoolShown>,
    /// Maximum size of the body of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body_limit: Option<String>,
}

/// The request, as it is routed.
#[derive(Debug, Serialize)]
pub(super) struct RequestShown {
    pub(super) method: String,
    pub(super) scheme: &'static str,
    pub(super) host: String,
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) query: Option<String>,
    pub(super) client_ip: String,
    pub(super) listener: String,
}

/// What became of one route.
#[derive(Debug, Serialize)]
pub(super) struct RouteOutcome {
    pub(super) route: String,
    pub(super) outcome: &'static str,
    /// The outcome in words.
    pub(super) why: String,
}

/// A policy.
#[derive(Debug, Serialize)]
pub(super) struct PolicyShown {
    pub(super) policy: String,
    pub(super) kind: &'static str,
    /// What it would respond; `None` if it would let the request pass, or if that depends on more than the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) responds: Option<String>,
}

/// What the route does with the request.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum ActionShown {
    Pool { pool: String },
    Split { parts: Vec<Part> },
    Redirect { status: u16, location: String },
    Respond { status: u16, body_bytes: usize },
}

/// One pool of a split.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub(super) pool: String,
    pub(super) weight: u64,
}

/// The request to a backend.
#[derive(Debug, Serialize)]
pub(super) struct ForwardedShown {
    pub(super) method: String,
    /// With the query. `None` when the rewritten path is not valid: 500.
    pub(super) target: Option<String>,
    pub(super) host: String,
    pub(super) headers: Vec<HeaderChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mirror: Option<MirrorShown>,
}

/// Where copies go.
#[derive(Debug, Serialize)]
pub(super) struct MirrorShown {
    pub(super) pool: String,
    pub(super) percent: String,
}

impl Explanation {
    /// Explains a request, by a config and the snapshot that was built from it.
    pub(super) fn new(asked: &Asked, config: &Config, snapshot: &Snapshot) -> Self {
        let request = asked.view();
        let matchers = config.matchers();
        let outcomes = snapshot.router.explain(&matchers, &request);
        let listener = config.listeners.get(asked.listener);
        let mut explanation = Self {
            request: RequestShown::new(&request, listener),
            redirected_to_https: listener.is_some_and(|listener| listener.redirect.is_some()),
            route: None,
            routes: matchers.iter().zip(&outcomes).map(RouteOutcome::new).collect(),
            policies: Vec::new(),
            action: None,
            forwarded: None,
            response_headers: Vec::new(),
            pools: Vec::new(),
            body_limit: None,
        };
        let index = outcomes.iter().position(|outcome| *outcome == Outcome::Chosen);
        if let Some(index) = index.filter(|_| !explanation.redirected_to_https) {
            explanation.route(index, &request, (config, snapshot));
        }
        explanation
    }

    /// Adds what the chosen route does.
    fn route(&mut self, index: usize, request: &Request<'_>, (config, snapshot): (&Config, &Snapshot)) {
        let (Some(settings), Some(route)) = (config.routes.get(index), snapshot.routes.get(index)) else {
            return;
        };
        let plan = route.plan.as_deref();
        let steps = plan.map_or(&[][..], |plan| &plan.steps);
        let uses = settings.pools().iter();
        let pools: Vec<&pool::Settings> = uses.filter_map(|used| settings_of(used, config)).collect();
        let pattern = match &settings.matcher.path {
            crate::router::PathMatcher::Regex(pattern) => Some(pattern),
            _ => None,
        };
        let known = Known {
            request: *request,
            route: settings.matcher.to_string(),
            pool: match &*pools {
                [pool] => Some(&*pool.name),
                _ => None,
            },
            backend: only_backend(&pools, config),
            is_identified: settings
                .policies
                .iter()
                .any(|policy| (policy.entry.order)(&policy.params) == Order::Identity),
            groups: pattern.map_or_else(Vec::new, |pattern| pattern.names().collect()),
            captures: snapshot.router.captures(index, request),
        };
        self.route = Some(known.route.clone());
        self.policies = steps
            .iter()
            .map(|step| PolicyShown::new(step, settings, request))
            .collect();
        self.action = ActionShown::new(&route.target, settings, request);
        if !pools.is_empty() {
            self.forwarded = Some(ForwardedShown::new(plan, settings, &known));
        }
        self.response_headers = changes::list(settings.response_headers.as_ref(), &known);
        self.pools = pools
            .into_iter()
            .map(|pool| PoolShown::new(pool, (config, snapshot), request))
            .collect();
        let limit = plan.map_or(config.limits.body, |plan| plan.body_limit);
        self.body_limit = body_limit(limit, settings).map(units::show_size);
    }
}

/// The lowest of the limit of the route and those of its policies.
fn body_limit(limit: Option<u64>, settings: &RouteSettings) -> Option<u64> {
    let policies = settings
        .policies
        .iter()
        .filter(|policy| policy.entry.name == "body_limit");
    policies
        .filter_map(|policy| policy.params.size(""))
        .chain(limit)
        .min()
}

impl RequestShown {
    fn new(request: &Request<'_>, listener: Option<&listener::Settings>) -> Self {
        let head = request.head;
        Self {
            method: text(head.text(head.method_text)),
            scheme: if request.is_secure { "https" } else { "http" },
            host: text(head.text(head.authority)),
            path: text(request.path()),
            query: head.query.map(|query| text(head.text(query))),
            client_ip: request.client_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            listener: listener
                .map(|listener| listener.address.to_string())
                .unwrap_or_default(),
        }
    }
}

impl RouteOutcome {
    fn new((matcher, outcome): (&crate::router::Matcher, &Outcome<'_>)) -> Self {
        Self {
            route: matcher.to_string(),
            outcome: match outcome {
                Outcome::Chosen => "chosen",
                Outcome::LessSpecific { .. } => "less_specific",
                Outcome::Host => "host",
                Outcome::Path(_) => "path",
                Outcome::Condition(_) => "condition",
            },
            why: outcome.to_string(),
        }
    }
}

impl PolicyShown {
    /// Asks only policies whose decision depends on the request alone.
    fn new(step: &Step, settings: &RouteSettings, request: &Request<'_>) -> Self {
        let policy = settings.policies.iter().find(|policy| policy.name == step.name);
        let order = policy.map(|policy| (policy.entry.order)(&policy.params));
        let decision = match order {
            Some(Order::Address | Order::Preflight) => step.policy.check(request, &mut Notes::default()),
            _ => Decision::Continue,
        };
        Self {
            policy: step.name.to_string(),
            kind: policy.map_or("", |policy| policy.entry.name),
            responds: match decision {
                Decision::Refuse(refusal) => Some(
                    format!("{} {}", refusal.status, refusal.code)
                        .trim_end()
                        .to_owned(),
                ),
                Decision::Continue | Decision::Wait(_) => None,
            },
        }
    }
}

impl ActionShown {
    fn new(target: &Target, settings: &RouteSettings, request: &Request<'_>) -> Option<Self> {
        Some(match (target, &settings.action) {
            (Target::Redirect(redirect), _) => Self::redirect(redirect, request),
            (Target::Respond(respond), _) => Self::respond(respond),
            (_, Action::Split(params, _)) => Self::Split {
                parts: params.any().iter().filter_map(part).collect(),
            },
            (_, Action::Pool(used)) => Self::Pool {
                pool: used.name.to_string(),
            },
            _ => return None,
        })
    }

    fn redirect(redirect: &Redirect, request: &Request<'_>) -> Self {
        let mut location = Vec::new();
        match redirect.location(request, &mut location) {
            Ok(()) => Self::Redirect {
                status: redirect.status(),
                location: text(&location),
            },
            // There is no URL to redirect to.
            Err(_) => Self::Respond {
                status: 400,
                body_bytes: 0,
            },
        }
    }

    fn respond(respond: &Respond) -> Self {
        Self::Respond {
            status: respond.status(),
            body_bytes: respond.body().len(),
        }
    }
}

fn part((pool, value): &(String, Value)) -> Option<Part> {
    match value {
        Value::Count(weight) => Some(Part {
            pool: pool.clone(),
            weight: *weight,
        }),
        _ => None,
    }
}

impl ForwardedShown {
    fn new(plan: Option<&Plan>, settings: &RouteSettings, known: &Known<'_>) -> Self {
        let head = known.request.head;
        let rewrite = plan.and_then(|plan| plan.rewrite.as_ref());
        let (path, prefix) = match rewritten(rewrite, known.request.path()) {
            Ok((path, prefix)) => (Some(path), prefix),
            Err(InvalidPath) => (None, None),
        };
        let query = head.query.map(|query| format!("?{}", text(head.text(query))));
        let prefix = prefix.map(|prefix| HeaderChange {
            change: "set",
            name: "X-Forwarded-Prefix".to_owned(),
            value: Some(prefix),
        });
        let edits = changes::list(settings.request_headers.as_ref(), known);
        Self {
            method: text(head.text(head.method_text)),
            target: path.map(|path| path + query.as_deref().unwrap_or_default()),
            host: match rewrite.map(Rewrite::host) {
                None | Some(Host::Keep) => text(head.text(head.authority)),
                Some(Host::Backend) => "that of the backend".to_owned(),
                Some(Host::Name(name)) => name.to_string(),
            },
            headers: prefix.into_iter().chain(edits).collect(),
            mirror: settings.mirror.as_ref().map(MirrorShown::new),
        }
    }
}

/// The path for the backend, and the prefix that was removed from it.
fn rewritten(rewrite: Option<&Rewrite>, path: &[u8]) -> Result<(String, Option<String>), InvalidPath> {
    let mut out = Vec::new();
    match rewrite.map(|rewrite| rewrite.path(path, &mut out)).transpose()? {
        None | Some(Rewritten::Same) => Ok((text(path), None)),
        Some(Rewritten::Changed { removed_prefix }) => Ok((text(&out), removed_prefix.map(str::to_owned))),
    }
}

impl MirrorShown {
    fn new(params: &Params) -> Self {
        Self {
            pool: params.text("pool").unwrap_or_default().to_owned(),
            percent: params.text("percent").unwrap_or("100").to_owned(),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
