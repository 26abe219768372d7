//! What a pool asks of its backends before it believes them.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificate::{self, CertificateError, Files};
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

/// The client's side of TLS.
#[derive(Debug)]
pub struct Client {
    /// What is written.
    pub settings: ClientSettings,
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
    }
}

impl Eq for Client {}

impl Client {
    /// Reads all files.
    ///
    /// # Errors
    /// [`CertificateError`] of the first that is of no use.
    pub fn load(settings: ClientSettings) -> Result<Self, CertificateError> {
        let unusable = |error| certificate::unusable(&PathBuf::new(), &error);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = if settings.danger_skip_verify {
            let believes = Arc::new(BelievesAll(provider()));
            builder.dangerous().with_custom_certificate_verifier(believes)
        } else {
            builder.with_root_certificates(roots(&settings)?)
        };
        let mut config = match &settings.certificate {
            None => builder.with_no_client_auth(),
            Some(files) => builder
                .with_client_auth_cert(
                    certificate::certificates(&files.cert)?,
                    certificate::key(&files.key)?,
                )
                .map_err(|error| certificate::unusable(&files.key, &error))?,
        };
        config.alpn_protocols = vec![HTTP1.to_vec()];
        let http1 = Arc::new(config.clone());
        config.alpn_protocols.insert(0, H2.to_vec());
        Ok(Self {
            settings,
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

fn roots(settings: &ClientSettings) -> Result<RootCertStore, CertificateError> {
    if let Some(path) = &settings.ca {
        return certificate::authorities(path);
    }
    let mut roots = RootCertStore::empty();
    // Some of a machine's authorities are too old to be read; the others count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(roots)
}

/// Takes any certificate. The signatures of the handshake are still checked.
#[derive(Debug)]
struct BelievesAll(Arc<CryptoProvider>);

impl ServerCertVerifier for BelievesAll {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
