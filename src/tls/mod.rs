//! TLS as rustls does it: what a listener shows its clients, what a pool asks of its backends, and the certificates of both.
//! No sockets: handshakes happen in `net`.

mod certificate;
mod client;
mod server;

pub use certificate::{Certificate, CertificateError, Files, subject};
pub use client::{Client, ClientSettings, Offer, ServerName};
pub use server::{ClientAuth, Server, ServerSettings};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// Protocol names as they are agreed upon during the handshake (RFC 7301).
pub const H2: &[u8] = b"h2";
/// HTTP/1.1 in the same way.
pub const HTTP1: &[u8] = b"http/1.1";

/// The cryptography of all connections: aws-lc, with the suites that rustls offers by default, none of which is weak.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
