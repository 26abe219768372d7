//! Issuers for tests: keys of every type, their public parts, and tokens that they sign.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A secret that is long enough for every algorithm.
pub(super) const SECRET: &[u8] = b"a secret of sixty-four bytes, which is as long as HS512 requires!";

static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
static P384: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());
static P521: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&signature::ECDSA_P521_SHA512_FIXED_SIGNING).unwrap());
static ED: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());
/// A key that no set contains.
static STRANGER: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

/// Encodes as tokens do.
pub(super) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with this header and these claims, signed with the key that `by` names: an algorithm, or `stranger`.
pub(super) fn token(by: &str, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
    format!("{signed}.{}", encoded(sign(by, signed.as_bytes())))
}

/// Signs a message with the key that `by` names.
pub(super) fn sign(by: &str, message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let rsa = |padding: &'static dyn signature::RsaEncoding| {
        let mut signed = vec![0; RSA.public_modulus_len()];
        RSA.sign(padding, &random, message, &mut signed).unwrap();
        signed
    };
    let curve = |key: &EcdsaKeyPair| key.sign(&random, message).unwrap().as_ref().to_vec();
    match by {
        "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
        "PS256" => rsa(&signature::RSA_PSS_SHA256),
        "PS384" => rsa(&signature::RSA_PSS_SHA384),
        "PS512" => rsa(&signature::RSA_PSS_SHA512),
        "ES256" => curve(&P256),
        "ES384" => curve(&P384),
        "ES512" => curve(&P521),
        "EdDSA" | "Ed25519" => ED.sign(message).as_ref().to_vec(),
        "stranger" => STRANGER.sign(message).as_ref().to_vec(),
        "HS256" => mac(hmac::HMAC_SHA256, SECRET, message),
        "HS384" => mac(hmac::HMAC_SHA384, SECRET, message),
        "HS512" => mac(hmac::HMAC_SHA512, SECRET, message),
        other => panic!("{other}"),
    }
}

/// Signs a message with a secret.
pub(super) fn mac(hash: hmac::Algorithm, secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hash, secret), message)
        .as_ref()
        .to_vec()
}

/// The public key for an algorithm as a member of a set, with the id `key`.
pub(super) fn jwk(by: &str) -> Value {
    let curve = |key: &EcdsaKeyPair, name: &str| {
        let point = key.public_key().as_ref();
        let (x, y) = point[1..].split_at(point.len() / 2);
        json!({ "kty": "EC", "crv": name, "x": encoded(x), "y": encoded(y), "kid": "key" })
    };
    match by {
        "ES256" => curve(&P256, "P-256"),
        "ES384" => curve(&P384, "P-384"),
        "ES512" => curve(&P521, "P-521"),
        "EdDSA" | "Ed25519" => {
            json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(ED.public_key()), "kid": "key" })
        }
        "stranger" => {
            json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(STRANGER.public_key()), "kid": "key" })
        }
        _ => {
            // `RSAPublicKey` (RFC 8017 §A.1.1) of 2048 bits: two integers in a sequence.
            let der = RSA.public_key().as_ref();
            let (n, e) = (&der[9..265], &der[267..]);
            json!({ "kty": "RSA", "n": encoded(n), "e": encoded(e), "kid": "key" })
        }
    }
}

/// The public key for an algorithm in DER.
pub(super) fn der(by: &str) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = match by {
        "ES256" => P256.public_key().as_der(),
        "ES384" => P384.public_key().as_der(),
        "ES512" => P521.public_key().as_der(),
        "EdDSA" | "Ed25519" => ED.public_key().as_der(),
        "stranger" => STRANGER.public_key().as_der(),
        _ => RSA.public_key().as_der(),
    }
    .unwrap();
    der.as_ref().to_vec()
}

/// The same in PEM.
pub(super) fn pem(by: &str) -> String {
    let text = STANDARD.encode(der(by));
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}
