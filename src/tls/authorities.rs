//! Loads trusted certificate authorities (CAs): from a file, or the CAs that this machine trusts.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::certificate::{self, CertificateError};

/// A set of trusted CA certificates. Equal when the certificates are, wherever they were read from.
#[derive(Debug, Clone)]
pub(super) struct Authorities {
    /// The certificates as read, in DER.
    pub(super) certificates: Arc<Vec<CertificateDer<'static>>>,
    /// The same certificates, parsed for verification.
    pub(super) store: Arc<RootCertStore>,
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl Authorities {
    /// Reads a CA file. Every certificate in it has to be usable.
    pub(super) fn load(path: &Path) -> Result<Self, CertificateError> {
        let certificates = certificate::certificates(path)?;
        let mut store = RootCertStore::empty();
        for authority in &certificates {
            store
                .add(authority.clone())
                .map_err(|error| certificate::unusable(path, &error))?;
        }
        Ok(Self {
            certificates: Arc::new(certificates),
            store: Arc::new(store),
        })
    }
}

/// The CAs that this machine trusts. They are read at most once, when the first pool needs them: they are a few hundred
/// files on some machines, and a config may have a thousand pools.
#[derive(Debug, Default)]
pub struct SystemAuthorities(OnceCell<Authorities>);

impl SystemAuthorities {
    pub(super) fn load(&self) -> Result<Authorities, CertificateError> {
        let read = || {
            let certificates = rustls_native_certs::load_native_certs().certs;
            let mut store = RootCertStore::empty();
            // Some of a machine's CA certificates are too old to be parsed; they are skipped.
            store.add_parsable_certificates(certificates.iter().cloned());
            Authorities {
                certificates: Arc::new(certificates),
                store: Arc::new(store),
            }
        };
        let authorities = self.0.get_or_init(read);
        if authorities.store.is_empty() {
            return Err(CertificateError::NoAuthorities);
        }
        Ok(authorities.clone())
    }
}
