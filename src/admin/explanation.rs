//! The response of `explain`: what would become of a request.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// What would become of a request.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Explanation {
    /// The request, as it is routed.
    pub request: ExplainedRequest,
    /// Whether the listener redirects the request to HTTPS, so that it is not routed.
    pub redirected_to_https: bool,
    /// The chosen route, as it is named in the log; `None` when no route matches: 404.
    pub route: Option<String>,
    /// Every route, in the order of the config.
    pub routes: Vec<RouteOutcome>,
    /// The policies of the route, in the order in which they act.
    pub policies: Vec<ExplainedPolicy>,
    /// What the route does with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<ExplainedAction>,
    /// The request that a backend would receive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<ForwardedRequest>,
    /// The changes of the headers of the response.
    pub response_headers: Vec<HeaderChange>,
    /// The pools that the request may go to.
    pub pools: Vec<ExplainedPool>,
    /// Maximum size of the body of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<String>,
}

/// The request, as it is routed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ExplainedRequest {
    /// The method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host, with the port if the request names one.
    pub host: String,
    /// The path, without the query.
    pub path: String,
    /// The query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The address of the client.
    pub client_ip: String,
    /// The address of the listener.
    pub listener: String,
}

/// What became of one route.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RouteOutcome {
    /// The route, as it is named in the log.
    pub route: String,
    /// `chosen`, or why not: `less_specific`, `host`, `path`, `condition`.
    pub outcome: &'static str,
    /// The outcome in words.
    pub why: String,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ExplainedPolicy {
    /// Its name.
    pub policy: String,
    /// Its kind.
    pub kind: &'static str,
    /// What it would respond; left out if it would let the request pass, or if that depends on more than the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responds: Option<String>,
}

/// What the route does with the request.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExplainedAction {
    /// The request goes to a pool.
    Pool {
        /// Its name.
        pool: String,
    },
    /// The request goes to one of several pools.
    Split {
        /// The pools.
        parts: Vec<SplitPart>,
    },
    /// The client is redirected.
    Redirect {
        /// The status of the response.
        status: u16,
        /// Where to.
        location: String,
    },
    /// The balancer responds itself.
    Respond {
        /// The status of the response.
        status: u16,
        /// The length of its body.
        body_bytes: usize,
    },
}

/// One pool of a split.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SplitPart {
    /// The name of the pool.
    pub pool: String,
    /// Its weight among those of the split.
    pub weight: u64,
}

/// The request to a backend.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ForwardedRequest {
    /// The method.
    pub method: String,
    /// The path, with the query. `None` when the rewritten path is not valid: 500.
    pub target: Option<String>,
    /// The header `Host`.
    pub host: String,
    /// The changes of its headers.
    pub headers: Vec<HeaderChange>,
    /// Where a copy goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<ExplainedMirror>,
}

/// Where copies go.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ExplainedMirror {
    /// The name of the pool.
    pub pool: String,
    /// How many requests of a hundred are copied.
    pub percent: String,
}

/// One change of a header.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HeaderChange {
    /// `set`, `add` or `remove`.
    pub change: &'static str,
    /// The name of the header.
    pub name: String,
    /// The value, in which a variable that is not known yet stays as it is written; left out for `remove`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A pool with its settings for this route.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ExplainedPool {
    /// Its name.
    pub pool: String,
    /// Its strategy.
    pub strategy: &'static str,
    /// What the strategy compares as the score of backends; left out for strategies that compare nothing.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub compares: &'static str,
    /// How the client stays with a backend; left out when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<ExplainedSticky>,
    /// Its backends.
    pub backends: Vec<Candidate>,
    /// What becomes of the request when an attempt fails, by cause.
    pub retries: Vec<ExplainedRetry>,
    /// The sources that may bring more backends.
    pub sources: Vec<String>,
    /// Names of settings, as in the config, and their values.
    #[serde(serialize_with = "as_map")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub settings: Vec<(&'static str, String)>,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Candidate {
    /// Its URL.
    pub url: String,
    /// Its name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// Whether it is a backup.
    pub backup: bool,
    /// Whether the strategy may choose it for the request now.
    pub candidate: bool,
    /// Why it is no candidate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the strategy compares; less is better. Left out for strategies that compare nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Requests in flight.
    pub in_flight: u32,
}

/// How the client stays with a backend.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ExplainedSticky {
    /// `cookie NAME` or `header.NAME`.
    pub by: String,
    /// The backend that the request goes to, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// In words.
    pub why: String,
}

/// What becomes of the request when an attempt fails.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ExplainedRetry {
    /// The cause of the failure.
    pub cause: &'static str,
    /// Whether another attempt follows, once the request was sent.
    pub retried: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

fn as_map<S: Serializer>(settings: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(settings.iter().map(|(key, value)| (key, value)))
}
