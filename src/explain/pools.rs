//! The pools that a request may go to: their backends, and the settings that apply.

use evenkeel_balance::request::Request;

use crate::admin::{Candidate, ExplainedPool, ExplainedRetry, ExplainedSticky};
use crate::admission::Adaptive;
use crate::config::Config;
use crate::pool;
use crate::proxy::{PoolUse, Snapshot};
use crate::retry::Attempts;
use crate::schema::units;

impl ExplainedPool {
    /// A pool with the settings that the route gives it.
    pub(super) fn new(
        settings: &pool::Settings,
        (config, snapshot): (&Config, &Snapshot),
        request: &Request<'_>,
    ) -> Self {
        let sources = config.sources.iter();
        let brings_more =
            sources.filter(|source| source.pool == settings.name && !source.location().is_empty());
        let mut pools = snapshot.pools.iter();
        let pool = pools.find(|pool| pool.settings.name == settings.name);
        let pool = pool.map(|pool| &**pool);
        let backends = pool.map(|pool| Candidate::of_pool(pool, request));
        let backends = backends.unwrap_or_default();
        Self {
            pool: settings.name.to_string(),
            strategy: settings.strategy.name(),
            compares: settings.strategy.entry.score,
            sticky: pool.and_then(|pool| ExplainedSticky::of_pool(pool, request)),
            retries: ExplainedRetry::of_pool(settings, backends.len(), request),
            backends,
            sources: brings_more
                .map(|source| format!("{} {}", source.source.name, source.location()))
                .collect(),
            settings: settings_shown(settings),
        }
    }
}

/// The limits, timeouts and retries of a pool, by their keys in the config.
fn settings_shown(pool: &pool::Settings) -> Vec<(&'static str, String)> {
    let (timeouts, retry) = (&pool.timeouts, &pool.retry);
    let causes: Vec<&str> = retry.causes.names().collect();
    let mut shown = vec![
        ("timeouts.connect", units::show_duration(timeouts.connect)),
        ("timeouts.first_byte", units::show_duration(timeouts.first_byte)),
        ("timeouts.request", units::show_duration(timeouts.request)),
        ("timeouts.progress", units::show_duration(timeouts.progress)),
        ("timeouts.stream_idle", units::show_duration(timeouts.stream_idle)),
        ("timeouts.tunnel_idle", units::show_duration(timeouts.tunnel_idle)),
        (
            "retry.attempts",
            match retry.attempts {
                Attempts::All => "all".to_owned(),
                Attempts::AtMost(attempts) => attempts.to_string(),
            },
        ),
        ("retry.causes", causes.join(", ")),
        ("retry.replay_limit", units::show_size(retry.replay_limit)),
    ];
    if let Some(timeout) = retry.per_try_timeout {
        shown.push(("retry.per_try_timeout", units::show_duration(timeout)));
    }
    if let Some(limit) = pool.in_flight_per_backend {
        shown.push(("limits.in_flight_per_backend", limit.to_string()));
    }
    if pool.adaptive != Adaptive::Off {
        shown.push(("limits.adaptive", pool.adaptive.name().to_owned()));
    }
    match pool.queue {
        Some(queue) => shown.extend([
            ("queue.size", queue.size.to_string()),
            ("queue.timeout", units::show_duration(queue.timeout)),
        ]),
        None => shown.push(("queue", "off".to_owned())),
    }
    shown
}

/// The settings of a pool as a route uses it.
pub(super) fn settings_of<'a>(used: &'a PoolUse, config: &'a Config) -> Option<&'a pool::Settings> {
    let own = used.settings.as_deref();
    own.or_else(|| config.pools.iter().find(|pool| pool.name == used.name))
}

/// The URL of the backend, if there can be only one.
pub(super) fn only_backend<'a>(pools: &[&'a pool::Settings], config: &Config) -> Option<&'a str> {
    let [pool] = pools else { return None };
    let has_source = config
        .sources
        .iter()
        .any(|source| source.pool == pool.name && !source.location().is_empty());
    match &*pool.backends {
        [backend] if !has_source => Some(&backend.address.url),
        _ => None,
    }
}
