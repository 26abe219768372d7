//! Reads a token: a JSON Web Signature in its compact form (RFC 7515 §7.1). Nothing in it is believed before its signature is
//! verified, and nothing in its header is followed: `jwk`, `jku`, `x5c` and `x5u` are ignored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;

/// Maximum size of a token in bytes.
const SIZE: usize = 8 << 10;

/// A token that has not been verified.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// The algorithm that it claims to be signed with.
    pub(super) algorithm: &'static Algorithm,
    /// The id of its key.
    pub(super) key_id: Option<Box<str>>,
    /// The bytes that are signed.
    pub(super) signed: &'a [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
    payload: &'a [u8],
}

/// Why a token is refused. The descriptions are sent to the client and contain nothing of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rejected {
    /// It is not valid.
    Invalid(&'static str),
    /// It has expired.
    Expired,
    /// It is valid, but lacks the required value of this claim.
    Insufficient {
        /// The name of the claim.
        claim: Box<str>,
        /// The required value.
        value: Box<str>,
    },
}

impl<'a> Token<'a> {
    /// Reads the header of a token.
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, Rejected> {
        if token.len() > SIZE {
            return Err(Rejected::Invalid("the token is too long"));
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Rejected::Invalid("the token does not have three parts"));
        };
        let signed = token.get(..header.len() + 1 + payload.len()).unwrap_or_default();
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| Rejected::Invalid("the signature is not valid Base64url"))?;
        let header = object(header)?;
        // Extensions that a reader must understand (RFC 7515 §4.1.11). This one understands none.
        if header.contains_key("crit") {
            return Err(Rejected::Invalid("the token requires an extension"));
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.as_str().into()),
            Some(_) => return Err(Rejected::Invalid("the key id is not a string")),
        };
        let name = header.get("alg").and_then(Value::as_str);
        let algorithm = name
            .and_then(Algorithm::by_name)
            .ok_or(Rejected::Invalid("the algorithm is not supported"))?;
        Ok(Self {
            algorithm,
            key_id,
            signed,
            signature,
            payload,
        })
    }

    /// The claims. To be called once the signature is verified.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Rejected> {
        object(self.payload)
    }
}

fn object(encoded: &[u8]) -> Result<Map<String, Value>, Rejected> {
    let json = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| Rejected::Invalid("the token is not valid Base64url"))?;
    match serde_json::from_slice(&json) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Rejected::Invalid("the token is not valid JSON")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str) -> String {
        format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header))
    }

    fn parsed(token: &str) -> Result<(&'static str, Option<Box<str>>), &'static str> {
        match Token::parse(token.as_bytes()) {
            Ok(token) => Ok((token.algorithm.name, token.key_id)),
            Err(Rejected::Invalid(why)) => Err(why),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_the_algorithm_and_the_key() {
        let text = token(r#"{"alg":"RS256","kid":"k","jku":"https://evil.test","jwk":{}}"#);
        assert_eq!(parsed(&text), Ok(("RS256", Some("k".into()))));
        assert_eq!(parsed(&token(r#"{"alg":"EdDSA"}"#)), Ok(("EdDSA", None)));
        let token = Token::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (token.signature.as_slice(), token.signed),
            (&b"sig"[..], &text.as_bytes()[..text.len() - 5])
        );
        assert!(token.claims().unwrap().is_empty());
    }

    #[test]
    fn hostile_headers_are_refused() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"RS256","crit":["exp"]}"#,
            r#"{"alg":"RS256","crit":[]}"#,
            r#"{"alg":"RS256","kid":1}"#,
            r#"{"alg":"RS256"} x"#,
            r#"["RS256"]"#,
            "{}",
            "",
            "\u{feff}{\"alg\":\"RS256\"}",
        ] {
            assert!(parsed(&token(header)).is_err(), "{header}");
        }
        let deep = format!("{{\"alg\":{}", "[".repeat(5_000));
        assert!(parsed(&token(&deep)).is_err());
    }

    #[test]
    fn tokens_of_another_shape_are_refused() {
        let valid = token(r#"{"alg":"RS256"}"#);
        for text in [
            "",
            ".",
            "..",
            "...",
            "a.b",
            &format!("{valid}.x.y"),
            &format!("{valid}="),
            &format!("{valid} "),
            &valid.replace('.', ""),
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        let long = format!("{valid}{}", "A".repeat(SIZE));
        assert_eq!(parsed(&long), Err("the token is too long"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Token::parse(&bytes);
        }
    }
}
