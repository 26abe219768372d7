//! Which certificate a listener presents, and how it reacts to changed files.

use std::fs;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};

use super::*;
use crate::tls::testing::{Authority, Folder, Pair, wanted};

/// A listener with these certificates, by the names of their files.
fn settings(folder: &Folder, names: &[&str]) -> ServerSettings {
    let files = |name: &&str| Files {
        cert: folder.path().join(format!("{name}.pem")),
        key: folder.path().join(format!("{name}.key")),
    };
    ServerSettings {
        certificates: names.iter().map(files).collect(),
        client_ca: None,
        client_auth: ClientAuth::None,
        http2: true,
    }
}

fn server(folder: &Folder, names: &[&str]) -> Server {
    Server::load(settings(folder, names)).unwrap()
}

fn client(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Does a handshake in memory. Returns the certificate of the server and the kind of handshake.
fn handshake(server: &Server, client: &Arc<ClientConfig>, name: &str) -> (Vec<u8>, HandshakeKind) {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = server.accept().unwrap();
    let mut bytes = Vec::new();
    for _ in 0..4 {
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().unwrap();
        bytes.clear();
    }
    let shown = client.peer_certificates().unwrap()[0].to_vec();
    (shown, client.handshake_kind().unwrap())
}

/// A client that verifies only these signature schemes, with this version of TLS.
fn client_of(
    authority: &Authority,
    can_verify: fn(SignatureScheme) -> bool,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let mut ours = (*provider()).clone();
    let mapping = ours.signature_verification_algorithms.mapping.iter().copied();
    let kept: Vec<_> = mapping.filter(|(scheme, _)| can_verify(*scheme)).collect();
    ours.signature_verification_algorithms.mapping = kept.leak();
    let builder = ClientConfig::builder_with_provider(Arc::new(ours));
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn is_rsa(scheme: SignatureScheme) -> bool {
    format!("{scheme:?}").starts_with("RSA")
}

fn is_ecdsa(scheme: SignatureScheme) -> bool {
    format!("{scheme:?}").starts_with("ECDSA")
}

fn der(pair: &Pair) -> Vec<u8> {
    CertificateDer::from_pem_slice(pair.cert.as_bytes())
        .unwrap()
        .to_vec()
}

/// Two certificates with their keys; the first is the default.
fn two() -> (Folder, Authority) {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.put("a", &authority.sign_for(&["a.test", "*.wild.test"]));
    folder.put("b", &authority.sign_for(&["b.test", "exact.wild.test"]));
    (folder, authority)
}

#[test]
fn serves_hosts_that_the_certificate_of_the_connection_is_valid_for() {
    let (folder, _) = two();
    let server = server(&folder, &["a", "b"]);
    for (name, host, is_served) in [
        ("a.test", "a.test", true),
        ("a.test", "A.TEST", true),
        ("a.test", "x.wild.test", true),
        // Another certificate is configured for it, but this one is valid for it too: browsers reuse such connections.
        ("a.test", "exact.wild.test", true),
        ("a.test", "b.test", false),
        ("b.test", "a.test", false),
        ("exact.wild.test", "x.wild.test", false),
        ("b.test", "exact.wild.test", true),
        // No certificate is configured for these.
        ("a.test", "other.test", true),
        ("b.test", "other.test", true),
        ("b.test", "x.y.wild.test", true),
        ("b.test", "192.0.2.1", true),
        // A client that requests an unknown name gets the first certificate.
        ("other.test", "a.test", true),
        ("other.test", "b.test", false),
        ("b.test", "", true),
    ] {
        assert_eq!(server.serves_together(name, host), is_served, "{name} {host}");
    }
}

#[test]
fn presents_a_certificate_that_the_client_can_verify() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let names = wanted(&["a.test", "*.wild.test", "127.0.0.1"]);
    let (rsa, ecdsa) = (authority.sign_rsa(&names), authority.sign(&names));
    folder.put("rsa", &rsa);
    folder.put("ecdsa", &ecdsa);
    folder.put("other", &authority.sign_for(&["other.test"]));
    for order in [["rsa", "ecdsa", "other"], ["other", "ecdsa", "rsa"]] {
        let server = server(&folder, &order);
        for version in [&TLS12, &TLS13] {
            for name in ["a.test", "x.wild.test"] {
                let shown =
                    |can_verify| handshake(&server, &client_of(&authority, can_verify, version), name).0;
                assert_eq!(shown(is_rsa), der(&rsa), "{order:?} {name}");
                assert_eq!(shown(is_ecdsa), der(&ecdsa), "{order:?} {name}");
                assert_eq!(shown(|_| true), der(&ecdsa), "{order:?} {name}");
            }
        }
    }
    // The same applies to the first certificate when the client requests no name.
    let server = server(&folder, &["rsa", "ecdsa", "other"]);
    let shown = |can_verify| handshake(&server, &client_of(&authority, can_verify, &TLS13), "127.0.0.1").0;
    assert_eq!((shown(is_rsa), shown(is_ecdsa)), (der(&rsa), der(&ecdsa)));
}

/// A certificate can replace the first one only if it is valid for all of its names.
#[test]
fn a_certificate_for_fewer_names_does_not_replace_the_first() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let first = authority.sign_rsa(&wanted(&["a.test", "127.0.0.1"]));
    folder.put("first", &first);
    folder.put("less", &authority.sign_for(&["a.test"]));
    let server = server(&folder, &["first", "less"]);
    let client = client_of(&authority, |_| true, &TLS13);
    assert_eq!(handshake(&server, &client, "127.0.0.1").0, der(&first));
}

