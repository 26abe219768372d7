//! When errors and warnings about certificates are logged.

use super::*;
use crate::tls::testing::{Authority, Folder, wanted};
use crate::tls::{Certificate, CertificateError, Files};

fn expiring_in(days: i64) -> ActiveCertificate {
    let folder = Folder::new();
    let name = format!("d{days}");
    folder.put(
        &name,
        &Authority::new().sign(&wanted(&["a.test"]).days(-30, days)),
    );
    let files = Files {
        cert: folder.path().join(format!("{name}.pem")),
        key: folder.path().join(format!("{name}.key")),
    };
    ActiveCertificate {
        certificate: Certificate::load(&files).unwrap(),
        shown_by: Vec::new(),
    }
}

#[test]
fn warns_once_a_day_from_two_weeks_before_expiry() {
    let all = [expiring_in(40), expiring_in(13), expiring_in(-1)];
    let (wall, now) = (clock::wall(), clock::now());
    let mut warnings = ExpiryWarnings::default();
    let mut warned = |days: u32| {
        let later = WARN_INTERVAL * days;
        warnings.due(&all, wall + later, now + later).len()
    };
    assert_eq!((warned(0), warned(0)), (2, 0));
    assert_eq!((warned(1), warned(1)), (2, 0));
    assert_eq!(warned(30), 3);
}

#[test]
fn a_replaced_certificate_gets_its_own_warnings() {
    let (wall, now) = (clock::wall(), clock::now());
    let mut warnings = ExpiryWarnings::default();
    assert_eq!(warnings.due(&[expiring_in(3)], wall, now).len(), 1);
    assert_eq!(warnings.due(&[expiring_in(30)], wall, now).len(), 0);
    assert_eq!(warnings.due(&[expiring_in(5)], wall, now).len(), 1);
}

#[test]
fn days_left_are_whole_and_absent_once_expired() {
    let now = clock::wall();
    let day = Duration::from_hours(24);
    assert_eq!(days_left(now + day * 3, now), Some(3));
    assert_eq!(days_left(now + day - Duration::from_secs(1), now), Some(0));
    assert_eq!(days_left(now, now), None);
    assert_eq!(days_left(now - day, now), None);
}

#[test]
fn the_same_error_is_logged_once_until_it_is_resolved() {
    let mut errors = ReportedErrors::default();
    let error = |file: &str| {
        Err(CertificateError::Empty {
            path: file.into(),
            what: "certificate",
            holds: String::new(),
        })
    };
    assert!(errors.is_new("a", &error("/1")));
    assert!(!errors.is_new("a", &error("/1")));
    assert!(errors.is_new("b", &error("/1")), "another listener");
    assert!(errors.is_new("a", &error("/2")), "another error");
    assert!(!errors.is_new("a", &Ok(false)));
    assert!(errors.is_new("a", &error("/2")), "again");
    assert!(errors.is_new("a", &Ok(true)));
}
