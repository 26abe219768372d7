//! The policy from the outside: requests, decisions, and what is remembered.

use super::*;
use crate::kept::Kept;
use crate::policy::{FeedError, testing};
use crate::request::tests::{head, request};

/// A hash of `open:sesame`.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2GbQLdjwBFdH8CcOE866nGziodmvO8K";
/// A hash of the same password of another kind.
const OTHER: &str = "$5$rounds=1000$saltstring$4/cS0kb34vyInEALb.I2JybOL6BPo7ULRUev51l4AP4";

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn users(items: &[(&str, &str)]) -> Value {
    Value::Named(
        items
            .iter()
            .map(|(name, hash)| ((*name).to_owned(), text(hash)))
            .collect(),
    )
}

fn built(kept: &mut Kept, values: &[(&'static str, Value)]) -> Result<Box<dyn Policy>, BuildError> {
    testing::built(build, kept, values)
}

fn policy(values: &[(&'static str, Value)]) -> Box<dyn Policy> {
    built(&mut Kept::default(), values).unwrap()
}

fn alice() -> Box<dyn Policy> {
    policy(&[
        ("users", users(&[("alice", HASH)])),
        ("forward_user", text("X-User")),
    ])
}

fn basic(credentials: impl AsRef<[u8]>) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(credentials))
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It passed without waiting.
    Passed,
    /// It passed after its password was checked.
    PassedAfterCheck,
    /// It was refused without a check of the password: status and code.
    Refused(u16, &'static str),
    /// The same after the check.
    RefusedAfterCheck(u16, &'static str),
}

fn outcome(policy: &dyn Policy, headers: &str, after: Duration, notes: &mut Notes) -> Outcome {
    let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    let mut request = request(&head);
    request.now = *START + after;
    match policy.check(&request, notes) {
        Decision::Continue => Outcome::Passed,
        Decision::Refuse(refusal) => Outcome::Refused(refusal.status, refusal.code),
        Decision::Wait(Job::Compute(mut compute)) => {
            compute.result = Some((compute.run.take().unwrap())());
            match policy.resume(&request, notes, Job::Compute(compute)) {
                Decision::Continue => Outcome::PassedAfterCheck,
                Decision::Refuse(refusal) => Outcome::RefusedAfterCheck(refusal.status, refusal.code),
                Decision::Wait(job) => panic!("{job:?}"),
            }
        }
        Decision::Wait(job) => panic!("{job:?}"),
    }
}

static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(crate::clock::now);

fn now(policy: &dyn Policy, headers: &str) -> Outcome {
    outcome(policy, headers, Duration::ZERO, &mut Notes::default())
}

const WRONG: Outcome = Outcome::RefusedAfterCheck(401, "unauthorized");
const MALFORMED: Outcome = Outcome::Refused(401, "unauthorized");

#[test]
fn a_verified_pair_passes_without_waiting_until_it_expires() {
    let policy = alice();
    let right = basic("alice:open:sesame");
    let at = |seconds| {
        outcome(
            &*policy,
            &right,
            Duration::from_secs(seconds),
            &mut Notes::default(),
        )
    };
    assert_eq!(at(0), Outcome::PassedAfterCheck);
    assert_eq!(at(0), Outcome::Passed);
    assert_eq!(at(299), Outcome::Passed);
    assert_eq!(at(300), Outcome::PassedAfterCheck);
    assert_eq!(at(301), Outcome::Passed);
}

#[test]
fn a_wrong_password_and_an_unknown_user_wait_for_the_same_check_every_time() {
    let policy = alice();
    assert_eq!(
        now(&*policy, &basic("alice:open:sesame")),
        Outcome::PassedAfterCheck
    );
    for credentials in [
        "alice:open",
        "alice:",
        "alice:open:sesame ",
        "bob:open:sesame",
        "Alice:open:sesame",
        ":open:sesame",
        ":",
    ] {
        for _ in 0..2 {
            assert_eq!(now(&*policy, &basic(credentials)), WRONG, "{credentials}");
        }
    }
}

#[test]
fn malformed_credentials_are_refused_without_a_check() {
    let policy = alice();
    let right = basic("alice:open:sesame");
    for headers in [
        String::new(),
        "Authorization: Bearer x\r\n".to_owned(),
        "Authorization: Basic\r\n".to_owned(),
        "Authorization: Basic %%%\r\n".to_owned(),
        "Authorization: Basic YWxpY2U6b3BlbjpzZXNhbWU\r\n".to_owned(),
        "Authorization: Basic YWxpY2U6b3BlbjpzZXNhbWU==\r\n".to_owned(),
        "Authorization: Basic YWxpY2U6 b3BlbjpzZXNhbWU=\r\n".to_owned(),
        basic("alice"),
        basic(b"ali\xffce:open:sesame"),
        basic("alice\0:open:sesame"),
        basic("alice:open:sesame\0"),
        basic("alice:open\nsesame"),
        basic(format!("alice:{}", "x".repeat(513))),
        basic(format!("{}:x", "x".repeat(4_000))),
        format!("{right}{right}"),
        format!("Authorization: Bearer x\r\n{right}"),
    ] {
        assert_eq!(now(&*policy, &headers), MALFORMED, "{headers}");
    }
    assert_eq!(now(&*policy, &basic(format!("alice:{}", "x".repeat(512)))), WRONG);
    let lower_case = right.replace("Basic", "bAsIC");
    assert_eq!(now(&*policy, &lower_case), Outcome::PassedAfterCheck);
}

#[test]
fn the_challenge_names_the_realm() {
    let challenge = |realm: Option<&str>| {
        let mut values = vec![("users", users(&[("alice", HASH)]))];
        values.extend(realm.map(|realm| ("realm", text(realm))));
        let head = head("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        match policy(&values).check(&request(&head), &mut Notes::default()) {
            Decision::Refuse(refusal) => {
                let (name, value) = refusal.headers.first().unwrap();
                assert_eq!(&**name, "WWW-Authenticate");
                String::from_utf8(value.to_vec()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(challenge(None), "Basic realm=\"restricted\", charset=\"UTF-8\"");
    assert_eq!(
        challenge(Some("a \"b\"")),
        "Basic realm=\"a \\\"b\\\"\", charset=\"UTF-8\""
    );
}

#[test]
fn the_backend_gets_the_name_and_not_the_password() {
    let policy = alice();
    let mut notes = Notes::default();
    let headers = format!("X-User: root\r\nx_user: root\r\n{}", basic("alice:open:sesame"));
    for expected in [Outcome::PassedAfterCheck, Outcome::Passed] {
        notes = Notes::default();
        assert_eq!(outcome(&*policy, &headers, Duration::ZERO, &mut notes), expected);
    }
    assert_eq!(notes.user.as_deref(), Some("alice"));
    let remove = |name: &str| Edit::Remove(name.into());
    assert_eq!(
        notes.request_headers,
        [
            remove("x_user"),
            Edit::Set("X-User".into(), b"alice"[..].into()),
            remove("Authorization"),
        ]
    );
}

#[test]
fn the_password_is_forwarded_only_where_it_is_wanted() {
    let policy = policy(&[
        ("users", users(&[("alice", HASH)])),
        ("forward_authorization", Value::Flag(true)),
    ]);
    let mut notes = Notes::default();
    outcome(&*policy, &basic("alice:open:sesame"), Duration::ZERO, &mut notes);
    assert_eq!(notes.user.as_deref(), Some("alice"));
    assert_eq!(notes.request_headers, []);
}

#[test]
fn too_many_checks_and_panics_are_an_overload() {
    let policy = alice();
    let head = head(&format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        basic("alice:open:sesame")
    ));
    let request = request(&head);
    let Decision::Wait(job) = policy.check(&request, &mut Notes::default()) else {
        panic!("does not wait");
    };
    match policy.resume(&request, &mut Notes::default(), job) {
        Decision::Refuse(refusal) => {
            assert_eq!((refusal.status, refusal.code), (503, "auth_overloaded"));
            assert_eq!(refusal.headers, [("Retry-After".into(), b"1"[..].into())]);
        }
        other => panic!("{other:?}"),
    }
}

fn take(policy: &dyn Policy, file: &str) -> Result<(), FeedError> {
    let feeds = policy.feeds();
    assert_eq!(feeds[0].source, Source::File("htpasswd".to_owned()));
    feeds[0].take(file.as_bytes())
}

#[test]
fn a_changed_file_takes_effect_at_once_and_a_broken_one_does_not() {
    let policy = policy(&[("users_file", text("htpasswd"))]);
    let right = basic("alice:open:sesame");
    assert_eq!(now(&*policy, &right), Outcome::Refused(503, "auth_unavailable"));
    take(&*policy, &format!("alice:{HASH}\n")).unwrap();
    assert_eq!(now(&*policy, &right), Outcome::PassedAfterCheck);
    let error = take(&*policy, "alice:plain\n").unwrap_err();
    assert!(
        error.0.starts_with("line 1: user `alice`: unsupported"),
        "{error}"
    );
    assert_eq!(now(&*policy, &right), Outcome::Passed, "the previous users stay");
    take(&*policy, &format!("alice:{OTHER}\n")).unwrap();
    assert_eq!(
        now(&*policy, &right),
        Outcome::PassedAfterCheck,
        "the pair of the previous hash is forgotten"
    );
    take(&*policy, &format!("bob:{HASH}\n")).unwrap();
    assert_eq!(now(&*policy, &right), WRONG, "a user who is gone does not pass");
    take(&*policy, "# nobody\n").unwrap();
    assert_eq!(now(&*policy, &right), MALFORMED);
    assert!(take(&*policy, &"#\n".repeat(FILE_SIZE)).is_err());
}

#[test]
fn users_and_verified_pairs_outlive_a_reload() {
    let mut kept = Kept::default();
    let values = [("users_file", text("htpasswd"))];
    let before = built(&mut kept, &values).unwrap();
    take(&*before, &format!("alice:{HASH}\n")).unwrap();
    let right = basic("alice:open:sesame");
    assert_eq!(now(&*before, &right), Outcome::PassedAfterCheck);
    let after = built(&mut kept, &values).unwrap();
    assert_eq!(now(&*after, &right), Outcome::Passed);
    let without = built(&mut kept, &[("users", users(&[("bob", HASH)]))]).unwrap();
    assert_eq!(now(&*without, &right), WRONG);
}

#[test]
fn a_password_that_changes_during_the_check_is_not_remembered_for_the_new_hash() {
    let policy = policy(&[("users_file", text("htpasswd"))]);
    take(&*policy, &format!("alice:{HASH}\n")).unwrap();
    let right = basic("alice:open:sesame");
    let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{right}\r\n"));
    let Decision::Wait(Job::Compute(mut compute)) = policy.check(&request(&head), &mut Notes::default())
    else {
        panic!("does not wait");
    };
    take(&*policy, &format!("alice:{}\n", HASH.replace("8K", "8e"))).unwrap();
    assert!((compute.run.take().unwrap())());
    assert_eq!(now(&*policy, &right), WRONG);
}

#[test]
fn config_errors_name_the_user_and_never_the_hash() {
    let error = |values: &[(&'static str, Value)]| built(&mut Kept::default(), values).unwrap_err();
    let broken = error(&[("users", users(&[("alice", HASH), ("bob", "plain-secret")]))]);
    assert_eq!(broken.key, Some("users"));
    assert!(broken.message.starts_with("user `bob`: unsupported hash") && !broken.message.contains("secret"));
    assert_eq!(error(&[]).key, None);
    assert_eq!(
        error(&[("users", users(&[])), ("users_file", text("a"))]).key,
        None
    );
    let header = error(&[("users_file", text("a")), ("forward_user", text("Host"))]);
    assert_eq!(header.key, Some("forward_user"));
}