/// It is not known afterwards which of the two was presented, so both must be valid for the host.
#[test]
fn with_two_certificates_for_a_name_serves_only_hosts_that_both_are_valid_for() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.put(
        "rsa",
        &authority.sign_rsa(&wanted(&["a.test", "b.test", "c.test"])),
    );
    folder.put("ecdsa", &authority.sign_for(&["a.test", "c.test"]));
    let server = server(&folder, &["rsa", "ecdsa"]);
    for (name, host, is_served) in [
        ("a.test", "a.test", true),
        ("a.test", "c.test", true),
        ("a.test", "b.test", false),
        ("b.test", "a.test", true),
        ("a.test", "other.test", true),
    ] {
        assert_eq!(server.serves_together(name, host), is_served, "{name} {host}");
    }
}

#[test]
fn one_certificate_serves_every_host() {
    let (folder, _) = two();
    let server = server(&folder, &["b"]);
    for host in ["a.test", "b.test", "192.0.2.1"] {
        assert!(server.serves_together("b.test", host), "{host}");
    }
}

#[test]
fn changed_files_are_read_once() {
    let (folder, authority) = two();
    let server = server(&folder, &["a"]);
    assert!(!server.refresh().unwrap(), "nothing has changed");
    let before = server.accept().unwrap();
    let pair = authority.sign_for(&["a.test"]);
    folder.put("a", &pair);
    assert!(server.refresh().unwrap());
    assert!(!server.refresh().unwrap(), "once is enough");
    assert_eq!(handshake(&server, &client(&authority), "a.test").0, der(&pair));
    drop(before);
}

#[test]
fn rewriting_a_file_with_the_same_content_changes_nothing() {
    let (folder, authority) = two();
    let pair = authority.sign_for(&["a.test"]);
    folder.put("a", &pair);
    let server = server(&folder, &["a"]);
    fs::remove_file(folder.file("a.pem")).unwrap();
    folder.put("a", &pair);
    assert!(!server.refresh().unwrap());
}

#[test]
fn a_certificate_without_its_new_key_is_tried_again() {
    let (folder, authority) = two();
    let old = authority.sign_for(&["a.test"]);
    folder.put("a", &old);
    let server = server(&folder, &["a"]);
    let new = authority.sign_for(&["a.test"]);
    folder.write("a.pem", &new.cert);
    for _ in 0..2 {
        let error = server.refresh().unwrap_err();
        assert!(
            matches!(error, CertificateError::Mismatch { .. }) && error.to_string().contains("a.key"),
            "{error}"
        );
        assert_eq!(handshake(&server, &client(&authority), "a.test").0, der(&old));
    }
    folder.write("a.key", &new.key);
    assert!(server.refresh().unwrap());
    assert_eq!(handshake(&server, &client(&authority), "a.test").0, der(&new));
}

#[test]
fn truncated_or_missing_files_keep_the_old_certificate_active() {
    let (folder, authority) = two();
    let pair = authority.sign_for(&["a.test"]);
    folder.put("a", &pair);
    let server = server(&folder, &["a"]);
    let new = authority.sign_for(&["a.test"]);
    folder.write("a.pem", &new.cert[..new.cert.len() / 2]);
    folder.write("a.key", &new.key);
    assert!(server.refresh().is_err());
    fs::remove_file(folder.file("a.pem")).unwrap();
    assert!(server.refresh().is_err());
    assert_eq!(handshake(&server, &client(&authority), "a.test").0, der(&pair));
    folder.put("a", &pair);
    assert!(!server.refresh().unwrap(), "all is as it was");
}

#[test]
fn changed_symbolic_links_are_detected() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let pairs = [authority.sign_for(&["a.test"]), authority.sign_for(&["a.test"])];
    // As Kubernetes mounts secrets: the files are links into `..data`, which is a link to a folder, and that is replaced.
    for (version, pair) in ["1", "2"].into_iter().zip(&pairs) {
        fs::create_dir(folder.file(version)).unwrap();
        folder.put(&format!("{version}/a"), pair);
    }
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.file(name)).unwrap();
    link("1", "..data");
    link("..data/a.pem", "a.pem");
    link("..data/a.key", "a.key");
    let server = server(&folder, &["a"]);
    link("2", "..new");
    fs::rename(folder.file("..new"), folder.file("..data")).unwrap();
    assert!(server.refresh().unwrap());
    assert_eq!(
        handshake(&server, &client(&authority), "a.test").0,
        der(&pairs[1])
    );
}

