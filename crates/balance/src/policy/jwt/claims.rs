//! Checks the claims of a token whose signature is verified (RFC 7519 §4.1), and takes from them what requests need.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::token::Rejected;
use crate::policy::Claim;
use crate::policy::identity::is_header_value;

/// What a token must say.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Accepted issuers; empty when the issuer is not checked.
    pub(super) issuers: Vec<Box<str>>,
    /// Accepted audiences; `None` when the audience is not checked. Empty for tokens without an audience.
    pub(super) audiences: Option<Vec<Box<str>>>,
    /// Maximum difference of the clocks, in milliseconds.
    pub(super) leeway: u64,
    /// Whether a token must expire.
    pub(super) requires_expiry: bool,
    /// Required values by claim.
    pub(super) required: Vec<(Box<str>, Box<str>)>,
    /// Names of the claims that are sent to the backend.
    pub(super) forwarded: Vec<Box<str>>,
}

/// What a valid token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The subject.
    pub(super) user: Option<Arc<str>>,
    /// All claims that have a text.
    pub(super) claims: Arc<[Claim]>,
    /// The values of the forwarded claims, in the order of the rules.
    pub(super) forwarded: Vec<Option<Box<[u8]>>>,
    /// When it expires, in milliseconds since the Unix epoch, leeway included.
    pub(super) expires: u64,
}

impl Rules {
    /// Checks the claims at this time, in milliseconds since the Unix epoch.
    pub(super) fn check(&self, claims: &Map<String, Value>, now: u64) -> Result<Accepted, Rejected> {
        let expires = self.check_times(claims, now)?;
        self.check_issuer(claims)?;
        self.check_audience(claims)?;
        for (claim, value) in &self.required {
            if !claims
                .get(&**claim)
                .is_some_and(|found| has_value(claim, found, value))
            {
                return Err(Rejected::Insufficient {
                    claim: claim.clone(),
                    value: value.clone(),
                });
            }
        }
        let user = match claims.get("sub") {
            None => None,
            Some(Value::String(user)) if !is_header_value(user.as_bytes()) => {
                return Err(Rejected::Invalid("the subject cannot be sent in a header"));
            }
            Some(Value::String(user)) => (!user.is_empty()).then(|| user.as_str().into()),
            Some(_) => return Err(Rejected::Invalid("the subject is not a string")),
        };
        let forwarded = self.forwarded.iter().map(|name| match claims.get(&**name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match text(value) {
                Some(text) => Ok((!text.is_empty()).then(|| text.into_bytes().into())),
                None => Err(Rejected::Invalid("a claim cannot be sent in a header")),
            },
        });
        let forwarded = forwarded.collect::<Result<_, _>>()?;
        let texts = claims.iter().filter_map(|(name, value)| {
            let text: Box<[u8]> = text(value)?.into_bytes().into();
            Some((name.as_str().into(), text))
        });
        Ok(Accepted {
            user,
            claims: texts.collect(),
            forwarded,
            expires,
        })
    }

    /// Checks `exp`, `nbf` and `iat`, and returns when the token expires.
    fn check_times(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, Rejected> {
        let expires = match time(claims, "exp")? {
            Some(expires) => expires.saturating_add(self.leeway),
            None if self.requires_expiry => return Err(Rejected::Invalid("the token does not expire")),
            None => u64::MAX,
        };
        if now >= expires {
            return Err(Rejected::Expired);
        }
        let latest = now.saturating_add(self.leeway);
        if time(claims, "nbf")?.is_some_and(|begins| begins > latest) {
            return Err(Rejected::Invalid("the token is not valid yet"));
        }
        if time(claims, "iat")?.is_some_and(|issued| issued > latest) {
            return Err(Rejected::Invalid("the token was issued in the future"));
        }
        Ok(expires)
    }

    fn check_issuer(&self, claims: &Map<String, Value>) -> Result<(), Rejected> {
        let issuer = claims.get("iss").and_then(Value::as_str);
        let is_accepted = self.issuers.iter().any(|accepted| Some(&**accepted) == issuer);
        match self.issuers.is_empty() || is_accepted {
            true => Ok(()),
            false => Err(Rejected::Invalid("the issuer is not accepted")),
        }
    }

    /// A token for an audience must be refused by who is not part of it (RFC 7519 §4.1.3), also where none is configured.
    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), Rejected> {
        let Some(accepted) = &self.audiences else {
            return Ok(());
        };
        let is_accepted = |audience: &Value| {
            let audience = audience.as_str();
            accepted.iter().any(|accepted| Some(&**accepted) == audience)
        };
        let is_accepted = match claims.get("aud") {
            None => accepted.is_empty(),
            Some(Value::Array(audiences)) => audiences.iter().any(is_accepted),
            Some(audience) => is_accepted(audience),
        };
        match is_accepted {
            true => Ok(()),
            false => Err(Rejected::Invalid("the audience is not accepted")),
        }
    }
}

