//! The names of backends that the config lists. Each name is resolved by one task on the control runtime: at start,
//! at every reload, every 30 s, and soon after a connection to one of its backends failed. The last good answer is kept.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::backend::Backend;
use crate::net::{Lookup, resolve};
use crate::rng::{Rng, jittered};
use crate::tasks::Tasks;

/// From one lookup to the next while nothing fails. The system's resolver does not tell how long an answer is good.
const INTERVAL: Duration = Duration::from_secs(30);

/// Lookups of one name are at least this far apart, however many connections fail.
const GAP: Duration = Duration::from_secs(1);

/// How long the first lookup of a name may take until nobody waits for it any more. The system's resolver tries for many times as
/// long where name servers are silent; requests have other backends meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// The names of a config's backends. IP literals and socket files are not among them.
#[derive(Debug, Default)]
pub struct Names {
    followed: HashMap<String, Followed>,
}

/// A name, and the task that resolves it.
#[derive(Debug)]
struct Followed {
    name: Arc<Name>,
    _task: Tasks,
}

impl Names {
    /// Resolves the names of these backends, and no others, one task a name. One that was resolved before goes on to be, and is looked
    /// up anew soon: who reloads may know that it has moved. A backend that is new has its last answer at once.
    pub fn follow<'a>(&mut self, backends: impl IntoIterator<Item = &'a Arc<Backend>>) {
        let mut by_host: HashMap<&str, Vec<Arc<Backend>>> = HashMap::new();
        for backend in backends {
            if backend.address.has_name() {
                let same = by_host.entry(&backend.address.host).or_default();
                same.push(Arc::clone(backend));
            }
        }
        let mut before = std::mem::take(&mut self.followed);
        for (host, backends) in by_host {
            let followed = match before.remove(host) {
                Some(followed) => {
                    followed.name.lookup.request();
                    followed
                }
                None => Followed::start(Name::new(host)),
            };
            followed.name.lead(backends);
            self.followed.insert(host.to_owned(), followed);
        }
    }

    /// For asking for lookups of a backend's name; `None` where there is none.
    pub fn lookup_of(&self, backend: &Backend) -> Option<Arc<Lookup>> {
        let is_name = backend.address.has_name();
        let followed = is_name.then(|| self.followed.get(&backend.address.host))??;
        Some(Arc::clone(&followed.name.lookup))
    }
}

impl Followed {
    fn start(name: Name) -> Self {
        let name = Arc::new(name);
        let mut task = Tasks::default();
        task.spawn(Arc::clone(&name).follow());
        Self { name, _task: task }
    }
}

/// One name.
#[derive(Debug)]
struct Name {
    host: String,
    lookup: Arc<Lookup>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Those that have the name.
    backends: Vec<Arc<Backend>>,
    /// The last good answer; empty until there is one.
    response: Vec<IpAddr>,
    /// Whether the first lookup has ended, or takes too long.
    is_settled: bool,
    /// Whether the last lookup failed: only the change is logged.
    is_failing: bool,
}

