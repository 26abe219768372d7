//! Explains failed TLS handshakes: the metric label for a client, an error message for a backend.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::telemetry::metrics::HandshakeFailure;

/// Most names of a certificate that a message lists.
const NAMES_SHOWN: usize = 3;

/// The reason under which a failed handshake with a client is counted.
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

/// The reason why a handshake with a backend failed, and what to do about it.
pub fn reason(error: &io::Error) -> String {
    match tls_error(error) {
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the backend closed the connection during the handshake".to_owned()
        }
        None => error.to_string(),
        Some(Error::InvalidCertificate(error)) => certificate_reason(error),
        Some(Error::InvalidMessage(_)) => "the backend does not speak TLS at this address".to_owned(),
        Some(Error::AlertReceived(alert)) => alert_reason(*alert),
        Some(Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)) => {
            "the backend speaks neither TLS 1.2 nor TLS 1.3".to_owned()
        }
        Some(Error::PeerIncompatible(what)) => {
            format!("the backend supports none of the offered TLS parameters ({what:?})")
        }
        Some(Error::NoApplicationProtocol) => {
            "the backend supports none of the offered protocols, h2 and http/1.1".to_owned()
        }
        Some(error) => error.to_string(),
    }
}

fn certificate_reason(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            // The servers that policies ask have no `tls`, and trust what the machine trusts.
            "the certificate is not signed by a known authority (UnknownIssuer): set `tls.ca`, or let this machine trust the authority"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // rustls formats them as `DnsName("a.test")`.
            let name = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            let names: Vec<String> = presented.iter().take(NAMES_SHOWN).map(name).collect();
            let names = if names.is_empty() {
                "no name".to_owned()
            } else {
                names.join(", ")
            };
            let expected = expected.to_str();
            format!(
                "the certificate is valid for {names}, not for {expected}: set `tls.server_name`, or write one of its names in the URL"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet: check the clocks of both machines".to_owned()
        }
        error if is_ca_used_by_a_server(error) => {
            "the certificate is that of an authority, as `openssl req -x509` makes it: set `tls.ca` to this certificate"
                .to_owned()
        }
        error => format!("the certificate is not valid: {error}"),
    }
}

/// Whether a certificate was rejected because it is a CA. rustls has no variant for this webpki error.
pub(super) fn is_ca_used_by_a_server(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(reason) if reason.0.to_string() == "CaUsedAsEndEntity")
}

fn alert_reason(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::ProtocolVersion => "the backend speaks neither TLS 1.2 nor TLS 1.3",
        AlertDescription::HandshakeFailure => {
            "the backend supports none of the offered cipher suites, or rejects our certificate"
        }
        AlertDescription::UnrecognisedName => {
            "the backend has no certificate for the name: set `tls.server_name`"
        }
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            "the backend rejects our client certificate or requires one: set `tls.cert` and `tls.key`"
        }
        _ => "the backend aborted the handshake",
    };
    format!("{why} (alert {alert:?})")
}

/// Whether the received data was not TLS from its first byte on.
pub fn is_not_tls(error: &Error) -> bool {
    matches!(error, Error::InvalidMessage(InvalidMessage::InvalidContentType))
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
