//! What a listener shows its clients: which certificate for which name, whether they have to show one, and the keys of the
//! tickets by which they come back without a whole handshake. One for all workers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};

use super::certificate::{self, Certificate, CertificateError, Files};
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

/// The server's side of TLS, of which the certificates can be exchanged while it serves.
#[derive(Debug)]
pub struct Server {
    /// What is written.
    pub settings: ServerSettings,
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    certificates: Vec<Certificate>,
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for Server {}

impl Server {
    /// Reads all files.
    ///
    /// # Errors
    /// [`CertificateError`] of the first that is of no use.
    pub fn load(settings: ServerSettings) -> Result<Self, CertificateError> {
        let tickets = Ticketer::new().map_err(|error| {
            let path = settings.certificates.first().map(|files| files.key.clone());
            certificate::unusable(&path.unwrap_or_default(), &error)
        })?;
        let current = ArcSwap::from_pointee(Loaded::read(&settings, &tickets)?);
        Ok(Self {
            settings,
            tickets,
            current,
        })
    }

    /// Reads all files again. Connections that are open go on with what they have; tickets stay good.
    ///
    /// # Errors
    /// [`CertificateError`]; what was read before stays in force.
    pub fn reload(&self) -> Result<(), CertificateError> {
        self.current
            .store(Arc::new(Loaded::read(&self.settings, &self.tickets)?));
        Ok(())
    }

    /// The certificates in force.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.current.load().certificates.clone()
    }

    /// The files that it was read from.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = self.settings.certificates.iter();
        pairs
            .flat_map(|files| [&files.cert, &files.key])
            .chain(&self.settings.client_ca)
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

    /// Whether a request for `host` may come by a connection that was made for `name` (RFC 9110 §7.4): the same
    /// certificate is shown for both, so that the client has seen that it is good for `host` too.
    pub fn serves_together(&self, name: Option<&str>, host: &str) -> bool {
        let loaded = self.current.load();
        let by_name = |name: Option<&str>| loaded.certificate_for(name).map(|found| &found.files);
        by_name(name) == by_name(Some(host))
    }
}

impl Loaded {
    fn read(settings: &ServerSettings, tickets: &Arc<dyn ProducesTickets>) -> Result<Self, CertificateError> {
        let certificates: Result<Vec<_>, _> = settings.certificates.iter().map(Certificate::load).collect();
        let certificates = certificates?;
        let verifier = verifier(settings)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| certificate::unusable(&PathBuf::new(), &error))?;
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(ByName::new(&certificates)));
        config.ticketer = Arc::clone(tickets);
        // Tickets are kept by the clients; a store of ours would be a lock that all workers share.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = match settings.http2 {
            true => vec![H2.to_vec(), HTTP1.to_vec()],
            false => vec![HTTP1.to_vec()],
        };
        Ok(Self {
            config: Arc::new(config),
            certificates,
        })
    }

    fn certificate_for(&self, name: Option<&str>) -> Option<&Certificate> {
        let named = name.map(str::to_ascii_lowercase).and_then(|name| {
            let is_for = |wanted: &str| {
                let mut certificates = self.certificates.iter();
                certificates.find(|certificate| certificate.names.iter().any(|name| name == wanted))
            };
            is_for(&name).or_else(|| is_for(&wildcard_of(&name)?))
        });
        named.or(self.certificates.first())
    }
}

fn verifier(settings: &ServerSettings) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let (Some(path), ClientAuth::Optional | ClientAuth::Required) =
        (&settings.client_ca, settings.client_auth)
    else {
        return Ok(Arc::new(NoClientAuth));
    };
    let roots = Arc::new(certificate::authorities(path)?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if settings.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder
        .build()
        .map_err(|error| certificate::unusable(path, &error))
}

/// `*.example.com` for `a.example.com` (RFC 6125 §6.4.3: one label, the leftmost).
fn wildcard_of(name: &str) -> Option<String> {
    name.split_once('.').map(|(_, parent)| format!("*.{parent}"))
}

/// Chooses the certificate by the name that the client asks for: exact, then wildcard, then the first.
#[derive(Debug)]
struct ByName {
    named: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(certificates: &[Certificate]) -> Self {
        let mut named = HashMap::new();
        for certificate in certificates {
            for name in &certificate.names {
                named
                    .entry(name.clone())
                    .or_insert_with(|| Arc::clone(&certificate.key));
            }
        }
        Self {
            named,
            first: certificates
                .first()
                .map(|certificate| Arc::clone(&certificate.key)),
        }
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().map(str::to_ascii_lowercase).and_then(|name| {
            let exact = self.named.get(&name);
            exact.or_else(|| self.named.get(&wildcard_of(&name)?))
        });
        named.or(self.first.as_ref()).cloned()
    }
}
