//! TLS with clients: the certificates of a listener, client authentication, and the keys of session tickets. All workers
//! share one [`Server`] per listener.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection};

use super::authorities::Authorities;
use super::by_name::{self, ByName, Overlap};
use super::certificate::{self, Certificate, CertificateError, Files};
use super::files::FileVersions;
use super::{H2, HTTP1, provider};

/// Limit in bytes of encrypted data that waits for the socket of one connection: more than HTTP/2 writes at once, so that it
/// leaves with one call.
const BUFFERED: usize = 96 << 10;

/// Whether clients must present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// Not requested.
    #[default]
    None,
    /// Requested. A certificate that is presented must be valid.
    Optional,
    /// Requested. Without a valid certificate the handshake fails.
    Required,
}

/// The TLS settings of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// At least one. Clients that request no name or an unknown one get the first.
    pub certificates: Vec<Files>,
    /// File with the CAs that client certificates must be signed by.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must present a certificate.
    pub client_auth: ClientAuth,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// TLS of a listener. Its settings and certificates can be replaced while it serves.
#[derive(Debug)]
pub struct Server {
    current: ArcSwap<Loaded>,
}

/// Settings, the content of the files, and the rustls config made from them.
#[derive(Debug)]
struct Loaded {
    settings: ServerSettings,
    read: Read,
    by_name: Arc<ByName>,
    tickets: Arc<dyn ProducesTickets>,
    config: Arc<ServerConfig>,
}

/// The content of the files.
#[derive(Debug, Clone)]
struct Read {
    certificates: Vec<Certificate>,
    client_authorities: Option<Authorities>,
    /// Metadata of the files from before they were read. If it differs, the files have changed.
    versions: FileVersions,
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.settings() == other.settings()
    }
}

impl Eq for Server {}

impl Server {
    /// Reads all files.
    ///
    /// # Errors
    /// [`CertificateError`] of the first unusable file.
    pub fn load(settings: ServerSettings) -> Result<Self, CertificateError> {
        let read = Read::all(&settings)?;
        let loaded = Loaded::new(settings, read, None)?;
        Ok(Self {
            current: ArcSwap::from_pointee(loaded),
        })
    }

    /// One with the same settings and certificates, which does not change with this one.
    pub fn detached(&self) -> Self {
        Self {
            current: ArcSwap::new(self.current.load_full()),
        }
    }

    /// Takes over the settings and certificates of `other`. Open connections keep the previous ones, and session tickets
    /// stay valid unless client authentication has changed.
    ///
    /// # Errors
    /// [`CertificateError`]; the previous certificates stay active.
    pub fn adopt(&self, other: &Self) -> Result<(), CertificateError> {
        let before = self.current.load_full();
        let other = other.current.load();
        let loaded = Loaded::new(other.settings.clone(), other.read.clone(), Some(&before))?;
        self.current.store(Arc::new(loaded));
        Ok(())
    }

    /// Reads all files again if one of them has changed. Returns whether there are new certificates. Blocks on the file
    /// system.
    ///
    /// # Errors
    /// [`CertificateError`]; the previous certificates stay active, and the next call tries again.
    pub fn refresh(&self) -> Result<bool, CertificateError> {
        let before = self.current.load_full();
        if before.read.versions == FileVersions::at(before.settings.files()) {
            return Ok(false);
        }
        let read = Read::all(&before.settings)?;
        let is_new = read.certificates != before.read.certificates
            || read.client_authorities != before.read.client_authorities;
        let loaded = Loaded::new(before.settings.clone(), read, Some(&before))?;
        // If a reload has replaced them meanwhile, its settings are newer.
        self.current.compare_and_swap(&before, Arc::new(loaded));
        Ok(is_new)
    }

    /// The active settings.
    pub fn settings(&self) -> ServerSettings {
        self.current.load().settings.clone()
    }

