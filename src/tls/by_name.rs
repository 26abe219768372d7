//! Which certificate for which name: exact, then wildcard, then the first.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, wildcard_of};

/// The certificates of a listener by name. Where two are for the same name, it belongs to the one that stands first.
#[derive(Debug)]
pub(super) struct ByName {
    keys: Vec<Arc<CertifiedKey>>,
    named: HashMap<String, usize>,
}

impl ByName {
    pub(super) fn new(certificates: &[Certificate]) -> Self {
        let mut named = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                named.entry(name.clone()).or_insert(index);
            }
        }
        let keys = certificates.iter();
        Self {
            keys: keys.map(|certificate| Arc::clone(&certificate.key)).collect(),
            named,
        }
    }

    /// The place of the certificate that is there for this name, given in lower case.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let found = self.named.get(name);
        found.or_else(|| self.named.get(&wildcard_of(name)?)).copied()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let index = name.and_then(|name| self.find(&name)).unwrap_or(0);
        self.keys.get(index).cloned()
    }
}
