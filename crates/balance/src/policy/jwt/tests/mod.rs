//! The policy from the outside: valid and hostile tokens of every algorithm, and keys that change.

use serde_json::{Value as Json, json};

use super::signer::{SECRET, der, encoded, jwk, mac, pem, sign, token};
use super::*;
use crate::kept::Kept;
use crate::policy::{Edit, FeedError, testing};
use crate::request::tests::{head, request};

mod rotation;

/// The time of every request, in seconds since the Unix epoch.
const NOW: u64 = 1_700_000_000;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn list(names: &[&'static str]) -> Value {
    Value::List(names.iter().map(|name| Value::Word(name)).collect())
}

fn map(items: &[(&str, &str)]) -> Value {
    Value::Named(
        items
            .iter()
            .map(|(name, value)| ((*name).to_owned(), text(value)))
            .collect(),
    )
}

fn built(kept: &mut Kept, values: &[(&'static str, Value)]) -> Result<Box<dyn Policy>, BuildError> {
    testing::built(build, kept, values)
}

/// A policy with a set of keys, and these parameters beside.
fn with_set(keys: &[Json], values: &[(&'static str, Value)]) -> Box<dyn Policy> {
    let mut all = vec![("jwks", text("https://a.test/keys"))];
    all.extend(values.iter().cloned());
    let policy = built(&mut Kept::default(), &all).unwrap();
    take_set(&*policy, keys).unwrap();
    policy
}

fn take(policy: &dyn Policy, data: impl AsRef<[u8]>) -> Result<(), FeedError> {
    policy.feeds()[0].take(data.as_ref())
}

fn take_set(policy: &dyn Policy, keys: &[Json]) -> Result<(), FeedError> {
    take(policy, json!({ "keys": keys }).to_string())
}

fn header(algorithm: &str) -> Json {
    json!({ "alg": algorithm, "kid": "key" })
}

fn alice() -> Json {
    json!({ "sub": "alice", "exp": NOW + 60 })
}

fn valid(algorithm: &str) -> String {
    token(algorithm, &header(algorithm), &alice())
}

/// What comes of a request: the user, or the code of the refusal.
fn outcome(policy: &dyn Policy, headers: &str, notes: &mut Notes) -> Result<Option<String>, &'static str> {
    let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    let mut request = request(&head);
    request.wall = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    match policy.check(&request, notes) {
        Decision::Continue => Ok(notes.user.as_deref().map(str::to_owned)),
        Decision::Refuse(refusal) => Err(refusal.code),
        Decision::Wait(job) => panic!("{job:?}"),
    }
}

fn with(policy: &dyn Policy, token: &str) -> Result<Option<String>, &'static str> {
    outcome(
        policy,
        &format!("Authorization: Bearer {token}\r\n"),
        &mut Notes::default(),
    )
}

fn is_alice(outcome: &Result<Option<String>, &'static str>) -> bool {
    *outcome == Ok(Some("alice".to_owned()))
}

/// The refusal of a request: its status and its challenge.
fn refusal(policy: &dyn Policy, headers: &str) -> (u16, String) {
    let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    let mut request = request(&head);
    request.wall = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    match policy.check(&request, &mut Notes::default()) {
        Decision::Refuse(refusal) => {
            let (_, value) = refusal.headers.first().unwrap();
            (refusal.status, String::from_utf8(value.to_vec()).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

fn public() -> impl Iterator<Item = &'static str> {
    algorithm::NAMES
        .iter()
        .copied()
        .filter(|name| !name.starts_with("HS"))
}

#[test]
fn tokens_of_every_algorithm_are_verified_with_keys_of_every_format() {
    let secret = built(
        &mut Kept::default(),
        &[
            ("secret_file", text("s")),
            ("algorithms", list(&["HS256", "HS384", "HS512"])),
        ],
    )
    .unwrap();
    take(&*secret, [SECRET, b"\r\n"].concat()).unwrap();
    for name in algorithm::NAMES {
        let policies: Vec<Box<dyn Policy>> = match name.starts_with("HS") {
            true => Vec::new(),
            false => {
                let values = [("public_key", text("k")), ("algorithms", list(&[name]))];
                let in_pem = built(&mut Kept::default(), &values).unwrap();
                take(&*in_pem, pem(name)).unwrap();
                vec![in_pem, with_set(&[jwk(name)], &[("algorithms", list(&[name]))])]
            }
        };
        let secret = name.starts_with("HS").then_some(&secret);
        for policy in policies.iter().chain(secret) {
            for _ in 0..2 {
                assert!(is_alice(&with(&**policy, &valid(name))), "{name}");
            }
            let token = valid(name);
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let other = token.replace(
                &encoded(alice().to_string()),
                &encoded(json!({ "sub": "root", "exp": NOW + 60 }).to_string()),
            );
            for wrong in [
                other,
                format!("{signed}."),
                format!("{signed}.{}", encoded([0; 64])),
                format!("{signed}.{}", signature.chars().rev().collect::<String>()),
                format!("{signed}.{}", encoded(sign("stranger", signed.as_bytes()))),
                format!("{signed}.{signature}AA"),
            ] {
                assert_eq!(with(&**policy, &wrong), Err("token_invalid"), "{name} {wrong}");
            }
        }
    }
}

#[test]
fn a_key_serves_only_algorithms_of_its_type() {
    let all: Vec<_> = public().collect();
    let type_of = |name: &str| match name {
        "ES256" | "ES384" | "ES512" => name.to_owned(),
        other => other[..1].to_owned(),
    };
    for key in ["RS256", "ES256", "ES384", "ES512", "EdDSA"] {
        let values = [("public_key", text("k")), ("algorithms", list(&all))];
        let in_pem = built(&mut Kept::default(), &values).unwrap();
        take(&*in_pem, pem(key)).unwrap();
        let in_set = with_set(&[jwk(key)], &[("algorithms", list(&all))]);
        for name in &all {
            let is_rsa = |name: &str| name.starts_with("RS") || name.starts_with("PS");
            let fits = type_of(key) == type_of(name) || (is_rsa(key) && is_rsa(name));
            for policy in [&in_pem, &in_set] {
                assert_eq!(
                    is_alice(&with(&**policy, &valid(name))),
                    fits,
                    "key {key}, token {name}"
                );
            }
        }
    }
}

#[test]
fn the_algorithm_of_a_key_and_of_the_config_bind() {
    let mut key = jwk("RS256");
    key["alg"] = json!("RS256");
    let policy = with_set(&[key.clone()], &[("algorithms", list(&["RS256", "PS256"]))]);
    assert!(is_alice(&with(&*policy, &valid("RS256"))));
    assert_eq!(with(&*policy, &valid("PS256")), Err("token_invalid"));
    let only_pss = with_set(&[jwk("RS256")], &[("algorithms", list(&["PS256"]))]);
    assert_eq!(with(&*only_pss, &valid("RS256")), Err("token_invalid"));
    assert!(is_alice(&with(&*only_pss, &valid("PS256"))));
    // The header says one thing, the signature is another.
    let mixed = token("PS256", &header("RS256"), &alice());
    assert_eq!(with(&*policy, &mixed), Err("token_invalid"));
}

#[test]
fn a_public_key_never_serves_as_a_secret() {
    let policy = with_set(&[jwk("RS256")], &[]);
    let modulus = jwk("RS256")["n"].as_str().unwrap().to_owned();
    let in_pem = built(&mut Kept::default(), &[("public_key", text("k"))]).unwrap();
    take(&*in_pem, pem("RS256")).unwrap();
    for secret in [
        pem("RS256").into_bytes(),
        pem("RS256").trim().into(),
        der("RS256"),
        modulus.into_bytes(),
        Vec::new(),
    ] {
        let signed = format!(
            "{}.{}",
            encoded(header("HS256").to_string()),
            encoded(alice().to_string())
        );
        let signature = mac(aws_lc_rs::hmac::HMAC_SHA256, &secret, signed.as_bytes());
        let token = format!("{signed}.{}", encoded(signature));
        assert_eq!(with(&*policy, &token), Err("token_invalid"));
        assert_eq!(with(&*in_pem, &token), Err("token_invalid"));
    }
}

#[test]
fn tokens_without_a_signature_are_refused() {
    let policy = with_set(&[jwk("RS256")], &[]);
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = format!(
            "{}.{}.",
            encoded(header(name).to_string()),
            encoded(alice().to_string())
        );
        assert_eq!(with(&*policy, &unsigned), Err("token_invalid"), "{name}");
        let signed = token("RS256", &header(name), &alice());
        assert_eq!(with(&*policy, &signed), Err("token_invalid"), "{name}");
    }
}

#[test]
fn a_key_in_the_token_is_not_followed() {
    let policy = with_set(&[jwk("EdDSA")], &[]);
    for header in [
        json!({ "alg": "EdDSA", "kid": "key", "jwk": jwk("stranger") }),
        json!({ "alg": "EdDSA", "jwk": jwk("stranger") }),
        json!({ "alg": "EdDSA", "kid": "key", "jku": "https://evil.test", "x5u": "https://evil.test" }),
    ] {
        assert_eq!(
            with(&*policy, &token("stranger", &header, &alice())),
            Err("token_invalid"),
            "{header}"
        );
        assert!(
            is_alice(&with(&*policy, &token("EdDSA", &header, &alice()))),
            "{header}"
        );
    }
}

#[test]
fn claims_decide_after_the_signature() {
    let policy = with_set(
        &[jwk("EdDSA")],
        &[
            ("issuer", text("https://a.test")),
            ("audience", text("api")),
            ("claims", map(&[("scope", "read")])),
        ],
    );
    let claims =
        json!({ "iss": "https://a.test", "aud": "api", "scope": "read", "sub": "alice", "exp": NOW + 60 });
    let changed = |name: &str, value: Json| {
        let mut claims = claims.clone();
        claims[name] = value;
        with(&*policy, &token("EdDSA", &header("EdDSA"), &claims))
    };
    assert!(is_alice(&changed("scope", json!("write read"))));
    assert!(is_alice(&changed("exp", json!(NOW - 29))));
    assert_eq!(changed("exp", json!(NOW - 30)), Err("token_expired"));
    assert_eq!(changed("exp", json!("never")), Err("token_invalid"));
    assert_eq!(changed("nbf", json!(NOW + 31)), Err("token_invalid"));
    assert_eq!(changed("iss", json!("https://b.test")), Err("token_invalid"));
    assert_eq!(changed("aud", json!("other")), Err("token_invalid"));
    assert_eq!(changed("scope", json!("write")), Err("insufficient_scope"));
    // Without a valid signature, no claim is looked at.
    let forged = token("stranger", &header("EdDSA"), &json!({ "exp": 0 }));
    assert_eq!(with(&*policy, &forged), Err("token_invalid"));
}

#[test]
fn challenges_say_what_is_wrong() {
    let policy = with_set(&[jwk("EdDSA")], &[("claims", map(&[("scope", "read")]))]);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let signed = |claims: &Json| bearer(&token("EdDSA", &header("EdDSA"), claims));
    assert_eq!(
        refusal(&*policy, ""),
        (401, "Bearer realm=\"restricted\"".to_owned())
    );
    for (headers, status, challenge) in [
        (
            bearer("x"),
            401,
            "Bearer error=\"invalid_token\", error_description=\"the token does not have three parts\"",
        ),
        (
            signed(&json!({ "exp": 0 })),
            401,
            "Bearer error=\"invalid_token\", error_description=\"the token has expired\"",
        ),
        (
            signed(&alice()),
            403,
            "Bearer error=\"insufficient_scope\", error_description=\"the claim scope does not have the required value\", scope=\"read\"",
        ),
    ] {
        assert_eq!(refusal(&*policy, &headers), (status, challenge.to_owned()));
    }
}

#[test]
fn requests_with_two_tokens_or_a_huge_one_are_refused() {
    let policy = with_set(&[jwk("EdDSA")], &[]);
    let line = format!("Authorization: Bearer {}\r\n", valid("EdDSA"));
    let mut notes = Notes::default();
    for headers in [
        format!("{line}{line}"),
        format!("Authorization: Basic eA==\r\n{line}"),
    ] {
        assert_eq!(
            outcome(&*policy, &headers, &mut notes),
            Err("token_invalid"),
            "{headers}"
        );
    }
    assert!(is_alice(&outcome(
        &*policy,
        &line.replace("Bearer", "bEARER"),
        &mut notes
    )));
    let padded = |length: usize| {
        let claims = json!({ "sub": "alice", "exp": NOW + 60, "x": "y".repeat(length) });
        with(&*policy, &token("EdDSA", &header("EdDSA"), &claims))
    };
    assert!(is_alice(&padded(5_500)));
    assert_eq!(padded(6_200), Err("token_invalid"));
}

#[test]
fn client_copies_are_removed_and_claims_forwarded() {
    let values = [
        ("forward", map(&[("X-User", "sub"), ("X-Mail", "mail")])),
        ("required", Value::Flag(false)),
    ];
    let policy = with_set(&[jwk("EdDSA")], &values);
    let remove = |name: &str| Edit::Remove(name.into());
    let mut notes = Notes::default();
    assert_eq!(
        outcome(&*policy, "X_USER: root\r\nX-Mail: root\r\n", &mut notes),
        Ok(None)
    );
    assert_eq!(
        notes.request_headers,
        [remove("X_USER"), remove("X-User"), remove("X-Mail")]
    );
    for _ in 0..2 {
        let mut notes = Notes::default();
        let line = format!("Authorization: Bearer {}\r\n", valid("EdDSA"));
        assert!(is_alice(&outcome(&*policy, &line, &mut notes)));
        let set = Edit::Set("X-User".into(), b"alice"[..].into());
        assert_eq!(notes.request_headers, [set, remove("X-Mail")]);
        assert_eq!(notes.claim("sub"), Some(&b"alice"[..]));
        assert_eq!(notes.claim("exp"), Some(format!("{}", NOW + 60).as_bytes()));
        assert_eq!(notes.claim("mail"), None);
    }
    let hostile = json!({ "sub": "alice", "exp": NOW + 60, "mail": "a\r\nX-Admin: 1" });
    let line = format!(
        "Authorization: Bearer {}\r\n",
        token("EdDSA", &header("EdDSA"), &hostile)
    );
    assert_eq!(
        outcome(&*policy, &line, &mut Notes::default()),
        Err("token_invalid")
    );
}

#[test]
fn without_a_token_a_request_passes_only_where_none_is_required() {
    let optional = with_set(&[jwk("EdDSA")], &[("required", Value::Flag(false))]);
    let required = with_set(&[jwk("EdDSA")], &[]);
    for headers in ["", "Authorization: Basic eDp5\r\n"] {
        assert_eq!(outcome(&*optional, headers, &mut Notes::default()), Ok(None));
        assert_eq!(
            outcome(&*required, headers, &mut Notes::default()),
            Err("token_missing")
        );
    }
    assert_eq!(with(&*optional, "x"), Err("token_invalid"));
}

#[test]
fn config_errors_name_the_key() {
    let key = |values: &[(&'static str, Value)]| built(&mut Kept::default(), values).unwrap_err().key;
    let jwks = || ("jwks", text("https://a.test/keys"));
    assert_eq!(key(&[]), None);
    assert_eq!(key(&[jwks(), ("public_key", text("k"))]), None);
    for source in ["", "a.json", "file:", "ftp://a/", "https://u:p@a/"] {
        assert_eq!(key(&[("jwks", text(source))]), Some("jwks"), "{source}");
    }
    assert_eq!(
        key(&[jwks(), ("algorithms", list(&["RS256", "HS256"]))]),
        Some("algorithms")
    );
    assert_eq!(key(&[jwks(), ("algorithms", list(&[]))]), Some("algorithms"));
    let secret = ("secret_file", text("s"));
    assert_eq!(
        key(&[secret, ("algorithms", list(&["HS256", "RS256"]))]),
        Some("algorithms")
    );
    assert_eq!(key(&[jwks(), ("from", text("body"))]), Some("from"));
    assert_eq!(
        key(&[jwks(), ("forward", map(&[("Host", "sub")]))]),
        Some("forward")
    );
    assert_eq!(
        key(&[jwks(), ("forward", map(&[("X-A", "sub"), ("x-a", "iss")]))]),
        Some("forward")
    );
}

#[test]
fn the_audience_is_checked_unless_any_is_accepted() {
    let claims = json!({ "sub": "alice", "exp": NOW + 60, "aud": ["x", "api"] });
    let signed = token("EdDSA", &header("EdDSA"), &claims);
    let texts = |names: &[&str]| Value::List(names.iter().map(|name| text(name)).collect());
    for (audience, expected) in [
        (None, false),
        (Some(Value::Word("any")), true),
        (Some(text("api")), true),
        (Some(texts(&["web", "api"])), true),
        (Some(texts(&["web"])), false),
        (Some(text("ap")), false),
    ] {
        let values: Vec<_> = audience.iter().map(|value| ("audience", value.clone())).collect();
        let policy = with_set(&[jwk("EdDSA")], &values);
        assert_eq!(is_alice(&with(&*policy, &signed)), expected, "{audience:?}");
    }
}
