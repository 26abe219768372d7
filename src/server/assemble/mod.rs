//! Builds the workers' snapshot from a config, at the start and at every reload.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use evenkeel_balance::action::{BodyFile, Matched, Mirror, Redirect, Respond, Split};
use evenkeel_balance::edits::{Direction, HeaderEdits};
use evenkeel_balance::policy::{BuildError, Context, Order, Policy};
use evenkeel_balance::rewrite::Rewrite;

use super::RoutesError;
use super::background::Background;
use super::servers::Servers;
use crate::config::Config;
use crate::health::Wakeup;
use crate::kept::{Kept, KeptBuilder};
use crate::pool::{self, Pool, Sticky, WAKEUP};
use crate::proxy::{
    Action, Plan, PolicySettings, PoolUse, ResponsePolicies, Route, RouteSettings, Snapshot, SplitTarget,
    Step, Target,
};
use crate::router::{Matcher, PathMatcher, Router};
use crate::telemetry::Label;
use crate::telemetry::metrics::{MAX_ROUTES_COUNTED, PolicyCounters, TrafficCounters};
use crate::telemetry::trace::{SpanCounters, SpanQueue, Tracer};

/// A snapshot that is not active yet, and the state that it shares with the active one. Its pools have no backends.
pub(super) struct Assembled {
    pub(super) snapshot: Snapshot,
    /// Number of worker threads that it is for.
    pub(super) workers: usize,
    pub(super) keep: KeptBuilder,
    /// What is to run in the background, once it is started, and what changes of what runs already, once it is activated.
    pub(super) background: Background,
}

/// Builds the snapshot of a config. Nothing of the active config changes.
pub(super) fn assemble(config: &Config, kept: &Kept) -> Result<Assembled, RoutesError> {
    let router = Router::new(&config.matchers())?;
    let mut keep = kept.next();
    // Also for a config without pools: a reload may bring some.
    keep.get_or_insert(WAKEUP, Wakeup::default);
    let workers = super::worker_count(config.workers);
    let settings = config.pools.iter().map(|pool| pool::Settings {
        workers,
        ..pool.clone()
    });
    let pools: Vec<Arc<Pool>> = settings.map(|pool| Pool::new(pool, &mut keep)).collect();
    let names = config.pools.iter().enumerate();
    let mut builder = RouteBuilder {
        indices: names.map(|(index, pool)| (&*pool.name, index)).collect(),
        pools: &pools,
        derived: Vec::new(),
        policies: BTreeMap::new(),
        servers: Servers::new(workers),
        counters: Vec::new(),
        workers,
        keep: &mut keep,
        body_limit: config.limits.body,
    };
    let routes = config.routes.iter().enumerate();
    let routes = routes.map(|(position, route)| builder.route(position, route));
    let routes = routes.collect::<Result<_, _>>()?;
    let RouteBuilder {
        derived: derived_pools,
        policies,
        servers,
        counters,
        keep: kept,
        ..
    } = builder;
    let policies = policies.iter().map(|(name, step)| (*name, &step.policy));
    let mut background = Background::prepare(policies, &config.stores, kept)?;
    let servers = servers.into_pools();
    let spans = keep.get_or_insert("spans", SpanCounters::default);
    let tracer = config.tracing.as_ref().map(|settings| {
        let queue = keep.get_or_insert("tracing", || SpanQueue::new(Arc::clone(&spans)));
        background.export(settings, Arc::clone(&queue));
        let has_query = config.access_log.sinks.iter().any(|sink| sink.query);
        Arc::new(Tracer::new(settings, has_query, queue))
    });
    Ok(Assembled {
        snapshot: Snapshot {
            router,
            routes,
            pools,
            derived_pools,
            servers,
            policies: counters,
            tracer,
            spans,
            trusted_proxies: config.trusted_proxies.clone(),
            timeouts: config.timeouts,
            limits: config.limits,
        },
        workers,
        keep,
        background,
    })
}

/// The snapshot of a config for looking at it: nothing is started, read or sent. Its pools have no backends.
///
/// # Errors
/// The routes of the config cannot be used.
pub fn snapshot_of(config: &Config) -> Result<Snapshot, RoutesError> {
    Ok(assemble(config, &Kept::default())?.snapshot)
}

