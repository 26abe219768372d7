//! Which certificates of backends are believed.

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::tls::authorities::Authorities;
use crate::tls::provider;
use crate::tls::testing::{Authority, Folder, Pair, Wanted, wanted};

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()
}

/// Whether a certificate is believed for `backend.test` where the file holds these.
fn verdict(file: &[&str], shown: &Pair) -> Result<(), Error> {
    let folder = Folder::new();
    folder.write("ca.pem", &file.concat());
    let authorities = Authorities::load(&folder.path().join("ca.pem")).unwrap();
    let by_authorities = WebPkiServerVerifier::builder_with_provider(authorities.store, provider());
    let verifier = BelievesFiles {
        by_authorities: by_authorities.build().unwrap(),
        certificates: authorities.certificates,
    };
    let name = ServerName::try_from("backend.test").unwrap();
    verifier
        .verify_server_cert(&der(shown), &[], &name, &[], UnixTime::now())
        .map(drop)
}

/// What becomes of a certificate that has signed itself and is in the file.
fn alone(wanted: &Wanted) -> Result<(), Error> {
    let pair = wanted.alone();
    verdict(&[&pair.cert], &pair)
}

#[test]
fn a_certificate_in_the_file_is_believed_whether_or_not_it_is_an_authority() {
    assert_eq!(alone(&wanted(&["backend.test"]).authority()), Ok(()));
    assert_eq!(
        alone(&wanted(&["backend.test"]).authority().only_for(ServerAuth)),
        Ok(())
    );
    assert_eq!(alone(&wanted(&["backend.test"])), Ok(()));
    let pair = wanted(&["backend.test"]).authority().alone();
    assert_eq!(verdict(&[&Authority::new().pem(), &pair.cert], &pair), Ok(()));
}

#[test]
fn name_time_and_purpose_have_to_be_right_all_the_same() {
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
            verify_alone(&der(&pair), &name, UnixTime::now()).is_err(),
            "{expected}"
        );
    }
}

#[test]
fn another_certificate_is_believed_by_its_signature_alone() {
    let listed = wanted(&["backend.test"]).authority().alone();
    let shown = wanted(&["backend.test"]).authority().alone();
    assert!(verdict(&[&listed.cert], &shown).is_err(), "made in the same way");
    let authority = Authority::new();
    let signed = authority.sign_for(&["backend.test"]);
    assert_eq!(verdict(&[&authority.pem()], &signed), Ok(()));
    assert!(verdict(&[&listed.cert], &signed).is_err());
    let below = authority.sign(&wanted(&["backend.test"]).authority());
    assert!(
        verdict(&[&authority.pem()], &below).is_err(),
        "an authority that is not in the file is no backend"
    );
}
