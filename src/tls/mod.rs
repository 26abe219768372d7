//! TLS as rustls does it: what a listener shows its clients, what a pool asks of its backends, and the certificates of both.
//! No sockets: handshakes happen in `net`.

mod authorities;
mod by_name;
mod certificate;
mod client;
mod failure;
mod files;
mod pem;
mod server;
#[cfg(test)]
#[path = "../../tests/it/support/authority.rs"]
pub(crate) mod testing;
mod verify;

pub use authorities::SystemAuthorities;
pub use by_name::Overlap;
pub use certificate::{Certificate, CertificateError, Files, Subject};
pub use client::{Client, ClientSettings, Offer, ServerName};
pub use failure::{failure, is_not_tls, reason};
pub use server::{ClientAuth, Server, ServerSettings};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// Protocol names as they are agreed upon during the handshake (RFC 7301).
pub const H2: &[u8] = b"h2";
/// HTTP/1.1 in the same way.
pub const HTTP1: &[u8] = b"http/1.1";

/// The cryptography of all connections: aws-lc, with the suites and groups that rustls offers by default. All suites have
/// forward secrecy (ECDHE) and are AEADs, there is nothing below TLS 1.2, and the first group is X25519MLKEM768, which a
/// quantum computer does not help against.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
