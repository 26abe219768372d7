//! The pools that a request may go to: their backends, and the settings that apply.

use serde::{Serialize, Serializer};

use crate::admission::Adaptive;
use crate::config::Config;
use crate::pool;
use crate::proxy::PoolUse;
use crate::retry::Attempts;
use crate::schema::units;

/// A pool with its settings for this route.
#[derive(Debug, Serialize)]
pub(super) struct PoolShown {
    pub(super) pool: String,
    pub(super) strategy: &'static str,
    pub(super) backends: Vec<BackendShown>,
    /// The sources that may bring more backends.
    pub(super) sources: Vec<String>,
    /// Names of settings, as in the config, and their values.
    #[serde(serialize_with = "as_map")]
    pub(super) settings: Vec<(&'static str, String)>,
}

/// A backend that may get the request.
#[derive(Debug, Serialize)]
pub(super) struct BackendShown {
    pub(super) url: String,
    pub(super) weight: u32,
    pub(super) backup: bool,
}

impl PoolShown {
    pub(super) fn new(pool: &pool::Settings, config: &Config) -> Self {
        let sources = config.sources.iter().filter(|source| source.pool == pool.name);
        let listed = sources.clone().flat_map(|source| &source.backends);
        let mut backends: Vec<&pool::BackendSettings> = pool.backends.iter().collect();
        for backend in listed {
            if !backends.iter().any(|known| known.address == backend.address) {
                backends.push(backend);
            }
        }
        let brings_more = sources.filter(|source| !source.location().is_empty());
        Self {
            pool: pool.name.to_string(),
            strategy: pool.strategy.name(),
            backends: backends.into_iter().map(BackendShown::new).collect(),
            sources: brings_more
                .map(|source| format!("{} {}", source.source.name, source.location()))
                .collect(),
            settings: settings_shown(pool),
        }
    }
}

impl BackendShown {
    fn new(backend: &pool::BackendSettings) -> Self {
        Self {
            url: backend.address.url.clone(),
            weight: backend.weight,
            backup: backend.is_backup,
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
    shown
}

fn as_map<S: Serializer>(settings: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(settings.iter().map(|(key, value)| (key, value)))
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
