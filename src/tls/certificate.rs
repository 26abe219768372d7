//! Loads certificates and private keys from PEM files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use super::{pem, provider};
use crate::bounded_file;

/// Largest file in bytes. All CAs of a machine take a fiftieth of it.
const LARGEST_FILE: usize = 16 << 20;

/// What a key file must contain, in messages.
const KEY: &str = "private key";

/// The files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, followed by the intermediate certificates (full chain).
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A certificate with its private key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The files it was read from.
    pub files: Files,
    /// The names it is valid for, in lower case; a leading `*.` matches one label.
    pub names: Vec<String>,
    /// Start of its validity period.
    pub begins: SystemTime,
    /// End of its validity period.
    pub expires: SystemTime,
    pub(super) key: Arc<CertifiedKey>,
}

/// Why a certificate or key cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}{}", hint(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not PEM, or does not contain what it must contain.
    #[error("{path} contains no PEM {what}: {holds}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it must contain.
        what: &'static str,
        /// What it contains.
        holds: String,
    },
    /// The key is encrypted.
    #[error(
        "encrypted private keys are not supported: decrypt {path} with `openssl pkey -in {path} -out NEW.key`"
    )]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// Its content cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// This machine has no trusted CAs, so no backend could be verified.
    #[error("this machine has no trusted CA certificates (on Debian, install the package ca-certificates)")]
    NoAuthorities,
    /// The key does not belong to the certificate.
    #[error("the key in {key} does not belong to the certificate in {cert}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl CertificateError {
    /// The file with the error; if certificate and key do not belong together, the key.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Read { path, .. }
            | Self::Empty { path, .. }
            | Self::Encrypted { path }
            | Self::Unusable { path, .. } => Some(path),
            Self::Mismatch { key, .. } => Some(key),
            Self::NoAuthorities => None,
        }
    }

    /// Whether the error is about the key of `files`. Certificate and key may be in the same file.
    pub fn is_of_key(&self, files: &Files) -> bool {
        match self {
            Self::Empty { what, .. } if files.cert == files.key => *what == KEY,
            Self::Encrypted { .. } | Self::Mismatch { .. } => true,
            _ => files.cert != files.key && self.path() == Some(&files.key),
        }
    }
}

/// A hint about a file that cannot be read.
fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => " (the user of this process needs read permission)",
        _ => "",
    }
}

impl Certificate {
    /// Reads both files. An expired certificate is not an error here; the caller checks it.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(files: &Files) -> Result<Self, CertificateError> {
        let chain = certificates(&files.cert)?;
        let unusable_cert = |reason| CertificateError::Unusable {
            path: files.cert.clone(),
            reason,
        };
        let info = CertificateInfo::of(chain.first()).map_err(unusable_cert)?;
        let key = key(&files.key)?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch {
                cert: files.cert.clone(),
                key: files.key.clone(),
            },
            rustls::Error::InvalidCertificate(_) => unusable_cert(error.to_string()),
            error => unusable(&files.key, &error),
        })?;
        Ok(Self {
            files: files.clone(),
            names: info.names,
            begins: info.begins,
            expires: info.expires,
            key: Arc::new(key),
        })
    }

    /// Whether its validity period has ended.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        now >= self.expires
    }

    /// Whether its validity period has begun.
    pub fn has_begun(&self, now: SystemTime) -> bool {
        now >= self.begins
    }

    /// Whether it is valid for this name, given in lower case (RFC 9525 §6.3: a wildcard matches the leftmost label).
    pub(super) fn is_for(&self, name: &str) -> bool {
        let wildcard = wildcard_of(name);
        let is_it = |own: &String| own == name || wildcard.as_ref() == Some(own);
        self.names.iter().any(is_it)
    }
}

/// Equal certificates have the same key, so only the certificates are compared.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files && self.key.cert == other.key.cert
    }
}

/// `*.example.com` for `a.example.com`.
pub(super) fn wildcard_of(name: &str) -> Option<String> {
    name.split_once('.').map(|(_, parent)| format!("*.{parent}"))
}

/// The certificates in a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = read_file(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) | Err(PemError::NoItemsFound) => Err(CertificateError::Empty {
            path: path.to_owned(),
            what: "certificate",
            holds: pem::holds(&bytes),
        }),
        Err(error) => Err(unusable(path, &error)),
    }
}

/// The first private key in a file: PKCS #8, PKCS #1 or SEC 1.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let bytes = read_file(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        // An encrypted key in the old format has headers before its base64: the parser reports another error.
        _ if pem::has_encrypted_key(&bytes) => CertificateError::Encrypted {
            path: path.to_owned(),
        },
        PemError::NoItemsFound => CertificateError::Empty {
            path: path.to_owned(),
            what: KEY,
            holds: pem::holds(&bytes),
        },
        error => unusable(path, &error),
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    bounded_file::read(path, LARGEST_FILE).map_err(|source| CertificateError::Read {
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

/// Names and validity period of a certificate.
struct CertificateInfo {
    names: Vec<String>,
    begins: SystemTime,
    expires: SystemTime,
}

impl CertificateInfo {
    fn of(certificate: Option<&CertificateDer<'_>>) -> Result<Self, String> {
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
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        });
        Ok(Self {
            names: names.collect(),
            begins: time(parsed.validity().not_before),
            expires: time(parsed.validity().not_after),
        })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn time(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// The subject of a client's verified certificate.
#[derive(Debug)]
pub struct Subject {
    /// The distinguished name (RFC 4514 §2), cut to 512 bytes.
    pub name: String,
    expires: SystemTime,
}

impl Subject {
    /// Reads it from a certificate in DER.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let mut name = parsed.subject().to_string();
        name.truncate(name.floor_char_boundary(512));
        Some(Self {
            name,
            expires: time(parsed.validity().not_after),
        })
    }

    /// Whether the certificate has expired. A handshake that resumes a session does not check it.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        now >= self.expires
    }
}