#[test]
fn tickets_stay_valid_when_certificates_are_replaced() {
    let (folder, authority) = two();
    let server = server(&folder, &["a"]);
    let client = client(&authority);
    assert_eq!(handshake(&server, &client, "a.test").1, HandshakeKind::Full);
    assert_eq!(handshake(&server, &client, "a.test").1, HandshakeKind::Resumed);
    folder.put("a", &authority.sign_for(&["a.test"]));
    assert!(server.refresh().unwrap());
    assert_eq!(handshake(&server, &client, "a.test").1, HandshakeKind::Resumed);
    let other = Server::load(settings(&folder, &["a", "b"])).unwrap();
    assert_eq!(
        handshake(&other, &client, "a.test").1,
        HandshakeKind::Full,
        "another listener's"
    );
    server.adopt(&other).unwrap();
    assert_eq!(server.certificates().len(), 2);
    assert_eq!(handshake(&server, &client, "b.test").1, HandshakeKind::Full);
}

#[test]
fn a_detached_server_stays_as_it_was_and_can_be_adopted_again() {
    let (folder, _) = two();
    let running = server(&folder, &["a"]);
    let before = running.detached();
    running.adopt(&server(&folder, &["b"])).unwrap();
    assert_ne!(running, before);
    running.adopt(&before).unwrap();
    assert_eq!(running.settings(), settings(&folder, &["a"]));
    assert_eq!(running.certificates(), before.certificates());
}

#[test]
fn tickets_become_invalid_when_the_client_cas_change() {
    let (folder, authority) = two();
    folder.write("ca.pem", &authority.pem());
    let asking = ServerSettings {
        client_ca: Some(folder.path().join("ca.pem")),
        client_auth: ClientAuth::Optional,
        ..settings(&folder, &["a"])
    };
    let server = Server::load(asking).unwrap();
    let client = client(&authority);
    handshake(&server, &client, "a.test");
    assert_eq!(handshake(&server, &client, "a.test").1, HandshakeKind::Resumed);
    folder.write("ca.pem", &Authority::new().pem());
    assert!(server.refresh().unwrap());
    assert_eq!(handshake(&server, &client, "a.test").1, HandshakeKind::Full);
}

#[test]
fn offers_only_safe_cryptography() {
    let (folder, _) = two();
    let server = server(&folder, &["a"]);
    let config = Arc::clone(&server.current.load().config);
    assert_eq!(config.max_early_data_size, 0, "it could be replayed");
    assert!(config.cert_compressors.is_empty() && config.cert_decompressors.is_empty());
    for suite in &provider().cipher_suites {
        let name = format!("{:?}", suite.suite());
        let has_forward_secrecy = name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_");
        assert!(
            has_forward_secrecy && (name.contains("GCM") || name.contains("POLY1305")),
            "{name}"
        );
    }
    let first = provider().kx_groups.first().map(|group| group.name());
    assert_eq!(first, Some(rustls::NamedGroup::X25519MLKEM768));
}

#[test]
fn errors_name_the_file() {
    let (folder, authority) = two();
    let pair = authority.sign_for(&["a.test"]);
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let locked = pair.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (cert, key, expected) in [
        ("", pair.key.as_str(), "a.pem contains no PEM certificate"),
        (pair.cert.as_str(), "", "a.key contains no PEM private key"),
        (bad, &pair.key, "a.pem cannot be used"),
        (&pair.cert, &locked, "a.key -out NEW.key`"),
        (&pair.cert, &authority.sign_for(&[]).key, "a.pem"),
    ] {
        folder.write("a.pem", cert);
        folder.write("a.key", key);
        let error = Server::load(settings(&folder, &["a"])).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = Server::load(settings(&folder, &["none"]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("none.pem"), "{error}");
}

#[test]
fn certificates_have_names_and_a_validity_period() {
    let (folder, authority) = two();
    let now = crate::clock::wall();
    for (from, to, expected) in [
        (-2, -1, (true, true)),
        (1, 2, (false, false)),
        (-1, 1, (true, false)),
    ] {
        folder.put(
            "a",
            &authority.sign(&wanted(&["a.test", "192.0.2.1"]).days(from, to)),
        );
        let certificate = &server(&folder, &["a"]).certificates()[0];
        assert_eq!(
            (certificate.has_begun(now), certificate.has_expired(now)),
            expected
        );
        assert_eq!(certificate.names, ["a.test", "192.0.2.1"]);
    }
}
