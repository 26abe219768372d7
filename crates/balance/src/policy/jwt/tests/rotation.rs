//! Keys that are missing, unknown, replaced, removed and broken.

use super::*;

#[test]
fn without_keys_the_policy_is_unavailable_and_asks_for_them() {
    let policy = built(&mut Kept::default(), &[("jwks", text("https://a.test/keys"))]).unwrap();
    let feeds = policy.feeds();
    let interval = Duration::from_secs(300);
    assert_eq!(
        feeds[0].source,
        Source::Url {
            url: "https://a.test/keys".to_owned(),
            interval,
            ca: None,
        }
    );
    assert_eq!(with(&*policy, &valid("EdDSA")), Err("jwks_unavailable"));
    assert!(feeds[0].is_wanted() && !feeds[0].is_wanted());
    take_set(&*policy, &[jwk("EdDSA")]).unwrap();
    assert!(is_alice(&with(&*policy, &valid("EdDSA"))));
    assert!(!feeds[0].is_wanted());
}

#[test]
fn an_unknown_key_is_refused_and_asked_for() {
    let policy = with_set(&[jwk("EdDSA")], &[]);
    let unknown = token("EdDSA", &json!({ "alg": "EdDSA", "kid": "new" }), &alice());
    assert_eq!(with(&*policy, &unknown), Err("token_invalid"));
    assert!(policy.feeds()[0].is_wanted());
    let mut key = jwk("EdDSA");
    key["kid"] = json!("new");
    take_set(&*policy, &[jwk("EdDSA"), key]).unwrap();
    assert!(is_alice(&with(&*policy, &unknown)));
    assert_eq!(with(&*policy, "x"), Err("token_invalid"));
    assert!(!policy.feeds()[0].is_wanted(), "a broken token asks for nothing");
}

#[test]
fn a_token_without_a_key_id_is_tried_with_a_few_keys() {
    let numbered = |count: usize| {
        let key = |index| {
            let mut key = jwk("stranger");
            key["kid"] = json!(format!("{index}"));
            key
        };
        let mut keys: Vec<_> = (1..count).map(key).collect();
        keys.push(jwk("EdDSA"));
        with_set(&keys, &[])
    };
    let anonymous = token("EdDSA", &json!({ "alg": "EdDSA" }), &alice());
    assert!(is_alice(&with(&*numbered(4), &anonymous)));
    assert_eq!(with(&*numbered(5), &anonymous), Err("token_invalid"));
    assert!(is_alice(&with(&*numbered(100), &valid("EdDSA"))));
}

#[test]
fn a_removed_key_ends_what_it_verified() {
    let mut other = jwk("RS256");
    other["kid"] = json!("other");
    let policy = with_set(&[jwk("EdDSA"), other.clone()], &[]);
    assert!(is_alice(&with(&*policy, &valid("EdDSA"))));
    take_set(&*policy, &[other.clone()]).unwrap();
    assert_eq!(with(&*policy, &valid("EdDSA")), Err("token_invalid"));
    // The same id with another key is another key.
    take_set(&*policy, &[jwk("EdDSA"), other.clone()]).unwrap();
    assert!(is_alice(&with(&*policy, &valid("EdDSA"))));
    take_set(&*policy, &[jwk("stranger"), other]).unwrap();
    assert_eq!(with(&*policy, &valid("EdDSA")), Err("token_invalid"));
}

#[test]
fn a_remembered_token_expires() {
    let policy = with_set(&[jwk("EdDSA")], &[]);
    let head = head(&format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
        valid("EdDSA")
    ));
    for (second, expected) in [(0, true), (89, true), (90, false), (91, false), (0, true)] {
        let mut request = request(&head);
        request.wall = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + second);
        let decision = policy.check(&request, &mut Notes::default());
        assert_eq!(matches!(decision, Decision::Continue), expected, "{second}");
    }
}

#[test]
fn broken_sets_keep_the_previous_keys() {
    let policy = with_set(&[jwk("EdDSA")], &[]);
    let weak = json!({ "kty": "EC", "crv": "P-256", "x": encoded([1; 32]), "y": encoded([1; 32]) });
    let of_purpose = |name: &str, value: Json| {
        let mut key = jwk("EdDSA");
        key[name] = value;
        key
    };
    let set = |keys: Json| json!({ "keys": keys }).to_string();
    let broken = [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "{\"keys\":1}".to_owned(),
        set(json!([])),
        set(json!([1, null, {}])),
        set(json!([weak])),
        set(json!([{ "kty": "oct", "k": encoded(SECRET), "kid": "key" }])),
        set(json!([of_purpose("use", json!("enc"))])),
        set(json!([of_purpose("key_ops", json!(["sign"]))])),
        set(json!([of_purpose("alg", json!("RS256"))])),
        set(json!([of_purpose("x", json!("AAAA"))])),
        set(json!(vec![jwk("EdDSA"); 101])),
        format!("{}{}", set(json!([jwk("EdDSA")])), " ".repeat(KEYS_SIZE)),
    ];
    for data in broken {
        assert!(take(&*policy, &data).is_err(), "{data}");
        assert!(is_alice(&with(&*policy, &valid("EdDSA"))));
    }
    take_set(
        &*policy,
        &[
            of_purpose("use", json!("sig")),
            of_purpose("key_ops", json!(["verify"])),
        ],
    )
    .unwrap();
}

#[test]
fn broken_files_keep_the_previous_keys() {
    let in_pem = built(&mut Kept::default(), &[("public_key", text("k"))]).unwrap();
    let secret = built(&mut Kept::default(), &[("secret_file", text("k"))]).unwrap();
    assert_eq!(in_pem.feeds()[0].source, Source::File("k".to_owned()));
    take(&*in_pem, pem("EdDSA")).unwrap();
    for data in [
        "",
        "x",
        &pem("EdDSA").replace("PUBLIC", "PRIVATE"),
        &pem("ES512"),
        &pem("EdDSA").replace("END", "BEGIN"),
    ] {
        assert!(take(&*in_pem, data).is_err(), "{data}");
    }
    assert!(is_alice(&with(&*in_pem, &valid("EdDSA"))));
    let error = take(&*secret, "short secret\n").unwrap_err();
    assert_eq!(error.0, "the secret is too short: HS256 requires 32 bytes");
    take(&*secret, SECRET).unwrap();
    assert!(is_alice(&with(&*secret, &valid("HS256"))));
}

#[test]
fn keys_outlive_a_reload_and_remembered_tokens_do_not() {
    let mut kept = Kept::default();
    let source = ("jwks", text("file:keys.json"));
    let before = built(&mut kept, std::slice::from_ref(&source)).unwrap();
    assert_eq!(before.feeds()[0].source, Source::File("keys.json".to_owned()));
    take_set(&*before, &[jwk("EdDSA")]).unwrap();
    assert!(is_alice(&with(&*before, &valid("EdDSA"))));
    let stricter = built(&mut kept, &[source.clone(), ("issuer", text("https://a.test"))]).unwrap();
    assert_eq!(with(&*stricter, &valid("EdDSA")), Err("token_invalid"));
    let again = built(&mut kept, &[source]).unwrap();
    assert!(is_alice(&with(&*again, &valid("EdDSA"))));
    let elsewhere = built(&mut kept, &[("jwks", text("file:other.json"))]).unwrap();
    assert_eq!(with(&*elsewhere, &valid("EdDSA")), Err("jwks_unavailable"));
}