    /// The active certificates.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.current.load().read.certificates.clone()
    }

    /// Certificates that are hidden by earlier ones.
    pub fn overlaps(&self) -> Vec<Overlap> {
        by_name::overlaps(&self.current.load().read.certificates)
    }

    /// Begins a TLS session with a client.
    ///
    /// # Errors
    /// None in practice: the rustls config was checked when it was built.
    pub fn accept(&self) -> Result<ServerConnection, rustls::Error> {
        let mut session = ServerConnection::new(Arc::clone(&self.current.load().config))?;
        session.set_buffer_limit(Some(BUFFERED));
        Ok(session)
    }

    /// Whether a connection whose client requested `name` (SNI) may serve a request for `host` (RFC 9110 §7.4). It may not
    /// if the host has its own certificate and the presented one is not valid for it: the client cannot have verified that
    /// it is connected to that host. A host without its own certificate is served on any connection.
    pub fn serves_together(&self, name: &str, host: &str) -> bool {
        let loaded = self.current.load();
        let host = host.to_ascii_lowercase();
        if loaded.by_name.find(&host).is_none() {
            return true;
        }
        let certificates = &loaded.read.certificates;
        // It is not known which of several was presented, so all must be valid.
        let mut presented = loaded.by_name.find_or_default(&name.to_ascii_lowercase()).iter();
        presented.all(|index| {
            certificates
                .get(*index)
                .is_some_and(|certificate| certificate.is_for(&host))
        })
    }
}

impl ServerSettings {
    /// All files that are read.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = self.certificates.iter();
        pairs
            .flat_map(|files| [&files.cert, &files.key])
            .chain(&self.client_ca)
    }

    /// The file with the CAs of clients, if client certificates are requested.
    fn client_authorities(&self) -> Option<&PathBuf> {
        let is_asked = self.client_auth != ClientAuth::None;
        self.client_ca.as_ref().filter(|_| is_asked)
    }
}

impl Read {
    fn all(settings: &ServerSettings) -> Result<Self, CertificateError> {
        // Read before the files, so that the next call detects a change in between.
        let versions = FileVersions::at(settings.files());
        let certificates: Result<_, _> = settings.certificates.iter().map(Certificate::load).collect();
        let client_authorities = settings.client_authorities();
        Ok(Self {
            certificates: certificates?,
            client_authorities: client_authorities
                .map(|path| Authorities::load(path))
                .transpose()?,
            versions,
        })
    }
}

impl Loaded {
    fn new(settings: ServerSettings, read: Read, before: Option<&Self>) -> Result<Self, CertificateError> {
        let unusable = |error| {
            let path = settings.certificates.first().map(|files| files.key.clone());
            certificate::unusable(&path.unwrap_or_default(), &error)
        };
        // A session ticket proves that its client was authenticated. If client authentication has changed, old tickets must
        // not be accepted.
        let kept = before.filter(|before| {
            before.settings.client_auth == settings.client_auth
                && before.read.client_authorities == read.client_authorities
        });
        let tickets = match kept {
            Some(before) => Arc::clone(&before.tickets),
            // Each listener has its own key, so that another listener does not accept its tickets. The key is replaced every
            // 6 hours, the previous one decrypts tickets for 6 more hours, and it is never stored.
            None => Ticketer::new().map_err(unusable)?,
        };
        let by_name = Arc::new(ByName::new(&read.certificates));
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let mut config = builder
            .with_client_cert_verifier(verifier(&settings, &read)?)
            .with_cert_resolver(Arc::clone(&by_name) as _);
        config.ticketer = Arc::clone(&tickets);
        // Clients store the tickets. A session cache would need a lock that all workers share.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = match settings.http2 {
            true => vec![H2.to_vec(), HTTP1.to_vec()],
            false => vec![HTTP1.to_vec()],
        };
        // An attacker on the network path could replay early data (RFC 8446 §8), and decompressing certificates is work that
        // any client could cause. Both are off by default; pinned here.
        config.max_early_data_size = 0;
        config.cert_compressors.clear();
        config.cert_decompressors.clear();
        // Use the client's order of suites: none of ours is weak, and the client knows whether it has AES hardware.
        config.ignore_client_order = false;
        Ok(Self {
            settings,
            read,
            by_name,
            tickets,
            config: Arc::new(config),
        })
    }
}

fn verifier(settings: &ServerSettings, read: &Read) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let (Some(authorities), Some(path)) = (&read.client_authorities, settings.client_authorities()) else {
        return Ok(Arc::new(NoClientAuth));
    };
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities.store), provider());
    if settings.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder
        .build()
        .map_err(|error| certificate::unusable(path, &error))
}

#[cfg(test)]
mod tests;
