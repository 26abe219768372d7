//! Where a connection to a backend leads, and whether the backend's name still leads there.

use std::net::SocketAddr;

use super::Backend;

/// The address that one connection leads to. The default is that of a connection to a backend without a name, whose place is fixed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Destination {
    address: Option<SocketAddr>,
    /// [`Backend::departures`] when the address was found among the backend's last.
    departures: u64,
}

impl Destination {
    /// A connection to this address. `departures` was asked of the backend before its addresses were, so that one that leaves meanwhile
    /// is noticed.
    pub fn new(address: Option<SocketAddr>, departures: u64) -> Self {
        Self { address, departures }
    }

    /// Whether new requests may go there: the address has not left the answer for the backend's name. One load while none has left.
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
    fn only_what_leads_to_an_address_that_left_is_not_current() {
        let backend = named(&["127.0.0.1:1", "127.0.0.2:1"]);
        let mut stays = connection(&backend, "127.0.0.1:1");
        let mut leaves = connection(&backend, "127.0.0.2:1");
        assert!(stays.is_current(&backend) && leaves.is_current(&backend));
        backend.resolve_to(addresses(&["127.0.0.3:1", "127.0.0.1:1"]));
        assert!(stays.is_current(&backend) && !leaves.is_current(&backend));
    }

    #[test]
    fn an_address_that_comes_back_is_current_again() {
        let backend = named(&["127.0.0.1:1"]);
        let mut destination = connection(&backend, "127.0.0.1:1");
        backend.resolve_to(addresses(&["127.0.0.2:1"]));
        backend.resolve_to(addresses(&["127.0.0.1:1"]));
        assert!(destination.is_current(&backend));
    }

    #[test]
    fn more_addresses_are_no_departure() {
        let backend = named(&["127.0.0.1:1"]);
        let before = backend.departures();
        backend.resolve_to(addresses(&["127.0.0.2:1", "127.0.0.1:1"]));
        assert_eq!(backend.departures(), before);
    }

    #[test]
    fn a_backend_without_a_name_stays_where_it_is() {
        let backend = Backend::new(Address::parse("http://127.0.0.1:1").unwrap(), 1, false);
        assert!(Destination::default().is_current(&backend));
    }

    #[test]
    fn one_that_does_not_know_its_address_is_not_current_after_a_departure() {
        let backend = named(&["127.0.0.1:1"]);
        let mut unknown = Destination::new(None, backend.departures());
        assert!(unknown.is_current(&backend));
        backend.resolve_to(addresses(&["127.0.0.2:1"]));
        assert!(!unknown.is_current(&backend));
    }
}
