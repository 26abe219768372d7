//! Explains a request from the snapshot of a process, or one that was built as such.

use evenkeel_balance::action::{Redirect, Respond};
use evenkeel_balance::policy::{Decision, Notes, Order};
use evenkeel_balance::request::Request;
use evenkeel_balance::rewrite::{Host, InvalidPath, Rewrite, Rewritten};

use super::asked::Asked;
use super::changes::{self, Known};
use super::pools::{only_backend, settings_of};
use crate::admin::{
    ExplainedAction, ExplainedMirror, ExplainedPolicy, ExplainedPool, ExplainedRequest, Explanation,
    ForwardedRequest, HeaderChange, RouteOutcome, SplitPart,
};
use crate::config::Config;
use crate::listener;
use crate::pool;
use crate::proxy::{Action, Plan, RouteSettings, Snapshot, Step, Target};
use crate::router::Outcome;
use crate::schema::{Params, Value, units};

impl Explanation {
    /// Explains a request, by a config and the snapshot that was built from it.
    pub(super) fn new(asked: &Asked, config: &Config, snapshot: &Snapshot) -> Self {
        let request = asked.view();
        let matchers = config.matchers();
        let outcomes = snapshot.router.explain(&matchers, &request);
        let listener = config.listeners.get(asked.listener);
        let mut explanation = Self {
            request: ExplainedRequest::new(&request, listener),
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
            .map(|step| ExplainedPolicy::new(step, settings, request))
            .collect();
        self.action = ExplainedAction::new(&route.target, settings, request);
        if !pools.is_empty() {
            self.forwarded = Some(ForwardedRequest::new(plan, settings, &known));
        }
        self.response_headers = changes::list(settings.response_headers.as_ref(), &known);
        self.pools = pools
            .into_iter()
            .map(|pool| ExplainedPool::new(pool, (config, snapshot), request))
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

impl ExplainedRequest {
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

impl ExplainedPolicy {
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

impl ExplainedAction {
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

fn part((pool, value): &(String, Value)) -> Option<SplitPart> {
    match value {
        Value::Count(weight) => Some(SplitPart {
            pool: pool.clone(),
            weight: *weight,
        }),
        _ => None,
    }
}

impl ForwardedRequest {
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
            mirror: settings.mirror.as_ref().map(ExplainedMirror::new),
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

impl ExplainedMirror {
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
