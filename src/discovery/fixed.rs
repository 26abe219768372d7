//! The names of backends that the config lists. Each name is resolved by one task on the control runtime: at start,
//! every 30 s, and soon after a connection to one of its backends failed. The last good answer is kept.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::backend::{Backend, BackendId};
use crate::chance::{Chance, jittered};
use crate::net::{Lookup, resolve};
use crate::tasks::Tasks;

/// From one lookup to the next while nothing fails. The system's resolver does not tell how long an answer is good.
const INTERVAL: Duration = Duration::from_secs(30);

/// Lookups of one name are at least this far apart, however many connections fail.
const GAP: Duration = Duration::from_secs(1);

/// The names of a config's backends. IP literals and socket files are not among them.
#[derive(Debug, Default)]
pub struct Names {
    names: Vec<Name>,
    /// Index of the name of each backend that has one.
    by_backend: HashMap<BackendId, usize>,
}

impl Names {
    /// Collects the names; backends with equal ones share it.
    pub fn of<'a>(backends: impl IntoIterator<Item = &'a Arc<Backend>>) -> Self {
        let mut names = Self::default();
        let mut by_host: HashMap<&str, usize> = HashMap::new();
        for backend in backends {
            if !backend.address.has_name() {
                continue;
            }
            let host = backend.address.host.as_str();
            let index = *by_host.entry(host).or_insert_with(|| {
                names.names.push(Name::new(host));
                names.names.len() - 1
            });
            if let Some(name) = names.names.get_mut(index) {
                name.backends.push(Arc::clone(backend));
                names.by_backend.insert(backend.id, index);
            }
        }
        names
    }

    /// For asking for lookups of a backend's name, and for waiting for the first; `None` where there is none.
    pub fn lookup_of(&self, backend: &Backend) -> Option<Arc<Lookup>> {
        let name = self.names.get(*self.by_backend.get(&backend.id)?)?;
        Some(Arc::clone(&name.lookup))
    }

    /// Starts one task a name, which resolves it until the task is aborted. Lookups are handed out before.
    pub fn follow(self, tasks: &mut Tasks) {
        for name in self.names {
            tasks.spawn(name.follow());
        }
    }
}

/// One name and the backends that have it.
#[derive(Debug)]
struct Name {
    host: String,
    backends: Vec<Arc<Backend>>,
    lookup: Arc<Lookup>,
    /// Whether the last lookup failed: only the change is logged.
    is_failing: bool,
}

