//! What a listener shows its clients: which certificate for which name, whether they have to show one, and the keys of the
//! tickets by which they come back without a whole handshake. One for all workers.

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
use super::files::FileMetadata;
use super::{H2, HTTP1, provider};

/// Bytes of an answer that may wait encrypted for the socket of one connection.
const BUFFERED: usize = 64 << 10;

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; one that is shown must be good.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

/// What is written of a listener's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// At least one; the first is shown to those who name no host or an unknown one.
    pub certificates: Vec<Files>,
    /// Who has to have signed the clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether clients have to show one.
    pub client_auth: ClientAuth,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// The server's side of TLS, all of which can be exchanged while it serves.
#[derive(Debug)]
pub struct Server {
    current: ArcSwap<Loaded>,
}

/// What was read, and what follows from it.
#[derive(Debug)]
struct Loaded {
    settings: ServerSettings,
    read: Read,
    by_name: Arc<ByName>,
    tickets: Arc<dyn ProducesTickets>,
    config: Arc<ServerConfig>,
}

/// What the files say.
#[derive(Debug, Clone)]
struct Read {
    certificates: Vec<Certificate>,
    client_authorities: Option<Authorities>,
    /// How the files were before they were read: when they are otherwise, there is something new to read.
    stamps: FileMetadata,
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
    /// [`CertificateError`] of the first that is of no use.
    pub fn load(settings: ServerSettings) -> Result<Self, CertificateError> {
        let read = Read::all(&settings)?;
        let loaded = Loaded::new(settings, read, None)?;
        Ok(Self {
            current: ArcSwap::from_pointee(loaded),
        })
    }

    /// Takes over what another one has read, and how it was written. Connections that are open go on with what they have,
    /// and tickets stay good unless other clients are let in.
    ///
    /// # Errors
    /// [`CertificateError`]; what was read before stays in force.
    pub fn adopt(&self, other: &Self) -> Result<(), CertificateError> {
        let before = self.current.load_full();
        let other = other.current.load();
        let loaded = Loaded::new(other.settings.clone(), other.read.clone(), Some(&before))?;
        self.current.store(Arc::new(loaded));
        Ok(())
    }

    /// Reads all files again if one of them is another than before; whether that brought anything new. Blocks on the file
    /// system.
    ///
    /// # Errors
    /// [`CertificateError`]; what was read before stays in force, and the next call tries again.
    pub fn refresh(&self) -> Result<bool, CertificateError> {
        let before = self.current.load_full();
        if before.read.stamps == FileMetadata::of(before.settings.files()) {
            return Ok(false);
        }
        let read = Read::all(&before.settings)?;
        let is_new = read.certificates != before.read.certificates
            || read.client_authorities != before.read.client_authorities;
        let loaded = Loaded::new(before.settings.clone(), read, Some(&before))?;
        // A reload that came in between knows better.
        self.current.compare_and_swap(&before, Arc::new(loaded));
        Ok(is_new)
    }

    /// What is written.
    pub fn settings(&self) -> ServerSettings {
        self.current.load().settings.clone()
    }

    /// The certificates in force.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.current.load().read.certificates.clone()
    }

    /// Certificates that are hidden by others.
    pub fn overlaps(&self) -> Vec<Overlap> {
        by_name::overlaps(&self.current.load().read.certificates)
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// None in practice: the config was checked when it was made.
    pub fn accept(&self) -> Result<ServerConnection, rustls::Error> {
        let mut session = ServerConnection::new(Arc::clone(&self.current.load().config))?;
        session.set_buffer_limit(Some(BUFFERED));
        Ok(session)
    }

    /// Whether a request for `host` may come by a connection whose client asked for `name` (RFC 9110 §7.4). It may not
    /// where the host has a certificate of its own and the one that was shown is not good for it: the client cannot have
    /// seen that it speaks with that host. A host without a certificate of its own is served with any.
    pub fn serves_together(&self, name: &str, host: &str) -> bool {
        let loaded = self.current.load();
        let host = host.to_ascii_lowercase();
        if loaded.by_name.find(&host).is_none() {
            return true;
        }
        let certificates = &loaded.read.certificates;
        // Which one of several was shown is not known any more.
        let mut shown = loaded.by_name.shown_for(&name.to_ascii_lowercase()).iter();
        shown.all(|index| certificates.get(*index).is_some_and(|shown| shown.is_for(&host)))
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

    /// The file of those who may sign clients' certificates, where these are asked for.
    fn client_authorities(&self) -> Option<&PathBuf> {
        let is_asked = self.client_auth != ClientAuth::None;
        self.client_ca.as_ref().filter(|_| is_asked)
    }
}

impl Read {
    fn all(settings: &ServerSettings) -> Result<Self, CertificateError> {
        // Before the files, so that a change in between is seen the next time.
        let stamps = FileMetadata::of(settings.files());
        let certificates: Result<_, _> = settings.certificates.iter().map(Certificate::load).collect();
        let client_authorities = settings.client_authorities();
        Ok(Self {
            certificates: certificates?,
            client_authorities: client_authorities
                .map(|path| Authorities::load(path))
                .transpose()?,
            stamps,
        })
    }
}

impl Loaded {
    fn new(settings: ServerSettings, read: Read, before: Option<&Self>) -> Result<Self, CertificateError> {
        let unusable = |error| {
            let path = settings.certificates.first().map(|files| files.key.clone());
            certificate::unusable(&path.unwrap_or_default(), &error)
        };
        // A ticket says that its client was let in once. Where other clients are let in now, those of before do not count.
        let kept = before.filter(|before| {
            before.settings.client_auth == settings.client_auth
                && before.read.client_authorities == read.client_authorities
        });
        let tickets = match kept {
            Some(before) => Arc::clone(&before.tickets),
            // A key of its own for each listener, so that a ticket of one is none for another. It is made anew every 6
            // hours, and the one before opens tickets for 6 more; it is never written anywhere.
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
        // Tickets are kept by the clients; a store of ours would be a lock that all workers share.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = match settings.http2 {
            true => vec![H2.to_vec(), HTTP1.to_vec()],
            false => vec![HTTP1.to_vec()],
        };
        // Early data could be replayed by anybody who has seen it (RFC 8446 §8), and a certificate that has to be inflated
        // is work that strangers can ask for. Both are off by default, and stay so.
        config.max_early_data_size = 0;
        config.cert_compressors.clear();
        config.cert_decompressors.clear();
        // The order of suites is the client's: none of ours is weak, and it knows whether it has AES in hardware.
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