/// Builds the routes of one config.
struct RouteBuilder<'a> {
    /// Indices of the pools by name.
    indices: HashMap<&'a str, usize>,
    pools: &'a [Arc<Pool>],
    /// Pools with settings of one route.
    derived: Vec<Arc<Pool>>,
    /// Policies by name, which routes share.
    policies: BTreeMap<&'a str, Step>,
    /// The servers that they ask.
    servers: Servers,
    /// The counters of those that decide about requests.
    counters: Vec<Arc<PolicyCounters>>,
    /// Number of worker threads.
    workers: usize,
    keep: &'a mut KeptBuilder,
    body_limit: Option<u64>,
}

impl<'a> RouteBuilder<'a> {
    fn route(&mut self, position: usize, settings: &'a RouteSettings) -> Result<Route, RoutesError> {
        Ok(Route {
            traffic: self.traffic(position, &settings.matcher),
            label: Label::new(&settings.matcher.to_string()),
            target: self.target(settings)?,
            plan: self.plan(settings)?.map(Box::new),
        })
    }

    /// The counters of a route, which outlive a reload that does not rename it.
    fn traffic(&mut self, position: usize, route: &Matcher) -> Arc<TrafficCounters> {
        let (kept, name) = match position < MAX_ROUTES_COUNTED {
            true => (format!("route/{route}"), route.to_string()),
            false => ("routes".to_owned(), "other".to_owned()),
        };
        let make = || TrafficCounters::new(&name, self.workers);
        self.keep.get_or_insert(&kept, make)
    }

    fn target(&mut self, settings: &RouteSettings) -> Result<Target, RoutesError> {
        let route = &settings.matcher;
        Ok(match &settings.action {
            Action::Pool(pool) => Target::Pool(self.pool(route, pool)?),
            Action::Split(params, pools) => {
                let name = route.to_string();
                let split =
                    Split::build(params, &name, self.keep).map_err(|error| invalid(route, &[error]))?;
                // `split` does not count pools whose weight is 0: its positions are those of the others.
                let used = |name| pools.iter().find(|pool| &*pool.name == name);
                let used: Vec<&PoolUse> = split.pools().filter_map(used).collect();
                let has_cookie = |pool: &&PoolUse| {
                    let pool = self
                        .indices
                        .get(&*pool.name)
                        .and_then(|index| self.pools.get(*index));
                    matches!(
                        pool.and_then(|pool| pool.sticky.as_deref()),
                        Some(Sticky::Cookie(_))
                    )
                };
                let is_sticky = used.iter().any(has_cookie);
                let pools = used.into_iter().map(|pool| self.pool(route, pool));
                let pools = pools.collect::<Result<_, _>>()?;
                Target::Split(Box::new(SplitTarget {
                    split,
                    pools,
                    is_sticky,
                }))
            }
            Action::Redirect(params) => {
                let redirect = Redirect::build(params, &matched(route));
                Target::Redirect(Box::new(redirect.map_err(|errors| invalid(route, &errors))?))
            }
            Action::Respond(params) => {
                let content = settings.body.as_deref();
                let file = content.zip(params.text("body_file"));
                let file = file.map(|(content, path)| BodyFile { path, content });
                let respond = Respond::build(params, &groups(route), file);
                Target::Respond(Box::new(respond.map_err(|errors| invalid(route, &errors))?))
            }
        })
    }

    /// The index of a pool as a route uses it.
    fn pool(&mut self, route: &Matcher, used: &PoolUse) -> Result<usize, RoutesError> {
        let index = self.index(route, &used.name)?;
        let (Some(settings), Some(pool)) = (&used.settings, self.pools.get(index)) else {
            return Ok(index);
        };
        let settings = (**settings).clone();
        self.derived.push(pool.with_settings(settings, route.to_string()));
        Ok(self.pools.len() + self.derived.len() - 1)
    }

    fn index(&self, route: &Matcher, pool: &str) -> Result<usize, RoutesError> {
        let index = self.indices.get(pool).copied();
        index.ok_or_else(|| RoutesError::UnknownPool {
            route: route.to_string(),
            pool: pool.into(),
        })
    }