impl Name {
    fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            backends: Vec::new(),
            lookup: Arc::default(),
            is_failing: false,
        }
    }

    async fn follow(mut self) {
        let mut chance = Chance::fresh();
        loop {
            let answer = resolve(&self.host, 0).await;
            self.take(answer);
            sleep(GAP).await;
            let rest = jittered(INTERVAL, chance.bits()).saturating_sub(GAP);
            // Either somebody asks or it is time: both lead to the next lookup.
            let _ = timeout(rest, self.lookup.requested()).await;
        }
    }

    /// Takes in the answer of a lookup; ports in it do not count.
    fn take(&mut self, answer: io::Result<Vec<SocketAddr>>) {
        match answer {
            Ok(found) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(name = self.host, "Name resolves again");
                }
                let found: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
                self.publish(&found);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(name = self.host, reason = %error, "Name does not resolve, the last answer is kept");
                }
            }
        }
        self.lookup.settle();
    }

    /// Gives every backend the addresses, unless it has the same ones already: name servers answer in changing order.
    fn publish(&self, found: &[IpAddr]) {
        let is_change = |backend: &&Arc<Backend>| {
            let before = backend.resolved.load();
            before.len() != found.len() || !before.iter().all(|address| found.contains(&address.ip()))
        };
        let mut is_logged = false;
        for backend in self.backends.iter().filter(is_change) {
            let port = backend.address.port;
            let addresses = found
                .iter()
                .map(|address| SocketAddr::new(*address, port))
                .collect();
            let before = backend.resolved.swap(Arc::new(addresses));
            if !std::mem::replace(&mut is_logged, true) {
                let before: Vec<_> = before.iter().map(SocketAddr::ip).collect();
                tracing::info!(name = self.host, ?before, after = ?found, "Addresses changed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Address;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn backend(url: &str) -> Arc<Backend> {
        Backend::new(Address::parse(url).unwrap(), 1, false)
    }

    fn addresses(backend: &Backend) -> Vec<String> {
        backend.resolved.load().iter().map(ToString::to_string).collect()
    }

    fn answer(ips: &[&str]) -> io::Result<Vec<SocketAddr>> {
        Ok(ips
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 0))
            .collect())
    }

    #[test]
    fn backends_with_equal_names_share_a_lookup_and_literals_have_none() {
        let backends = [
            backend("http://a:1"),
            backend("http://A:2"),
            backend("http://b:1"),
            backend("http://127.0.0.1:1"),
        ];
        let names = Names::of(&backends);
        let lookups: Vec<_> = backends.iter().map(|backend| names.lookup_of(backend)).collect();
        let [Some(a), Some(also_a), Some(b), None] = &lookups[..] else {
            panic!("{lookups:?}")
        };
        assert!(Arc::ptr_eq(a, also_a) && !Arc::ptr_eq(a, b));
        assert_eq!(names.names.len(), 2);
    }

    #[test]
    fn every_backend_gets_the_addresses_with_its_own_port() {
        let backends = [backend("http://a:1"), backend("http://a:2")];
        let mut names = Names::of(&backends);
        names.names[0].take(answer(&["::1", "127.0.0.1"]));
        assert_eq!(addresses(&backends[0]), ["[::1]:1", "127.0.0.1:1"]);
        assert_eq!(addresses(&backends[1]), ["[::1]:2", "127.0.0.1:2"]);
    }

    #[test]
    fn the_last_good_answer_is_kept() {
        let one = backend("http://a:1");
        let mut names = Names::of([&one]);
        names.names[0].take(answer(&["127.0.0.1"]));
        names.names[0].take(Err(io::ErrorKind::NotFound.into()));
        assert_eq!(addresses(&one), ["127.0.0.1:1"]);
        names.names[0].take(answer(&["127.0.0.2"]));
        assert_eq!(addresses(&one), ["127.0.0.2:1"]);
    }

    #[test]
    fn another_order_is_no_change() {
        let one = backend("http://a:1");
        let mut names = Names::of([&one]);
        names.names[0].take(answer(&["127.0.0.1", "127.0.0.2"]));
        names.names[0].take(answer(&["127.0.0.2", "127.0.0.1"]));
        assert_eq!(addresses(&one), ["127.0.0.1:1", "127.0.0.2:1"]);
    }

    #[tokio::test]
    async fn a_lookup_settles_well_or_not() {
        let name = format!("http://{}.invalid:1", "x".repeat(64));
        let backends = [backend("http://localhost:1"), backend(&name)];
        let names = Names::of(&backends);
        let lookups = backends
            .each_ref()
            .map(|backend| names.lookup_of(backend).unwrap());
        let mut tasks = Tasks::default();
        names.follow(&mut tasks);
        for lookup in lookups {
            tokio::time::timeout(DEADLINE, lookup.settled())
                .await
                .expect("the end of a lookup");
        }
        assert!(!addresses(&backends[0]).is_empty());
        assert!(addresses(&backends[1]).is_empty());
        assert_eq!(tasks.running(), 2);
    }

    #[tokio::test]
    async fn a_request_leads_to_another_lookup_before_its_time() {
        let one = backend("http://localhost:1");
        let names = Names::of([&one]);
        let lookup = names.lookup_of(&one).unwrap();
        let mut tasks = Tasks::default();
        names.follow(&mut tasks);
        tokio::time::timeout(DEADLINE, lookup.settled())
            .await
            .expect("the end of a lookup");
        one.resolved.store(Vec::new().into());
        let started = crate::clock::now();
        lookup.request();
        let again = async {
            while one.resolved.load().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, again)
            .await
            .expect("another lookup");
        assert!(started.elapsed() < INTERVAL / 2);
    }
}
