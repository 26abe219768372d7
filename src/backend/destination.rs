//! The address that a connection leads to, and whether the backend's name still resolves to it.

use std::net::SocketAddr;

use super::Backend;

/// The address that one connection leads to. The default is for backends without a name, whose address never changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Destination {
    address: Option<SocketAddr>,
    /// [`Backend::departures`] when the address was last found current.
    departures: u64,
}

impl Destination {
    /// Creates a destination. `departures` must be read before the backend's addresses, so that an address that is removed in
    /// between is noticed.
    pub fn new(address: Option<SocketAddr>, departures: u64) -> Self {
        Self { address, departures }
    }

    /// Whether new requests may use the connection: the backend's name still resolves to its address. Costs one load while no
    /// address has been removed.
    pub fn is_current(&mut self, backend: &Backend) -> bool {
        let departures = backend.departures();
        if self.departures == departures {
            return true;
        }
        let is_current = self.address.is_some_and(|address| backend.leads_to(address));
        if is_current {
            self.departures = departures;
        }
        is_current
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::Address;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn named(first: &[&str]) -> Arc<Backend> {
        let backend = Backend::new(Address::parse("http://a:1").unwrap(), 1, false);
        backend.resolve_to(addresses(first));
        backend
    }

    fn connection(backend: &Backend, to: &str) -> Destination {
        Destination::new(to.parse().ok(), backend.departures())
    }

    #[test]
    fn a_removed_address_is_not_current() {
        let backend = named(&["127.0.0.1:1", "127.0.0.2:1"]);
        let mut stays = connection(&backend, "127.0.0.1:1");
        let mut leaves = connection(&backend, "127.0.0.2:1");
        assert!(stays.is_current(&backend) && leaves.is_current(&backend));
        backend.resolve_to(addresses(&["127.0.0.3:1", "127.0.0.1:1"]));
        assert!(stays.is_current(&backend) && !leaves.is_current(&backend));
    }

    #[test]
    fn an_address_that_is_added_again_is_current_again() {
        let backend = named(&["127.0.0.1:1"]);
        let mut destination = connection(&backend, "127.0.0.1:1");
        backend.resolve_to(addresses(&["127.0.0.2:1"]));
        backend.resolve_to(addresses(&["127.0.0.1:1"]));
        assert!(destination.is_current(&backend));
    }

    #[test]
    fn added_addresses_do_not_count_as_departures() {
        let backend = named(&["127.0.0.1:1"]);
        let before = backend.departures();
        backend.resolve_to(addresses(&["127.0.0.2:1", "127.0.0.1:1"]));
        assert_eq!(backend.departures(), before);
    }

    #[test]
    fn a_backend_without_a_name_is_always_current() {
        let backend = Backend::new(Address::parse("http://127.0.0.1:1").unwrap(), 1, false);
        assert!(Destination::default().is_current(&backend));
    }

    #[test]
    fn a_connection_without_a_known_address_is_not_current_after_a_departure() {
        let backend = named(&["127.0.0.1:1"]);
        let mut unknown = Destination::new(None, backend.departures());
        assert!(unknown.is_current(&backend));
        backend.resolve_to(addresses(&["127.0.0.2:1"]));
        assert!(!unknown.is_current(&backend));
    }
}