    fn plan(&mut self, settings: &'a RouteSettings) -> Result<Option<Plan>, RoutesError> {
        let route = &settings.matcher;
        let all = |errors: Vec<BuildError>| invalid(route, &errors);
        let edits = |params: &Option<_>, direction| {
            let params = params.as_ref();
            let edits = params.map(|params| HeaderEdits::build(params, direction, &groups(route)));
            edits.transpose().map_err(all)
        };
        let rewrite = settings.rewrite.as_ref();
        let rewrite = rewrite.map(|params| Rewrite::build(params, prefix(route)));
        let mirror = match &settings.mirror {
            None => None,
            Some(params) => {
                let mirror = Mirror::build(params).map_err(|error| invalid(route, &[error]))?;
                let pool = self.index(route, mirror.pool())?;
                Some((mirror, pool))
            }
        };
        let mut policies: Vec<&Arc<PolicySettings>> = settings.policies.iter().collect();
        policies.sort_by_key(|policy| (policy.entry.order)(&policy.params));
        let steps = policies.into_iter().map(|policy| self.step(route, policy));
        let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
        for pages in steps.iter().filter_map(|step| step.policy.error_pages()) {
            pages
                .pools()
                .try_for_each(|pool| self.index(route, pool).map(drop))?;
        }
        let decides = |policy: &&Arc<PolicySettings>| (policy.entry.order)(&policy.params) != Order::Response;
        let plan = Plan {
            deciding: settings.policies.iter().filter(decides).count(),
            response: ResponsePolicies::of(&steps),
            steps,
            rewrite: rewrite.transpose().map_err(all)?,
            request_headers: edits(&settings.request_headers, Direction::Request)?,
            response_headers: edits(&settings.response_headers, Direction::Response)?,
            mirror,
            body_limit: settings.body_limit.or(self.body_limit),
        };
        let is_needed = !plan.steps.is_empty()
            || plan.rewrite.is_some()
            || plan.request_headers.is_some()
            || plan.response_headers.is_some()
            || plan.mirror.is_some()
            || settings.body_limit.is_some();
        Ok(is_needed.then_some(plan))
    }

    /// A policy, which routes share that name it.
    fn step(&mut self, route: &Matcher, settings: &'a PolicySettings) -> Result<Step, RoutesError> {
        if let Some(step) = self.policies.get(&*settings.name) {
            return Ok(step.clone());
        }
        let built = (settings.entry.build)(Context {
            name: &settings.name,
            params: &settings.params,
            kept: self.keep,
        });
        let policy: Arc<dyn Policy> = built.map_err(|error| invalid(route, &[error]))?.into();
        let server = policy.fetches().map(|asked| self.servers.get(asked, self.keep));
        let server = server.transpose().map_err(|error| invalid(route, &[error]))?;
        let name = format!("policy/{}", settings.name);
        let counters = || PolicyCounters::new(&settings.name, self.workers);
        let step = Step {
            name: Arc::clone(&settings.name),
            policy,
            server,
            counters: self.keep.get_or_insert(&name, counters),
        };
        if (settings.entry.order)(&settings.params) != Order::Response {
            self.counters.push(Arc::clone(&step.counters));
        }
        self.policies.insert(&settings.name, step.clone());
        Ok(step)
    }
}

/// The errors of one route. A checked config has none.
fn invalid(route: &Matcher, errors: &[BuildError]) -> RoutesError {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    RoutesError::Invalid {
        route: route.to_string(),
        errors: errors.join("; "),
    }
}

/// What a redirect needs to know of its route.
fn matched(route: &Matcher) -> Matched<'_> {
    Matched {
        path_prefix: prefix(route),
        ..Matched::default()
    }
}

/// The `path_prefix` of a route.
fn prefix(route: &Matcher) -> Option<&str> {
    match &route.path {
        PathMatcher::Prefix(prefix) => Some(prefix),
        PathMatcher::Exact(_) | PathMatcher::Regex(_) => None,
    }
}

/// The named groups of the `path_regex` of a route.
fn groups(route: &Matcher) -> Vec<&str> {
    match &route.path {
        PathMatcher::Regex(pattern) => pattern.names().collect(),
        PathMatcher::Exact(_) | PathMatcher::Prefix(_) => Vec::new(),
    }
}

#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod tests;
