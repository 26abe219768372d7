//! Resolves the names of backends. One task per name runs on the control runtime and looks the name
//! up at start, at every reload, every 30 s, and soon after a connection to one of its backends failed. When a lookup fails, the
//! last known addresses are kept.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::ages::{Aged, Ages};
use crate::backend::Backend;
use crate::clock::{self, Instant};
use crate::net::{Lookup, resolve};
use crate::rng::{Rng, jittered};
use crate::tasks::Tasks;
use crate::telemetry::metrics::SourceSample;

/// Time between two lookups while no connection fails. The system's resolver does not return the TTL of a record.
const INTERVAL: Duration = Duration::from_secs(30);

/// Minimum time between two lookups of one name, however many connections fail.
const GAP: Duration = Duration::from_secs(1);

/// How long requests and probes wait for the first lookup of a name. If name servers do not respond, the system's resolver takes
/// many times as long; requests use other backends meanwhile.
const FIRST_LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// The names of a config's backends, without IP literals and Unix sockets.
#[derive(Debug, Default)]
pub struct Names {
    by_host: HashMap<String, NameTask>,
    /// Lists the names.
    ages: Ages,
}

/// A name, and the task that resolves it.
#[derive(Debug)]
struct NameTask {
    name: Arc<Name>,
    _task: Tasks,
}

impl Names {
    /// No names yet. `ages` lists those that come.
    pub fn new(ages: Ages) -> Self {
        Self {
            by_host: HashMap::new(),
            ages,
        }
    }

    /// Requests lookups of all names, because the operator may reload after an address has changed.
    pub fn look_up_again(&self) {
        for task in self.by_host.values() {
            task.name.lookup.request();
        }
    }

    /// Resolves the names of these backends, and stops resolving all others. A name that was resolved before keeps its task. A new
    /// backend with such a name gets its last known addresses at once.
    pub fn follow<'a>(&mut self, backends: impl IntoIterator<Item = &'a Arc<Backend>>) {
        let mut backends_by_host: HashMap<&str, Vec<Arc<Backend>>> = HashMap::new();
        for backend in backends {
            if backend.address.has_name() {
                let same = backends_by_host.entry(&backend.address.host).or_default();
                same.push(Arc::clone(backend));
            }
        }
        let mut before = std::mem::take(&mut self.by_host);
        for (host, backends) in backends_by_host {
            let task = before
                .remove(host)
                .unwrap_or_else(|| NameTask::start(Name::new(host), &self.ages));
            task.name.set_backends(backends);
            self.by_host.insert(host.to_owned(), task);
        }
    }

    /// Requests lookups of a backend's name; `None` for a backend without one.
    pub fn lookup_of(&self, backend: &Backend) -> Option<Arc<Lookup>> {
        let is_name = backend.address.has_name();
        let task = is_name.then(|| self.by_host.get(&backend.address.host))??;
        Some(Arc::clone(&task.name.lookup))
    }
}

impl NameTask {
    fn start(name: Name, ages: &Ages) -> Self {
        let name = Arc::new(name);
        let aged: Weak<Name> = Arc::downgrade(&name);
        ages.add(aged);
        let mut task = Tasks::default();
        task.spawn(Arc::clone(&name).run());
        Self { name, _task: task }
    }
}

/// One name.
#[derive(Debug)]
struct Name {
    host: String,
    lookup: Arc<Lookup>,
    state: Mutex<NameState>,
}

#[derive(Debug)]
struct NameState {
    /// The backends with this name.
    backends: Vec<Arc<Backend>>,
    /// When a lookup last succeeded, or when the name was new.
    last_good: Instant,
    /// The last known addresses; empty until a lookup succeeds.
    addresses: Vec<IpAddr>,
    /// Whether the first lookup has ended or timed out.
    is_settled: bool,
    /// Whether the last lookup failed. Only changes of this are logged.
    is_failing: bool,
}

