//! The config: the only module that knows YAML. What was written becomes what is meant, or a list of errors.

use ipnet::IpNet;

use crate::{admin, listener, pool, proxy, router, telemetry::access_log};

/// How many worker threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One a core that this process may use.
    Auto,
    /// Exactly so many, 1 to 1024.
    Count(usize),
}

/// What a config means, all defaults filled in.
#[derive(Clone)]
pub struct Config {
    /// At least one.
    pub listeners: Vec<listener::Settings>,
    /// Worker threads.
    pub workers: Workers,
    /// The admin API; `None` is off.
    pub admin: Option<admin::Settings>,
    /// The access log.
    pub access_log: access_log::Settings,
    /// Whose forwarding fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Process-wide timeouts.
    pub timeouts: proxy::ClientTimeouts,
    /// Process-wide limits.
    pub limits: proxy::Limits,
    /// At least one, in the order of the file.
    pub pools: Vec<pool::Settings>,
    /// At least one.
    pub routes: Vec<router::Route>,
}
