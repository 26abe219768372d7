//! Why a handshake with a client failed, as it is counted.

use std::io;

use rustls::{Error, InvalidMessage};

use crate::telemetry::metrics::HandshakeFailure;

/// The reason that is counted for an error of a handshake.
pub fn failure(error: &io::Error) -> HandshakeFailure {
    match tls_error(error) {
        None => HandshakeFailure::ClientLeft,
        Some(Error::InvalidMessage(_)) => HandshakeFailure::NotTls,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => HandshakeFailure::Incompatible,
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => {
            HandshakeFailure::ClientCertificate
        }
        Some(Error::AlertReceived(_)) => HandshakeFailure::RefusedByClient,
        Some(_) => HandshakeFailure::Other,
    }
}

/// Whether what came was no TLS from its first byte on.
pub fn is_not_tls(error: &Error) -> bool {
    matches!(error, Error::InvalidMessage(InvalidMessage::InvalidContentType))
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
