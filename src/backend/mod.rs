//! A backend: its id, address, weight and counters. Shared by all workers through atomics.

mod address;
mod destination;
mod first_lookup;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;

pub use address::{Address, AddressError, AddressKey, Scheme};
pub use destination::Destination;
pub use evenkeel_balance::backend::{BackendId, Load, Padded, Shared};
pub use evenkeel_balance::per_worker::PerWorker;
use evenkeel_balance::retry::ReuseWindow;
pub use first_lookup::FirstLookup;

/// One backend. Lives as long as a pool or a request needs it; a reload that keeps the backend keeps this value.
#[derive(Debug)]
pub struct Backend {
    /// Its id in this process.
    pub id: BackendId,
    /// Its parsed URL.
    pub address: Address,
    /// Its share of the requests relative to the others, 0 to 256; 0 receives none.
    pub weight: AtomicU32,
    /// Whether it is used only when no other backend is eligible.
    pub is_backup: AtomicBool,
    /// The addresses that its name resolves to; empty until the first lookup succeeds. Written by the control plane only,
    /// through [`Self::resolve_to`].
    pub resolved: ArcSwap<Vec<SocketAddr>>,
    /// Number of updates that removed an address from `resolved`.
    departures: AtomicU64,
    /// The first lookup of its name, which connections wait for.
    pub first_lookup: FirstLookup,
    /// Its id, its requests in flight and its counters.
    pub load: Arc<Load>,
    /// For how long its idle connections stay open, as far as that was seen.
    pub reuse: ReuseWindow,
    /// New connections, of requests and probes, on which it has not responded yet.
    unanswered: AtomicU32,
}

impl Backend {
    /// Creates a backend. An IP literal is resolved at once; a name has no address yet.
    pub fn new(address: Address, weight: u32, is_backup: bool) -> Arc<Self> {
        Self::with_load(address, weight, is_backup, Load::default())
    }

    /// The same, with a load for the workers of the process.
    pub fn with_load(address: Address, weight: u32, is_backup: bool, load: Load) -> Arc<Self> {
        let resolved = address.socket().into_iter().collect::<Vec<_>>();
        let first_lookup = FirstLookup::default();
        if !address.has_name() {
            first_lookup.settle();
        }
        Arc::new(Self {
            id: load.id,
            first_lookup,
            address,
            weight: AtomicU32::new(weight),
            is_backup: AtomicBool::new(is_backup),
            resolved: ArcSwap::from_pointee(resolved),
            departures: AtomicU64::new(0),
            load: Arc::new(load),
            reuse: ReuseWindow::default(),
            unanswered: AtomicU32::new(0),
        })
    }

    /// Replaces the addresses that its name resolves to, and returns the previous ones. Connections to removed addresses carry
    /// no new requests. Control plane only.
    pub fn resolve_to(&self, addresses: Vec<SocketAddr>) -> Arc<Vec<SocketAddr>> {
        let addresses = Arc::new(addresses);
        let before = self.resolved.swap(Arc::clone(&addresses));
        if before.iter().any(|address| !addresses.contains(address)) {
            // After the addresses are stored: a worker that reads the new count sees them too.
            self.departures.fetch_add(1, Ordering::Release);
        }
        before
    }

    /// Number of updates that removed an address of its name.
    pub fn departures(&self) -> u64 {
        self.departures.load(Ordering::Acquire)
    }

    /// Whether its name resolves to this address now.
    pub fn leads_to(&self, address: SocketAddr) -> bool {
        let resolved = self.resolved.load();
        // Ignores the zone of a link-local address, which resolvers do not return.
        let is_same = |one: &SocketAddr| one.ip() == address.ip() && one.port() == address.port();
        resolved.iter().any(is_same)
    }

    /// Counts a new connection as unanswered until the returned guard is dropped.
    pub fn wait_on_new(&self) -> Unanswered<'_> {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        Unanswered(self)
    }

    /// Whether a new connection waits for its first response. A backend that serves one connection at a time does not respond
    /// on it while another is open.
    pub fn has_unanswered(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) > 0
    }
}

/// A new connection that waits for its first response.
#[derive(Debug)]
pub struct Unanswered<'a>(&'a Backend);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_connections_are_unanswered_until_dropped() {
        let backend = Backend::new(Address::parse("http://127.0.0.1:81").unwrap(), 1, false);
        let (one, other) = (backend.wait_on_new(), backend.wait_on_new());
        drop(one);
        assert!(backend.has_unanswered());
        drop(other);
        assert!(!backend.has_unanswered());
    }

    #[test]
    fn an_ip_literal_is_resolved_at_once_and_a_name_is_not() {
        let resolved = |url| {
            let backend = Backend::new(Address::parse(url).unwrap(), 1, false);
            assert_eq!(backend.first_lookup.is_settled(), !backend.address.has_name());
            backend.resolved.load_full().to_vec()
        };
        assert_eq!(resolved("http://127.0.0.1:81"), ["127.0.0.1:81".parse().unwrap()]);
        assert_eq!(resolved("http://[::1]:81"), ["[::1]:81".parse().unwrap()]);
        assert_eq!(resolved("http://localhost:81"), []);
    }
}
