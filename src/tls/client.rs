//! TLS to backends: loads the settings of a pool and opens client sessions that verify the backend's certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};

use super::authorities::{Authorities, SystemAuthorities};
use super::certificate::{self, Certificate, CertificateError, Files};
use super::verify::{BackendVerifier, NoVerification};
use super::{H2, HTTP1, provider};

pub use rustls::pki_types::ServerName;

/// Limit in bytes of encrypted data that waits for the socket of one connection: more than HTTP/2 writes at once, so that it
/// leaves with one call.
const BUFFERED: usize = 96 << 10;

/// The TLS settings of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientSettings {
    /// File with the CAs that may have signed the backends' certificates; the machine's CAs when absent.
    pub ca: Option<PathBuf>,
    /// The name that the backends' certificates must be valid for; the host of the URL when absent.
    pub server_name: Option<String>,
    /// The client certificate for backends that request one.
    pub certificate: Option<Files>,
    /// Whether to skip certificate verification.
    pub danger_skip_verify: bool,
}

/// TLS to the backends of a pool. Equal when settings and the content of all files are equal.
#[derive(Debug)]
pub struct Client {
    /// The settings it was loaded from.
    pub settings: ClientSettings,
    /// The client certificate for backends that request one.
    pub certificate: Option<Certificate>,
    /// The trusted CAs; `None` when verification is skipped.
    authorities: Option<Authorities>,
    /// Offers HTTP/2 and HTTP/1.1.
    config: Arc<ClientConfig>,
    /// Offers only HTTP/1.1.
    http1: Arc<ClientConfig>,
}

/// The protocols offered to a backend (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/2 and HTTP/1.1.
    Both,
    /// Only what carries one request after the other, and can be upgraded: HTTP/1.1.
    Sequential,
    /// None: what is spoken is not HTTP.
    Nothing,
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
    /// Reads all files; `system` provides the machine's CAs if they are needed.
    ///
    /// # Errors
    /// [`CertificateError`] of the first unusable file.
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
        // Off by default; pinned here for the same reason as on the listeners' side.
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

    /// Begins a TLS session with a backend; `host` is its name in the config.
    ///
    /// # Errors
    /// The name is neither a DNS name nor an IP address.
    pub fn connect(&self, host: &str, offer: Offer) -> Result<ClientConnection, rustls::Error> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            rustls::Error::General("server name is neither a DNS name nor an IP address".to_owned())
        })?;
        let config = match offer {
            Offer::Both => &self.config,
            Offer::Sequential | Offer::Nothing => &self.http1,
        };
        let mut session = match offer {
            Offer::Both | Offer::Sequential => ClientConnection::new(Arc::clone(config), name)?,
            Offer::Nothing => ClientConnection::new_with_alpn(Arc::clone(config), name, Vec::new())?,
        };
        session.set_buffer_limit(Some(BUFFERED));
        Ok(session)
    }
}

fn verifier(
    authorities: Option<&Authorities>,
    path: &Path,
) -> Result<Arc<dyn ServerCertVerifier>, CertificateError> {
    let Some(authorities) = authorities else {
        return Ok(Arc::new(NoVerification(provider())));
    };
    let roots = Arc::clone(&authorities.store);
    let by_authorities = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| certificate::unusable(path, &error))?;
    Ok(Arc::new(BackendVerifier {
        by_authorities,
        certificates: Arc::clone(&authorities.certificates),
    }))
}
