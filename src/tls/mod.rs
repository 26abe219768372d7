//! TLS with rustls: the server side of listeners, the client side of pools, and the certificates of both. No sockets:
//! `net` does the handshakes.

mod authorities;
mod by_name;
mod certificate;
mod client;
mod failure;
mod files;
mod names;
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
pub use names::{cipher, group, protocol, version};
pub use server::{ClientAuth, Server, ServerSettings};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// ALPN protocol name of HTTP/2 (RFC 7301).
pub const H2: &[u8] = b"h2";
/// ALPN protocol name of HTTP/1.1 (RFC 7301).
pub const HTTP1: &[u8] = b"http/1.1";

/// The cryptography of all connections: aws-lc, with the default suites and groups of rustls. All suites have forward
/// secrecy (ECDHE) and are AEADs, the oldest version is TLS 1.2, and the first group is X25519MLKEM768, which resists
/// attacks by quantum computers.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
