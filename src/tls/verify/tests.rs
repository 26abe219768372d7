//! Which backend certificates are trusted.

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::tls::authorities::Authorities;
use crate::tls::provider;
use crate::tls::testing::{Authority, Folder, Pair, Wanted, wanted};

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()
}

/// Verifies a certificate for `backend.test` with this content of the CA file.
fn verify(file: &[&str], shown: &Pair) -> Result<(), Error> {
    let folder = Folder::new();
    folder.write("ca.pem", &file.concat());
    let authorities = Authorities::load(&folder.path().join("ca.pem")).unwrap();
    let by_authorities = WebPkiServerVerifier::builder_with_provider(authorities.store, provider());
    let verifier = BackendVerifier {
        by_authorities: by_authorities.build().unwrap(),
        certificates: authorities.certificates,
    };
    let name = ServerName::try_from("backend.test").unwrap();
    verifier
        .verify_server_cert(&der(shown), &[], &name, &[], UnixTime::now())
        .map(drop)
}

/// Verifies a self-signed certificate that is listed in the file.
fn alone(wanted: &Wanted) -> Result<(), Error> {
    let pair = wanted.alone();
    verify(&[&pair.cert], &pair)
}

#[test]
fn trusts_a_listed_certificate_whether_or_not_it_is_a_ca() {
    assert_eq!(alone(&wanted(&["backend.test"]).authority()), Ok(()));
    assert_eq!(
        alone(&wanted(&["backend.test"]).authority().only_for(ServerAuth)),
        Ok(())
    );
    assert_eq!(alone(&wanted(&["backend.test"])), Ok(()));
    let pair = wanted(&["backend.test"]).authority().alone();
    assert_eq!(verify(&[&Authority::new().pem(), &pair.cert], &pair), Ok(()));
}

#[test]
fn listed_certificate_must_match_name_time_and_purpose() {
    let own = || wanted(&["backend.test"]).authority();
    let other = alone(&wanted(&["other.test"]).authority()).unwrap_err();
    assert!(other.to_string().contains("not valid for name"), "{other}");
    for (wanted, expected) in [
        (own().days(-2, -1), "expired"),
        (own().days(1, 2), "not valid yet"),
        (own().only_for(ClientAuth), "InvalidPurpose"),
    ] {
        let error = alone(&wanted).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let pair = wanted.alone();
        let name = ServerName::try_from("backend.test").unwrap();
        assert!(
            verify_listed(&der(&pair), &name, UnixTime::now()).is_err(),
            "{expected}"
        );
    }
}

#[test]
fn trusts_unlisted_certificates_only_by_their_signature() {
    let listed = wanted(&["backend.test"]).authority().alone();
    let shown = wanted(&["backend.test"]).authority().alone();
    assert!(
        verify(&[&listed.cert], &shown).is_err(),
        "a similar certificate is not trusted"
    );
    let authority = Authority::new();
    let signed = authority.sign_for(&["backend.test"]);
    assert_eq!(verify(&[&authority.pem()], &signed), Ok(()));
    assert!(verify(&[&listed.cert], &signed).is_err());
    let below = authority.sign(&wanted(&["backend.test"]).authority());
    assert!(
        verify(&[&authority.pem()], &below).is_err(),
        "a CA certificate is trusted only if it is listed"
    );
}
