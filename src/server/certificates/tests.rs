//! When people are told of what.

use super::*;
use crate::tls::testing::{Authority, Folder, wanted};
use crate::tls::{Certificate, CertificateError, Files};

fn ending_in(days: i64) -> InForce {
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
    InForce {
        certificate: Certificate::load(&files).unwrap(),
        shown_by: Vec::new(),
    }
}

#[test]
fn people_are_told_once_a_day_from_two_weeks_before_the_end_on() {
    let all = [ending_in(40), ending_in(13), ending_in(-1)];
    let (wall, now) = (clock::wall(), clock::now());
    let mut reminders = Reminders::default();
    let mut told = |days: u32| {
        let later = TOLD_EVERY * days;
        reminders.due(&all, wall + later, now + later).len()
    };
    assert_eq!((told(0), told(0)), (2, 0));
    assert_eq!((told(1), told(1)), (2, 0));
    assert_eq!(told(30), 3);
}

#[test]
fn a_certificate_that_was_replaced_is_told_of_anew() {
    let (wall, now) = (clock::wall(), clock::now());
    let mut reminders = Reminders::default();
    assert_eq!(reminders.due(&[ending_in(3)], wall, now).len(), 1);
    assert_eq!(reminders.due(&[ending_in(30)], wall, now).len(), 0);
    assert_eq!(reminders.due(&[ending_in(5)], wall, now).len(), 1);
}

#[test]
fn days_are_whole_and_none_are_left_at_the_end() {
    let now = clock::wall();
    let day = Duration::from_hours(24);
    assert_eq!(days_left(now + day * 3, now), Some(3));
    assert_eq!(days_left(now + day - Duration::from_secs(1), now), Some(0));
    assert_eq!(days_left(now, now), None);
    assert_eq!(days_left(now - day, now), None);
}

#[test]
fn the_same_trouble_is_told_once_until_it_is_over() {
    let mut complaints = Complaints::default();
    let wrong = |file: &str| {
        Err(CertificateError::Empty {
            path: file.into(),
            what: "certificate",
            holds: String::new(),
        })
    };
    assert!(complaints.is_new("a", &wrong("/1")));
    assert!(!complaints.is_new("a", &wrong("/1")));
    assert!(complaints.is_new("b", &wrong("/1")), "another listener");
    assert!(complaints.is_new("a", &wrong("/2")), "another trouble");
    assert!(!complaints.is_new("a", &Ok(false)));
    assert!(complaints.is_new("a", &wrong("/2")), "again");
    assert!(complaints.is_new("a", &Ok(true)));
}