impl Name {
    fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            lookup: Arc::default(),
            known: Mutex::default(),
        }
    }

    async fn follow(self: Arc<Self>) {
        let mut rng = Rng::fresh();
        loop {
            self.look_up(resolve(&self.host, 0)).await;
            sleep(GAP).await;
            let rest = jittered(INTERVAL, rng.bits()).saturating_sub(GAP);
            // Either somebody asks or it is time: both lead to the next lookup.
            let _ = timeout(rest, self.lookup.requested()).await;
        }
    }

    /// Waits for an answer and takes it in; others wait for it as long as it comes soon.
    async fn look_up(&self, response: impl Future<Output = io::Result<Vec<SocketAddr>>>) {
        tokio::pin!(response);
        if let Ok(response) = timeout(PATIENCE, &mut response).await {
            self.take(response);
        } else {
            self.settle();
            self.take(response.await);
        }
    }

    /// Leads these backends to where the name leads, and no others.
    fn lead(&self, backends: Vec<Arc<Backend>>) {
        let mut known = self.known();
        known.backends = backends;
        if !known.response.is_empty() {
            self.publish(&known);
        }
        if known.is_settled {
            settle(&known.backends);
        }
    }

    /// Takes in the answer of a lookup; ports in it do not count.
    fn take(&self, response: io::Result<Vec<SocketAddr>>) {
        let mut known = self.known();
        match response {
            Ok(found) => {
                if std::mem::take(&mut known.is_failing) {
                    tracing::info!(name = self.host, "Name resolves again");
                }
                known.response = found.iter().map(SocketAddr::ip).collect();
                self.publish(&known);
            }
            Err(error) => {
                if !std::mem::replace(&mut known.is_failing, true) {
                    tracing::warn!(name = self.host, reason = %error, "Name does not resolve, the last answer is kept");
                }
            }
        }
        drop(known);
        self.settle();
    }

    /// Lets nobody wait any more.
    fn settle(&self) {
        let mut known = self.known();
        if !std::mem::replace(&mut known.is_settled, true) {
            settle(&known.backends);
        }
    }

    /// Gives every backend the addresses, unless it has the same ones already: name servers answer in changing order.
    fn publish(&self, known: &Known) {
        let found = &known.response;
        let is_change = |backend: &&Arc<Backend>| {
            let before = backend.resolved.load();
            before.len() != found.len() || !before.iter().all(|address| found.contains(&address.ip()))
        };
        let mut is_logged = false;
        for backend in known.backends.iter().filter(is_change) {
            let port = backend.address.port;
            let addresses = found
                .iter()
                .map(|address| SocketAddr::new(*address, port))
                .collect();
            let before = backend.resolve_to(addresses);
            if !std::mem::replace(&mut is_logged, true) {
                let before: Vec<_> = before.iter().map(SocketAddr::ip).collect();
                tracing::info!(name = self.host, ?before, after = ?found, "Addresses changed");
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn settle(backends: &[Arc<Backend>]) {
    for backend in backends {
        backend.first_lookup.settle();
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

    fn response(ips: &[&str]) -> io::Result<Vec<SocketAddr>> {
        Ok(ips
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 0))
            .collect())
    }

    fn name(backends: &[Arc<Backend>]) -> Name {
        let name = Name::new("a");
        name.lead(backends.to_vec());
        name
    }

    /// Waits until something is so.
    async fn until(is_so: impl Fn() -> bool) {
        let poll = async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, poll).await.expect("it comes to be so");
    }

    #[tokio::test]
    async fn backends_with_equal_names_share_a_lookup_and_literals_have_none() {
        let backends = [
            backend("http://a:1"),
            backend("http://A:2"),
            backend("http://b:1"),
            backend("http://127.0.0.1:1"),
        ];
        let mut names = Names::default();
        names.follow(&backends);
        let lookups: Vec<_> = backends.iter().map(|backend| names.lookup_of(backend)).collect();
        let [Some(a), Some(also_a), Some(b), None] = &lookups[..] else {
            panic!("{lookups:?}")
        };
        assert!(Arc::ptr_eq(a, also_a) && !Arc::ptr_eq(a, b));
        assert_eq!(names.followed.len(), 2);
    }

    #[tokio::test]
    async fn a_name_that_stays_leads_new_backends_at_once_by_its_last_answer() {
        let old = backend("http://localhost:1");
        let mut names = Names::default();
        names.follow([&old]);
        let lookup = names.lookup_of(&old).unwrap();
        until(|| old.first_lookup.is_settled()).await;
        let new = backend("http://localhost:2");
        names.follow([&old, &new]);
        assert!(new.first_lookup.is_settled() && !new.resolved.load().is_empty());
        let same = names.lookup_of(&new).unwrap();
        assert!(
            Arc::ptr_eq(&lookup, &same),
            "whoever watches the old one asks there"
        );
        names.follow(&[]);
        assert!(names.followed.is_empty());
    }

    #[tokio::test]
    async fn a_name_that_stays_is_looked_up_anew_before_its_time() {
        let one = backend("http://localhost:1");
        let mut names = Names::default();
        names.follow([&one]);
        until(|| one.first_lookup.is_settled()).await;
        one.resolve_to(Vec::new());
        // Without another backend that shares the name nothing publishes the last answer again.
        names
            .followed
            .get("localhost")
            .unwrap()
            .name
            .known()
            .response
            .clear();
        let started = crate::clock::now();
        names.follow([&one]);
        until(|| !one.resolved.load().is_empty()).await;
        assert!(started.elapsed() < INTERVAL / 2);
    }

    #[test]
    fn every_backend_gets_the_addresses_with_its_own_port() {
        let backends = [backend("http://a:1"), backend("http://a:2")];
        name(&backends).take(response(&["::1", "127.0.0.1"]));
        assert_eq!(addresses(&backends[0]), ["[::1]:1", "127.0.0.1:1"]);
        assert_eq!(addresses(&backends[1]), ["[::1]:2", "127.0.0.1:2"]);
    }

    #[test]
    fn the_last_good_answer_is_kept() {
        let backends = [backend("http://a:1")];
        let name = name(&backends);
        name.take(response(&["127.0.0.1"]));
        name.take(Err(io::ErrorKind::NotFound.into()));
        assert_eq!(addresses(&backends[0]), ["127.0.0.1:1"]);
        name.take(response(&["127.0.0.2"]));
        assert_eq!(addresses(&backends[0]), ["127.0.0.2:1"]);
    }

    #[test]
    fn another_order_is_no_change() {
        let backends = [backend("http://a:1")];
        let name = name(&backends);
        name.take(response(&["127.0.0.1", "127.0.0.2"]));
        name.take(response(&["127.0.0.2", "127.0.0.1"]));
        assert_eq!(addresses(&backends[0]), ["127.0.0.1:1", "127.0.0.2:1"]);
    }

    #[tokio::test]
    async fn a_lookup_settles_well_or_not() {
        let name = format!("http://{}.invalid:1", "x".repeat(64));
        let backends = [backend("http://localhost:1"), backend(&name)];
        let mut names = Names::default();
        names.follow(&backends);
        until(|| backends.iter().all(|backend| backend.first_lookup.is_settled())).await;
        assert!(!addresses(&backends[0]).is_empty());
        assert!(addresses(&backends[1]).is_empty());
    }

    #[tokio::test]
    async fn a_lookup_that_does_not_end_is_not_waited_for() {
        let backends = [backend("http://a:1")];
        let name = name(&backends);
        let waiting = async {
            assert!(!backends[0].first_lookup.is_settled());
            backends[0].first_lookup.settled().await;
        };
        tokio::select! {
            biased;
            () = name.look_up(std::future::pending()) => panic!("it never ends"),
            waited = timeout(DEADLINE, waiting) => waited.expect("the end of patience"),
        }
    }

    #[tokio::test]
    async fn a_request_leads_to_another_lookup_before_its_time() {
        let one = backend("http://localhost:1");
        let mut names = Names::default();
        names.follow([&one]);
        let lookup = names.lookup_of(&one).unwrap();
        until(|| one.first_lookup.is_settled()).await;
        one.resolved.store(Vec::new().into());
        let started = crate::clock::now();
        lookup.request();
        until(|| !one.resolved.load().is_empty()).await;
        assert!(started.elapsed() < INTERVAL / 2);
    }
}
