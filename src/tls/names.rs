//! The names of what a handshake has negotiated, as in the TLS registries of IANA, for the log and the metrics. What rustls adds
//! later has no name here until it is added.

use rustls::{CipherSuite, NamedGroup, ProtocolVersion};

/// The name of a protocol version, as nginx and OpenSSL write it.
pub fn version(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
        _ => None,
    }
}

/// The name of a group of the key exchange.
pub fn group(group: NamedGroup) -> Option<&'static str> {
    Some(match group {
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        NamedGroup::X25519 => "x25519",
        NamedGroup::secp256r1 => "secp256r1",
        NamedGroup::secp384r1 => "secp384r1",
        _ => return None,
    })
}

/// The name of a cipher suite.
pub fn cipher(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        // Those of TLS 1.2 have their names in rustls.
        suite => return suite.as_str(),
    })
}

/// The name of a protocol that we offer by ALPN.
pub fn protocol(protocol: &[u8]) -> Option<&'static str> {
    match protocol {
        super::H2 => Some("h2"),
        super::HTTP1 => Some("http/1.1"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::provider;
    use super::*;

    #[test]
    fn everything_that_we_offer_has_its_name() {
        let provider = provider();
        let versions: Vec<_> = rustls::ALL_VERSIONS
            .iter()
            .map(|of| version(of.version))
            .collect();
        assert_eq!(versions, ["TLSv1.3", "TLSv1.2"].map(Some));
        let groups: Vec<_> = provider.kx_groups.iter().map(|of| group(of.name())).collect();
        assert_eq!(
            groups,
            ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"].map(Some)
        );
        let suites: Vec<_> = provider
            .cipher_suites
            .iter()
            .map(|of| cipher(of.suite()))
            .collect();
        assert!(suites.contains(&Some("TLS_AES_256_GCM_SHA384")), "{suites:?}");
        assert!(
            suites.contains(&Some("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")),
            "{suites:?}"
        );
        assert!(
            suites
                .iter()
                .all(|name| name.is_some_and(|name| name.starts_with("TLS_")))
        );
        assert_eq!(
            (protocol(b"h2"), protocol(b"http/1.1"), protocol(b"x")),
            (Some("h2"), Some("http/1.1"), None)
        );
    }
}
