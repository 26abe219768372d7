//! The settings of a health check, as the config resolves them.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::health::{BodyMatch, Thresholds};

use super::{NOT_PROBED, Probe};
use crate::net::ProxyVersion;
use crate::tls;

/// `from` to `to`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    /// Lowest status.
    pub from: u16,
    /// Highest status.
    pub to: u16,
}

/// The method of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProbeMethod {
    /// `GET`.
    #[default]
    Get,
    /// `HEAD`: the response has no body.
    Head,
    /// `OPTIONS`.
    Options,
    /// `POST`, with an empty body.
    Post,
}

impl ProbeMethod {
    /// The names of all methods, in the order in which the docs list them.
    pub const NAMES: [&'static str; 4] = ["GET", "HEAD", "OPTIONS", "POST"];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
        }
    }

    /// The method with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        let mut all = [Self::Get, Self::Head, Self::Options, Self::Post].into_iter();
        all.find(|method| method.name() == name)
    }
}

/// The settings of `health_check:`. Settings that the probe does not use (see [`Probe::keys`]) have their default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// How backends are probed; `None`: not at all, they are always eligible.
    pub probe: Option<&'static Probe>,
    /// Path with an optional query, beginning with `/`. `None` requests `/`, and any status below 500 is healthy.
    pub path: Option<String>,
    /// The method of the request.
    pub method: ProbeMethod,
    /// The `Host` of the request; `None`: that of the backend's URL.
    pub host: Option<String>,
    /// Further headers of the request, in the order of the config.
    pub headers: Vec<(String, String)>,
    /// What the body of the response must contain.
    pub body: Option<BodyMatch>,
    /// The port that is probed; `None`: that of the backend.
    pub port: Option<u16>,
    /// Statuses that count as healthy; `None`: 200 to 399 with a path, 100 to 499 without.
    pub status: Option<Vec<StatusRange>>,
    /// The gRPC service; empty for the server as a whole.
    pub service: String,
    /// Time between two probes while the state does not change.
    pub interval: Duration,
    /// The longest time between two probes of a backend that is down.
    pub down_interval: Duration,
    /// Timeout of one probe, including the connect.
    pub timeout: Duration,
    /// Number of successes in a row after which a backend that is down is up.
    pub healthy_after: u32,
    /// Number of failures in a row after which a backend that is up is down.
    pub unhealthy_after: u32,
    /// Whether all backends of a pool are used when every one is down.
    pub fail_open: bool,
    /// The TLS settings for `https` backends, the same as for requests.
    pub tls: Option<Arc<tls::Client>>,
    /// Whether connections begin with a PROXY header, the same as for requests.
    pub send_proxy: Option<ProxyVersion>,
}

impl Check {
    /// Its kind in the config: the name of the probe, or [`NOT_PROBED`].
    pub fn kind(&self) -> &'static str {
        self.probe.map_or(NOT_PROBED, |probe| probe.name)
    }

    /// What the state machine needs of it.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            interval: self.interval,
            down_interval: self.down_interval,
            healthy_after: self.healthy_after,
            unhealthy_after: self.unhealthy_after,
        }
    }

    /// Whether its probe uses this key.
    pub fn uses(&self, key: &str) -> bool {
        self.probe.is_some_and(|probe| probe.uses(key))
    }
}
