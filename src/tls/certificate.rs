//! A certificate with its key, from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::provider;

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and behind it those of the authorities between it and the root.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A certificate that can be shown.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Where it came from.
    pub files: Files,
    /// The names it is for, in lower case; `*.` at the front stands for one label.
    pub names: Vec<String>,
    /// From when on nobody accepts it.
    pub expires: SystemTime,
    pub(super) key: Arc<CertifiedKey>,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no PEM, or has none of what it is to have.
    #[error("{path} has no {what} in PEM")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// What it has cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key belongs to another certificate.
    #[error("the key in {key} does not belong to the certificate in {cert}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl Certificate {
    /// Reads both files. An expired certificate is none of the errors: whoever reads it decides what that means.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(files: &Files) -> Result<Self, CertificateError> {
        let chain = certificates(&files.cert)?;
        let key = key(&files.key)?;
        let key = CertifiedKey::from_der(chain.clone(), key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch {
                cert: files.cert.clone(),
                key: files.key.clone(),
            },
            error => unusable(&files.key, &error),
        })?;
        let (names, expires) = read(chain.first()).map_err(|reason| CertificateError::Unusable {
            path: files.cert.clone(),
            reason,
        })?;
        Ok(Self {
            files: files.clone(),
            names,
            expires,
            key: Arc::new(key),
        })
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        now >= self.expires
    }
}

/// The authorities in a file.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

/// The certificates in a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = read_file(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) | Err(pem::Error::NoItemsFound) => Err(CertificateError::Empty {
            path: path.to_owned(),
            what: "certificate",
        }),
        Err(error) => Err(unusable(path, &error)),
    }
}

/// The first private key in a file: PKCS #8, PKCS #1 or SEC 1.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(&read_file(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::Empty {
            path: path.to_owned(),
            what: "private key",
        },
        error => unusable(path, &error),
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Read {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> CertificateError {
    CertificateError::Unusable {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// The names that a certificate is for, and when it ends.
fn read(certificate: Option<&CertificateDer<'_>>) -> Result<(Vec<String>, SystemTime), String> {
    let der = certificate
        .map(|certificate| certificate.as_ref())
        .unwrap_or_default();
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let alternative = parsed
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let names = alternative.map(|extension| &extension.value.general_names);
    let names = names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok((
        names.collect(),
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
    ))
}

/// Who a verified client certificate was given to (RFC 4514 §2), at most 512 bytes of it.
pub fn subject(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut subject = parsed.subject().to_string();
    let end = (0..=512.min(subject.len()))
        .rev()
        .find(|end| subject.is_char_boundary(*end));
    subject.truncate(end.unwrap_or(0));
    Some(subject)
}
