//! The settings of routes, as the config resolves them. What pure modules build themselves, such as rewrites and policies, is
//! here as validated parameters: assembling the snapshot builds it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use evenkeel_balance::policy::PolicyEntry;

use crate::pool;
use crate::router::Matcher;
use crate::schema::Params;

/// One route.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSettings {
    /// What it matches, and its name.
    pub matcher: Matcher,
    /// What becomes of its requests.
    pub action: Action,
    /// The content of the file that `respond` names, read when the config is loaded.
    pub body: Option<Arc<[u8]>>,
    /// `rewrite`.
    pub rewrite: Option<Params>,
    /// `request_headers`.
    pub request_headers: Option<Params>,
    /// `response_headers`.
    pub response_headers: Option<Params>,
    /// `mirror`.
    pub mirror: Option<Params>,
    /// `timeouts`, `retry` and `limits` as written, which the pools of the action have applied: see [`PoolUse::settings`].
    pub overrides: Params,
    /// Maximum size of a request body in bytes, in place of `limits.body`.
    pub body_limit: Option<u64>,
    /// Its policies, in the order of the config; they act in the order of [`Order`](evenkeel_balance::policy::Order).
    pub policies: Vec<Arc<PolicySettings>>,
}

/// What becomes of the requests of a route.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// They go to a pool.
    Pool(PoolUse),
    /// They are split between pools: the parameters of `split`, and the pools in its order.
    Split(Params, Vec<PoolUse>),
    /// They get a redirect: the parameters of `redirect`.
    Redirect(Params),
    /// They get this response: the parameters of `respond`.
    Respond(Params),
}

/// A pool as one route uses it.
#[derive(Debug, Clone)]
pub struct PoolUse {
    /// Its name.
    pub name: Arc<str>,
    /// Its settings with the overrides of the route; `None` without overrides.
    pub settings: Option<Box<pool::Settings>>,
}

impl PartialEq for PoolUse {
    /// The settings follow from the pool and from the route's overrides, which are compared by themselves.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// One policy.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySettings {
    /// Its name in the config. A policy that is written in a route has the name of the route and of its kind.
    pub name: Arc<str>,
    /// Its row in the table of policies.
    pub entry: &'static PolicyEntry,
    /// Its parameters.
    pub params: Params,
}

/// A store through which instances share limits.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Its name in the config.
    pub name: Arc<str>,
    /// The URL of a Redis or Valkey server, which may contain a password.
    pub url: String,
    /// File with the CAs that the certificate of the server must be signed by; `None` for those that this machine trusts.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for StoreSettings {
    /// Without the URL, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSettings")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl PolicySettings {
    /// Whether it is written in a route and not in `policies`. The name of a policy has no `/`.
    pub fn is_inline(&self) -> bool {
        self.name.contains('/')
    }
}

impl RouteSettings {
    /// A route to a pool, without anything else.
    pub fn to_pool(matcher: Matcher, pool: &Arc<str>) -> Self {
        Self {
            matcher,
            action: Action::Pool(PoolUse {
                name: Arc::clone(pool),
                settings: None,
            }),
            body: None,
            rewrite: None,
            request_headers: None,
            response_headers: None,
            mirror: None,
            overrides: Params::default(),
            body_limit: None,
            policies: Vec::new(),
        }
    }

    /// The pools that its requests may go to.
    pub fn pools(&self) -> &[PoolUse] {
        match &self.action {
            Action::Pool(pool) => std::slice::from_ref(pool),
            Action::Split(_, pools) => pools,
            Action::Redirect(_) | Action::Respond(_) => &[],
        }
    }
}