impl Name {
    fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            lookup: Arc::default(),
            state: Mutex::new(NameState {
                backends: Vec::new(),
                last_good: clock::now(),
                addresses: Vec::new(),
                is_settled: false,
                is_failing: false,
            }),
        }
    }

    async fn run(self: Arc<Self>) {
        let mut rng = Rng::fresh();
        loop {
            self.look_up(resolve(&self.host, 0)).await;
            sleep(GAP).await;
            let rest = jittered(INTERVAL, rng.bits()).saturating_sub(GAP);
            // The next lookup follows a request or the end of the interval.
            let _ = timeout(rest, self.lookup.requested()).await;
        }
    }

    /// Waits for a lookup and records its result. The name is settled when the lookup ends or takes too long.
    async fn look_up(&self, lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>) {
        tokio::pin!(lookup);
        if let Ok(found) = timeout(FIRST_LOOKUP_TIMEOUT, &mut lookup).await {
            self.record(found);
        } else {
            self.settle();
            self.record(lookup.await);
        }
    }

    /// Replaces the backends that get the addresses of this name.
    fn set_backends(&self, backends: Vec<Arc<Backend>>) {
        let mut state = self.state();
        state.backends = backends;
        if !state.addresses.is_empty() {
            self.publish(&state);
        }
        if state.is_settled {
            settle(&state.backends);
        }
    }

    /// Records the result of a lookup. Its ports are ignored.
    fn record(&self, result: io::Result<Vec<SocketAddr>>) {
        let mut state = self.state();
        match result {
            Ok(found) => {
                if std::mem::take(&mut state.is_failing) {
                    tracing::info!(name = self.host, "DNS lookup succeeded again");
                }
                state.last_good = clock::now();
                state.addresses = found.iter().map(SocketAddr::ip).collect();
                self.publish(&state);
            }
            Err(error) => {
                if !std::mem::replace(&mut state.is_failing, true) {
                    tracing::warn!(name = self.host, %error, "DNS lookup failed; keeping the last known addresses");
                }
            }
        }
        drop(state);
        self.settle();
    }

    /// Ends the waiting for the first lookup.
    fn settle(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_settled, true) {
            settle(&state.backends);
        }
    }

    /// Updates the backends whose addresses differ. The order does not count, because name servers change it with every response.
    fn publish(&self, state: &NameState) {
        let found = &state.addresses;
        let is_change = |backend: &&Arc<Backend>| {
            let before = backend.resolved.load();
            before.len() != found.len() || !before.iter().all(|address| found.contains(&address.ip()))
        };
        let mut is_logged = false;
        for backend in state.backends.iter().filter(is_change) {
            let port = backend.address.port;
            let addresses = found
                .iter()
                .map(|address| SocketAddr::new(*address, port))
                .collect();
            let before = backend.resolve_to(addresses);
            if !std::mem::replace(&mut is_logged, true) {
                let before: Vec<_> = before.iter().map(SocketAddr::ip).collect();
                tracing::info!(name = self.host, ?before, after = ?found, "Backend addresses changed");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, NameState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aged for Name {
    fn age(&self, now: Instant) -> SourceSample {
        SourceSample {
            pool: String::new(),
            source: "dns",
            location: self.host.clone(),
            age: now.saturating_duration_since(self.state().last_good),
        }
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

    fn found(ips: &[&str]) -> io::Result<Vec<SocketAddr>> {
        Ok(ips
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 0))
            .collect())
    }

    fn name(backends: &[Arc<Backend>]) -> Name {
        let name = Name::new("a");
        name.set_backends(backends.to_vec());
        name
    }

    /// Waits until the condition holds.
    async fn until(is_met: impl Fn() -> bool) {
        let poll = async {
            while !is_met() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, poll)
            .await
            .expect("the condition is met in time");
    }

    #[tokio::test]
    async fn backends_with_equal_names_share_a_lookup_and_ip_literals_have_none() {
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
        assert_eq!(names.by_host.len(), 2);
    }

    #[tokio::test]
    async fn a_new_backend_with_a_known_name_gets_its_addresses_at_once() {
        let old = backend("http://localhost:1");
        let mut names = Names::default();
        names.follow([&old]);
        let lookup = names.lookup_of(&old).unwrap();
        until(|| old.first_lookup.is_settled()).await;
        let new = backend("http://localhost:2");
        names.follow([&old, &new]);
        assert!(new.first_lookup.is_settled() && !new.resolved.load().is_empty());
        let same = names.lookup_of(&new).unwrap();
        assert!(Arc::ptr_eq(&lookup, &same), "the task of the name is kept");
        names.follow(&[]);
        assert!(names.by_host.is_empty());
    }

    #[tokio::test]
    async fn names_are_looked_up_again_before_the_interval_ends() {
        let one = backend("http://localhost:1");
        let mut names = Names::default();
        names.follow([&one]);
        until(|| one.first_lookup.is_settled()).await;
        one.resolve_to(Vec::new());
        // Clears the known addresses, so that only a lookup can publish some.
        names
            .by_host
            .get("localhost")
            .unwrap()
            .name
            .state()
            .addresses
            .clear();
        let started = crate::clock::now();
        names.look_up_again();
        names.follow([&one]);
        until(|| !one.resolved.load().is_empty()).await;
        assert!(crate::clock::now() - started < INTERVAL / 2);
    }

    #[test]
    fn every_backend_gets_the_addresses_with_its_own_port() {
        let backends = [backend("http://a:1"), backend("http://a:2")];
        name(&backends).record(found(&["::1", "127.0.0.1"]));
        assert_eq!(addresses(&backends[0]), ["[::1]:1", "127.0.0.1:1"]);
        assert_eq!(addresses(&backends[1]), ["[::1]:2", "127.0.0.1:2"]);
    }

    #[test]
    fn a_failed_lookup_keeps_the_last_known_addresses() {
        let backends = [backend("http://a:1")];
        let name = name(&backends);
        name.record(found(&["127.0.0.1"]));
        name.record(Err(io::ErrorKind::NotFound.into()));
        assert_eq!(addresses(&backends[0]), ["127.0.0.1:1"]);
        name.record(found(&["127.0.0.2"]));
        assert_eq!(addresses(&backends[0]), ["127.0.0.2:1"]);
    }

    #[test]
    fn another_order_is_not_a_change() {
        let backends = [backend("http://a:1")];
        let name = name(&backends);
        name.record(found(&["127.0.0.1", "127.0.0.2"]));
        name.record(found(&["127.0.0.2", "127.0.0.1"]));
        assert_eq!(addresses(&backends[0]), ["127.0.0.1:1", "127.0.0.2:1"]);
    }

    #[tokio::test]
    async fn a_lookup_settles_whether_it_succeeds_or_fails() {
        let name = format!("http://{}.invalid:1", "x".repeat(64));
        let backends = [backend("http://localhost:1"), backend(&name)];
        let mut names = Names::default();
        names.follow(&backends);
        until(|| backends.iter().all(|backend| backend.first_lookup.is_settled())).await;
        assert!(!addresses(&backends[0]).is_empty());
        assert!(addresses(&backends[1]).is_empty());
    }

    #[tokio::test]
    async fn a_lookup_that_takes_too_long_settles() {
        let backends = [backend("http://a:1")];
        let name = name(&backends);
        let waiting = async {
            assert!(!backends[0].first_lookup.is_settled());
            backends[0].first_lookup.settled().await;
        };
        tokio::select! {
            biased;
            () = name.look_up(std::future::pending()) => panic!("it never ends"),
            waited = timeout(DEADLINE, waiting) => waited.expect("the lookup settles"),
        }
    }

    #[tokio::test]
    async fn a_request_triggers_a_lookup_before_the_interval_ends() {
        let one = backend("http://localhost:1");
        let mut names = Names::default();
        names.follow([&one]);
        let lookup = names.lookup_of(&one).unwrap();
        until(|| one.first_lookup.is_settled()).await;
        one.resolved.store(Vec::new().into());
        let started = crate::clock::now();
        lookup.request();
        until(|| !one.resolved.load().is_empty()).await;
        assert!(crate::clock::now() - started < INTERVAL / 2);
    }
}
