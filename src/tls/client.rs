//! What a pool asks of its backends before it believes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};

use super::authorities::{Authorities, SystemAuthorities};
use super::certificate::{self, Certificate, CertificateError, Files};
use super::verify::{BelievesAll, BelievesFiles};
use super::{H2, HTTP1, provider};

pub use rustls::pki_types::ServerName;

/// Bytes of a request that may wait encrypted for the socket of one connection.
const BUFFERED: usize = 64 << 10;

/// What is written of a pool's TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientSettings {
    /// Who has to have signed the backends' certificates; the authorities of this machine when absent.
    pub ca: Option<PathBuf>,
    /// The name that their certificates have to be for; that of the URL when absent.
    pub server_name: Option<String>,
    /// What we show to backends that ask.
    pub certificate: Option<Files>,
    /// Whether any certificate is good enough.
    pub danger_skip_verify: bool,
}

/// The client's side of TLS. Equal when it asks the same of backends, by the content of its files.
#[derive(Debug)]
pub struct Client {
    /// What is written.
    pub settings: ClientSettings,
    /// What we show to backends that ask.
    pub certificate: Option<Certificate>,
    /// Whom we believe; `None` where that is anybody.
    authorities: Option<Authorities>,
    /// Offers HTTP/2 and HTTP/1.1.
    config: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone.
    http1: Arc<ClientConfig>,
}

/// What a backend may choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/2, or HTTP/1.1.
    Both,
    /// HTTP/1.1.
    Http1,
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
            && self.certificate == other.certificate
            && self.authorities == other.authorities
    }
}

impl Eq for Client {}

impl Client {
    /// Reads all files; `system` has the authorities of this machine, where they are asked for.
    ///
    /// # Errors
    /// [`CertificateError`] of the first that is of no use.
    pub fn load(settings: ClientSettings, system: &SystemAuthorities) -> Result<Self, CertificateError> {
        let authorities = match &settings.ca {
            _ if settings.danger_skip_verify => None,
            Some(path) => Some(Authorities::load(path)?),
            None => Some(system.load()?),
        };
        let certificate = settings.certificate.as_ref().map(Certificate::load).transpose()?;
        let path = settings.ca.clone().unwrap_or_default();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| certificate::unusable(&path, &error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier(authorities.as_ref(), &path)?);
        let mut config = match &certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let key = SingleCertAndKey::from(Arc::clone(&certificate.key));
                builder.with_client_cert_resolver(Arc::new(key))
            }
        };
        // Off by default, and so it stays: see the listeners' side.
        config.enable_early_data = false;
        config.cert_compressors.clear();
        config.cert_decompressors.clear();
        config.alpn_protocols = vec![HTTP1.to_vec()];
        let http1 = Arc::new(config.clone());
        config.alpn_protocols.insert(0, H2.to_vec());
        Ok(Self {
            settings,
            certificate,
            authorities,
            config: Arc::new(config),
            http1,
        })
    }

    /// Begins a connection to a backend that the config calls `host`.
    ///
    /// # Errors
    /// The name is none that a certificate could be for.
    pub fn connect(&self, host: &str, offer: Offer) -> Result<ClientConnection, rustls::Error> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| rustls::Error::General("not a name that a certificate can be for".to_owned()))?;
        let config = match offer {
            Offer::Both => &self.config,
            Offer::Http1 => &self.http1,
        };
        let mut session = ClientConnection::new(Arc::clone(config), name)?;
        session.set_buffer_limit(Some(BUFFERED));
        Ok(session)
    }
}

fn verifier(
    authorities: Option<&Authorities>,
    path: &Path,
) -> Result<Arc<dyn ServerCertVerifier>, CertificateError> {
    let Some(authorities) = authorities else {
        return Ok(Arc::new(BelievesAll(provider())));
    };
    let roots = Arc::clone(&authorities.store);
    let by_authorities = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| certificate::unusable(path, &error))?;
    Ok(Arc::new(BelievesFiles {
        by_authorities,
        certificates: Arc::clone(&authorities.certificates),
    }))
}
