//! Selects the certificate for a server name (SNI): exact match, then wildcard, then the first. If a name has several with
//! different key types, the client gets one whose signature it can verify.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use smallvec::SmallVec;

use super::certificate::{Certificate, wildcard_of};

/// Indexes of the certificates for a name, at most one for each key type, in order of preference.
type Candidates = SmallVec<[usize; 2]>;

/// The certificates of a listener by name. If two with the same key type have the same name, the first one is used.
#[derive(Debug)]
pub(super) struct ByName {
    keys: Vec<Arc<CertifiedKey>>,
    named: HashMap<String, Candidates>,
    /// For clients that request no name or an unknown one: the first certificate, and those that can replace it.
    default: Candidates,
}

/// A certificate that is not used for one of its names, because an earlier one with the same key type is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The first such name.
    pub name: String,
    /// The file of the certificate that is used.
    pub used: PathBuf,
    /// The index of the unused certificate in the listener, and its file.
    pub hidden: (usize, PathBuf),
    /// The key type of both.
    pub kind: &'static str,
}

impl ByName {
    pub(super) fn new(certificates: &[Certificate]) -> Self {
        let mut named: HashMap<String, Candidates> = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                add(named.entry(name.clone()).or_default(), index, certificates);
            }
        }
        let mut default = Candidates::new();
        if let Some(first) = certificates.first() {
            let is_for_all =
                |certificate: &Certificate| first.names.iter().all(|name| certificate.names.contains(name));
            for (index, certificate) in certificates.iter().enumerate() {
                if index == 0 || !first.names.is_empty() && is_for_all(certificate) {
                    add(&mut default, index, certificates);
                }
            }
        }
        let keys = certificates.iter();
        Self {
            keys: keys.map(|certificate| Arc::clone(&certificate.key)).collect(),
            named,
            default,
        }
    }

    /// Indexes of the certificates for this name, given in lower case. `None` if there is none.
    pub(super) fn find(&self, name: &str) -> Option<&[usize]> {
        let found = self.named.get(name);
        found
            .or_else(|| self.named.get(&wildcard_of(name)?))
            .map(SmallVec::as_slice)
    }

    /// The same, with the default certificates if there is none for the name.
    pub(super) fn find_or_default(&self, name: &str) -> &[usize] {
        self.find(name).unwrap_or(&self.default)
    }

    /// The first whose key supports a signature scheme of the client. If none does, the handshake fails with any of them.
    fn choose(&self, candidates: &[usize], schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let mut keys = candidates.iter().filter_map(|index| self.keys.get(*index));
        match candidates {
            [_] => keys.next(),
            _ => {
                let first = keys.clone().next();
                keys.find(|key| key.key.choose_scheme(schemes).is_some())
                    .or(first)
            }
        }
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let candidates = name.map_or(self.default.as_slice(), |name| self.find_or_default(&name));
        self.choose(candidates, hello.signature_schemes()).cloned()
    }
}

/// The certificates that are hidden by earlier ones, each pair once.
pub(super) fn overlaps(certificates: &[Certificate]) -> Vec<Overlap> {
    let mut found = Vec::new();
    for (index, later) in certificates.iter().enumerate() {
        let earlier = certificates.iter().take(index);
        for first in earlier.filter(|first| algorithm(first) == algorithm(later)) {
            if let Some(name) = later.names.iter().find(|name| first.names.contains(name)) {
                found.push(Overlap {
                    name: name.clone(),
                    used: first.files.cert.clone(),
                    hidden: (index, later.files.cert.clone()),
                    kind: kind(algorithm(later)),
                });
            }
        }
    }
    found
}

/// Adds a certificate to the candidates of a name, unless there is one with the same key type.
fn add(candidates: &mut Candidates, index: usize, certificates: &[Certificate]) {
    let of = |index: &usize| certificates.get(*index).map(algorithm);
    if !candidates.iter().any(|other| of(other) == of(&index)) {
        candidates.push(index);
        candidates.sort_by_key(|index| of(index).map(rank));
    }
}

/// Preference of a key type, lowest first. An ECDSA signature costs a server a tenth of an RSA signature. Few clients
/// support Ed25519.
fn rank(algorithm: SignatureAlgorithm) -> u8 {
    match algorithm {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::ED25519 => 1,
        _ => 2,
    }
}

fn kind(algorithm: SignatureAlgorithm) -> &'static str {
    match algorithm {
        SignatureAlgorithm::ECDSA => "ECDSA",
        SignatureAlgorithm::ED25519 => "Ed25519",
        SignatureAlgorithm::RSA => "RSA",
        _ => "other",
    }
}

fn algorithm(certificate: &Certificate) -> SignatureAlgorithm {
    certificate.key.key.algorithm()
}
