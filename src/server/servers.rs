//! The servers that policies ask, each as a pool with one backend: its name is looked up as those of backends are, and workers keep
//! connections to it. Policies that ask the same server share it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::policy::{AskedServer, BuildError};

use crate::admission::Adaptive;
use crate::backend::{Address, Scheme};
use crate::health;
use crate::kept::KeptBuilder;
use crate::pool::{self, BackendSettings, ForwardedHeaders, HeaderCase, Pool, Timeouts};
use crate::schema::Params;
use crate::tls::{Client, ClientSettings, SystemAuthorities};
use crate::{retry, strategy};

/// How long an idle connection is kept, unless the server says that it keeps it for less.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// For everything else: each policy has its own, shorter timeout.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The servers of one config.
pub(super) struct Servers {
    /// By scheme, host and port, and the file with its CAs.
    pools: BTreeMap<String, Arc<Pool>>,
    authorities: SystemAuthorities,
    workers: usize,
}

impl Servers {
    /// Without any server, for this number of workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            pools: BTreeMap::new(),
            authorities: SystemAuthorities::default(),
            workers,
        }
    }

    /// The server of this URL. It has no backend before its pool is updated with its settings.
    pub(super) fn get(
        &mut self,
        asked: AskedServer<'_>,
        keep: &mut KeptBuilder,
    ) -> Result<Arc<Pool>, BuildError> {
        let AskedServer { url, ca } = asked;
        let invalid = |error: &dyn std::fmt::Display| BuildError::of("url", format!("{url}: {error}"));
        let origin = origin(url);
        let address = Address::parse(origin).map_err(|error| invalid(&error))?;
        // A pool of the config cannot have a name with a space.
        let name = match ca {
            None => format!("server {origin}"),
            Some(ca) => format!("server {origin} {ca}"),
        };
        if let Some(pool) = self.pools.get(&name) {
            return Ok(Arc::clone(pool));
        }
        let tls = match address.scheme {
            Scheme::Https => {
                let settings = ClientSettings {
                    ca: ca.map(PathBuf::from),
                    ..ClientSettings::default()
                };
                let client = Client::load(settings, &self.authorities);
                Some(Arc::new(client.map_err(|error| invalid(&error))?))
            }
            Scheme::Http | Scheme::H2c => None,
        };
        let settings = settings(&name, address, tls, self.workers);
        let settings = settings.ok_or_else(|| invalid(&"there is no strategy"))?;
        let pool = Pool::new(settings, keep);
        self.pools.insert(name, Arc::clone(&pool));
        Ok(pool)
    }

    /// All of them.
    pub(super) fn into_pools(self) -> Vec<Arc<Pool>> {
        self.pools.into_values().collect()
    }
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let begin = url.find("://").map_or(0, |at| at + "://".len());
    let rest = url.get(begin..).unwrap_or_default();
    let length = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    url.get(..begin + length).unwrap_or(url)
}

/// The settings of the pool of a server, which is not probed.
fn settings(
    name: &str,
    address: Address,
    tls: Option<Arc<Client>>,
    workers: usize,
) -> Option<pool::Settings> {
    let strategy = strategy::Settings {
        entry: strategy::STRATEGIES.first()?,
        params: Params::default(),
    };
    let health_check = health::Check {
        probe: None,
        path: None,
        status: None,
        method: health::ProbeMethod::Get,
        host: None,
        headers: Vec::new(),
        body: None,
        port: None,
        fail_open: false,
        service: String::new(),
        interval: TIMEOUT,
        down_interval: TIMEOUT,
        timeout: TIMEOUT,
        healthy_after: 1,
        unhealthy_after: 1,
        tls: None,
        send_proxy: None,
    };
    Some(pool::Settings {
        name: name.into(),
        strategy,
        health_check,
        ejection: None,
        slow_start: None,
        retry: retry::Policy::default(),
        timeouts: Timeouts {
            connect: TIMEOUT,
            first_byte: TIMEOUT,
            request: TIMEOUT,
            progress: TIMEOUT,
            stream_idle: TIMEOUT,
            tunnel_idle: TIMEOUT,
            backend_idle: IDLE_TIMEOUT,
        },
        workers,
        in_flight_per_backend: None,
        adaptive: Adaptive::Off,
        queue: None,
        tls,
        send_proxy: None,
        header_case: HeaderCase::default(),
        forwarded: ForwardedHeaders::default(),
        sticky: None,
        backends: vec![BackendSettings {
            address,
            weight: 1,
            is_backup: false,
            name: None,
            is_drained: false,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::Kept;

    #[test]
    fn urls_of_one_server_share_it() {
        let mut servers = Servers::new(1);
        let mut keep = Kept::default().next();
        let mut get = |url| servers.get(AskedServer { url, ca: None }, &mut keep).unwrap();
        let first = get("http://auth:9000/check?x");
        assert!(Arc::ptr_eq(&first, &get("http://auth:9000")));
        assert!(!Arc::ptr_eq(&first, &get("http://auth:9001/check")));
        assert_eq!(first.settings.backends[0].address.authority(), "auth:9000");
        assert_eq!(servers.into_pools().len(), 2);
    }

    #[test]
    fn a_url_without_a_valid_host_is_an_error() {
        let asked = AskedServer {
            url: "http://a,b/",
            ca: None,
        };
        let error = Servers::new(1).get(asked, &mut Kept::default().next());
        let error = error.unwrap_err();
        assert_eq!(error.key, Some("url"));
        assert!(error.message.starts_with("http://a,b/: "), "{error}");
    }
}