/// A time in milliseconds since the Unix epoch. Times before it count as the epoch; fractions are allowed (RFC 7519 §2).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Rejected> {
    match claims.get(name) {
        None => Ok(None),
        // The conversion saturates at both ends.
        Some(Value::Number(seconds)) => match seconds.as_f64() {
            Some(seconds) => Ok(Some((seconds * 1_000.0) as u64)),
            None => Err(Rejected::Invalid("a time is not a number")),
        },
        Some(_) => Err(Rejected::Invalid("a time is not a number")),
    }
}

/// Whether a claim has the required value: all words of a `scope`, one item of a list, or the whole value.
fn has_value(claim: &str, found: &Value, required: &str) -> bool {
    match found {
        Value::Array(items) => match claim {
            // Some issuers write the scope as a list.
            "scope" | "scp" => words(required).all(|word| items.iter().any(|item| item == word)),
            _ => items
                .iter()
                .any(|item| scalar(item).is_some_and(|text| text == required)),
        },
        Value::String(text) if matches!(claim, "scope" | "scp") => {
            words(required).all(|word| words(text).any(|other| other == word))
        }
        value => scalar(value).is_some_and(|text| text == required),
    }
}

/// The words of a scope (RFC 6749 §3.3).
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// The text of a value: items of a list are joined with commas. `None` when it has none, cannot be sent in a header, or could be
/// mistaken for another list.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Array(items) => {
            let texts: Option<Vec<String>> = items.iter().map(scalar).collect();
            let texts = texts?;
            if texts
                .iter()
                .any(|text| text.contains(',') || !is_header_value(text.as_bytes()))
            {
                return None;
            }
            texts.join(",")
        }
        value => scalar(value)?,
    };
    is_header_value(text.as_bytes()).then_some(text)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The time of every check: half a second after this second.
    const NOW: u64 = 1_000_000;

    fn rules() -> Rules {
        Rules {
            leeway: 30_000,
            requires_expiry: true,
            audiences: Some(Vec::new()),
            ..Rules::default()
        }
    }

    fn check(rules: &Rules, claims: Value) -> Result<Accepted, Rejected> {
        let Value::Object(mut claims) = claims else {
            panic!("not an object");
        };
        claims.entry("exp").or_insert(json!(NOW + 60));
        claims.retain(|_, value| *value != "absent");
        rules.check(&claims, NOW * 1_000 + 500)
    }

    fn invalid(why: &'static str) -> Result<Accepted, Rejected> {
        Err(Rejected::Invalid(why))
    }

    #[test]
    fn times_are_checked_with_leeway_at_their_edges() {
        let rules = rules();
        // The clock shows half a second past the full second.
        for (exp, is_valid) in [
            (json!(NOW - 29), true),
            (json!(NOW - 30), false),
            (json!(NOW as f64 - 29.5), false),
            (json!(NOW as f64 - 29.499), true),
            (json!(1e300), true),
            (json!(-1), false),
            (json!(0), false),
        ] {
            let result = check(&rules, json!({ "exp": exp }));
            assert_eq!(result.is_ok(), is_valid, "exp {exp}");
            assert!(is_valid || result == Err(Rejected::Expired), "exp {exp}");
        }
        for (name, why) in [
            ("nbf", "the token is not valid yet"),
            ("iat", "the token was issued in the future"),
        ] {
            for time in [0, NOW, NOW + 30] {
                assert!(check(&rules, json!({ name: time })).is_ok(), "{name} {time}");
            }
            assert_eq!(check(&rules, json!({ name: NOW + 31 })), invalid(why));
        }
        for name in ["exp", "nbf", "iat"] {
            for wrong in [json!("1000060"), json!(null), json!([1]), json!({}), json!(true)] {
                let result = check(&rules, json!({ name: wrong }));
                assert_eq!(result, invalid("a time is not a number"), "{name} {wrong}");
            }
        }
    }

    #[test]
    fn a_token_must_expire_unless_it_need_not() {
        let claims = json!({ "exp": "absent" });
        assert_eq!(
            check(&rules(), claims.clone()),
            invalid("the token does not expire")
        );
        let lasting = Rules {
            requires_expiry: false,
            ..rules()
        };
        assert_eq!(check(&lasting, claims).unwrap().expires, u64::MAX);
        assert_eq!(
            check(&lasting, json!({ "exp": NOW - 60 })),
            Err(Rejected::Expired)
        );
        assert_eq!(check(&lasting, json!({})).unwrap().expires, (NOW + 90) * 1_000);
    }

    #[test]
    fn issuer_and_audience_are_compared_exactly() {
        let rules = Rules {
            issuers: vec!["https://a.test".into(), "https://b.test".into()],
            audiences: Some(vec!["api".into(), "web".into()]),
            ..rules()
        };
        for (claims, is_valid) in [
            (json!({ "iss": "https://a.test", "aud": "api" }), true),
            (json!({ "iss": "https://b.test", "aud": ["x", "web"] }), true),
            (json!({ "iss": "https://a.test/", "aud": "api" }), false),
            (json!({ "iss": "https://A.test", "aud": "api" }), false),
            (json!({ "iss": ["https://a.test"], "aud": "api" }), false),
            (json!({ "aud": "api" }), false),
            (json!({ "iss": "https://a.test" }), false),
            (json!({ "iss": "https://a.test", "aud": "other" }), false),
            (json!({ "iss": "https://a.test", "aud": [] }), false),
            (json!({ "iss": "https://a.test", "aud": [["api"]] }), false),
            (json!({ "iss": "https://a.test", "aud": { "api": true } }), false),
        ] {
            assert_eq!(check(&rules, claims.clone()).is_ok(), is_valid, "{claims}");
        }
    }

    #[test]
    fn a_token_for_an_audience_is_refused_where_none_is_configured() {
        let why = "the audience is not accepted";
        assert!(check(&rules(), json!({})).is_ok());
        assert_eq!(check(&rules(), json!({ "aud": "api" })), invalid(why));
        let any = Rules {
            audiences: None,
            ..rules()
        };
        assert!(check(&any, json!({ "aud": "api" })).is_ok());
    }

    #[test]
    fn required_claims_are_words_items_or_whole_values() {
        let has = |name: &str, required: &str, value: Value| {
            let rules = Rules {
                required: vec![(name.into(), required.into())],
                ..rules()
            };
            match check(&rules, json!({ name: value })) {
                Ok(_) => true,
                Err(Rejected::Insufficient { claim, value }) => {
                    assert_eq!((&*claim, &*value), (name, required));
                    false
                }
                Err(other) => panic!("{other:?}"),
            }
        };
        assert!(has("scope", "read", json!("write read")));
        assert!(has("scope", "read write", json!("write x read")));
        assert!(has("scope", "read", json!(["read"])));
        assert!(has("role", "admin", json!("admin")));
        assert!(has("role", "admin", json!(["user", "admin"])));
        assert!(has("level", "3", json!(3)) && has("staff", "true", json!(true)));
        assert!(!has("scope", "read", json!("readwrite")));
        assert!(!has("scope", "read", json!("Read")));
        assert!(!has("scope", "read write", json!("read")));
        assert!(!has("role", "admin", json!("user admin")));
        assert!(!has("role", "admin", json!({ "admin": true })));
        assert!(!has("role", "admin", json!(null)));
        assert!(!has("role", "admin", json!("absent")));
    }

    #[test]
    fn claims_become_texts() {
        let rules = Rules {
            forwarded: vec!["groups".into(), "mail".into(), "none".into()],
            ..rules()
        };
        let claims = json!({
            "exp": NOW + 60, "sub": "alice", "groups": ["a", "b"], "mail": "jürgen@a.test", "n": 1.5, "f": true, "o": {},
            "none": null, "lines": "a\nb",
        });
        let accepted = check(&rules, claims).unwrap();
        assert_eq!(accepted.user.as_deref(), Some("alice"));
        let texts: Vec<_> = accepted
            .forwarded
            .iter()
            .map(|text| text.as_deref().map(String::from_utf8_lossy))
            .collect();
        assert_eq!(texts, [Some("a,b".into()), Some("jürgen@a.test".into()), None]);
        let names: Vec<_> = accepted.claims.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["exp", "f", "groups", "mail", "n", "sub"]);
    }

    #[test]
    fn what_cannot_be_sent_in_a_header_refuses_the_token() {
        let rules = Rules {
            forwarded: vec!["g".into()],
            ..rules()
        };
        for value in [
            json!("a\r\nX-Admin: 1"),
            json!("a\n"),
            json!("\0"),
            json!(" a"),
            json!(["a\nb"]),
            json!(["a,b", "c"]),
            json!([["a"]]),
            json!({ "a": 1 }),
        ] {
            let result = check(&rules, json!({ "g": value }));
            assert_eq!(result, invalid("a claim cannot be sent in a header"), "{value}");
        }
        for subject in [json!("a\nb"), json!("a "), json!(1), json!(null)] {
            assert!(check(&rules, json!({ "sub": subject })).is_err(), "{subject}");
        }
        assert_eq!(check(&rules, json!({ "sub": "" })).unwrap().user, None);
    }
}
