//! The keys that verify tokens: a JSON Web Key Set (RFC 7517), public keys in PEM, or a secret.
//!
//! A key is parsed for each configured algorithm that it fits, so that a token cannot make a key serve another purpose.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, Family};
use crate::policy::FeedError;
use crate::policy::verified::{Digest, sha256};

/// Maximum number of keys of a set.
const KEYS: usize = 100;
/// Maximum number of keys that are tried for one token: keys of one id, or of none.
const TRIED: usize = 4;

/// What a file or a response with keys contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Format {
    /// A JSON Web Key Set.
    Jwks,
    /// Public keys in PEM.
    Pem,
    /// A secret.
    Secret,
}

/// The current keys of a policy. They outlive reloads.
pub(super) struct Keys {
    current: ArcSwapOption<KeySet>,
    /// Whether a token names a key that is not there.
    pub(super) wanted: Arc<AtomicBool>,
    /// Held while keys are replaced, so that no generation is left out.
    replacing: Mutex<()>,
}

/// Keys that belong together.
pub(super) struct KeySet {
    keys: Vec<VerifyingKey>,
    /// Changes whenever a key is no longer there: what its signatures proved is then forgotten.
    pub(super) generation: u64,
    /// Whether tokens choose a key by its id. Keys in PEM and secrets have none.
    has_ids: bool,
}

/// A key, for each of the algorithms that may use it.
pub(super) struct VerifyingKey {
    id: Option<Box<str>>,
    /// Finds out whether a later set has the same key.
    digest: Digest,
    verifiers: Vec<(&'static str, Verifier)>,
}

enum Verifier {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

/// Why no key verifies a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotVerified {
    /// No key has this id.
    UnknownKey,
    /// The keys with this id are not for this algorithm.
    WrongKey,
    /// More keys without an id fit than are tried.
    Ambiguous,
    /// The signature is wrong.
    Signature,
}

impl Keys {
    /// No keys yet.
    pub(super) fn new() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            wanted: Arc::new(AtomicBool::new(false)),
            replacing: Mutex::new(()),
        }
    }

    /// The current keys; `None` until they have been read.
    pub(super) fn load(&self) -> Guard<Option<Arc<KeySet>>> {
        self.current.load()
    }

    /// Asks for new keys.
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Replaces the keys by these, which were read from data of this format.
    pub(super) fn replace(&self, keys: Vec<VerifyingKey>, format: Format) {
        let guard = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.current.load().as_ref().map_or(0, |before| {
            let is_kept = |key: &VerifyingKey| keys.iter().any(|new| new.digest == key.digest);
            before.generation + u64::from(!before.keys.iter().all(is_kept))
        });
        self.current.store(Some(Arc::new(KeySet {
            keys,
            generation,
            has_ids: format == Format::Jwks,
        })));
        drop(guard);
    }
}

/// Reads keys.
///
/// # Errors
/// The data is not valid, or has no key for one of the algorithms.
pub(super) fn read(
    data: &[u8],
    format: Format,
    algorithms: &[&'static Algorithm],
) -> Result<Vec<VerifyingKey>, FeedError> {
    match format {
        Format::Jwks => jwks(data, algorithms),
        Format::Pem => pem(data, algorithms),
        Format::Secret => secret(data, algorithms),
    }
}

impl KeySet {
    /// Verifies a signature with the keys that the token names.
    pub(super) fn verify(
        &self,
        algorithm: &Algorithm,
        id: Option<&str>,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), NotVerified> {
        let is_named = |key: &&VerifyingKey| !self.has_ids || id.is_none() || key.id.as_deref() == id;
        let mut named = self.keys.iter().filter(is_named).peekable();
        if named.peek().is_none() {
            return Err(NotVerified::UnknownKey);
        }
        let fitting = named.flat_map(|key| &key.verifiers);
        let mut fitting = fitting
            .filter(|(name, _)| *name == algorithm.name)
            .map(|(_, verifier)| verifier);
        let mut why = NotVerified::WrongKey;
        for verifier in fitting.by_ref().take(TRIED) {
            if verifier.accepts(signed, signature) {
                return Ok(());
            }
            why = NotVerified::Signature;
        }
        match fitting.next() {
            Some(_) => Err(NotVerified::Ambiguous),
            None => Err(why),
        }
    }
}

impl Verifier {
    fn accepts(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Public(key) => key.verify_sig(signed, signature).is_ok(),
            Self::Secret(key) => hmac::verify(key, signed, signature).is_ok(),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.current.load().as_ref().map(|set| set.keys.len());
        f.debug_struct("Keys")
            .field("count", &count)
            .finish_non_exhaustive()
    }
}

fn jwks(data: &[u8], algorithms: &[&'static Algorithm]) -> Result<Vec<VerifyingKey>, FeedError> {
    let set: Value = serde_json::from_slice(data)
        .map_err(|error| FeedError(format!("not a JSON Web Key Set: {error}")))?;
    let Some(members) = set.get("keys").and_then(Value::as_array) else {
        return Err(FeedError(
            "not a JSON Web Key Set: it has no list `keys`".to_owned(),
        ));
    };
    if members.len() > KEYS {
        return Err(FeedError(format!("more than {KEYS} keys")));
    }
    // Keys of other types and purposes are left out (RFC 7517 §5).
    let keys = members.iter().filter_map(|key| jwk(key.as_object()?, algorithms));
    some(keys.collect())
}

/// A set without a usable key is an error: it is more often a mistake of the server than a wish to refuse every token.
fn some(keys: Vec<VerifyingKey>) -> Result<Vec<VerifyingKey>, FeedError> {
    match keys.is_empty() {
        true => Err(FeedError("no key for the algorithms in `algorithms`".to_owned())),
        false => Ok(keys),
    }
}

/// A key of a set; `None` when no configured algorithm can use it.
fn jwk(key: &Map<String, Value>, algorithms: &[&'static Algorithm]) -> Option<VerifyingKey> {
    let text = |name| key.get(name).and_then(Value::as_str);
    let is_for_signatures = key.get("use").is_none_or(|purpose| purpose == "sig");
    let may_verify = match key.get("key_ops") {
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => false,
        None => true,
    };
    if !is_for_signatures || !may_verify {
        return None;
    }
    let is_of_algorithm = |algorithm: &&&Algorithm| key.get("alg").is_none_or(|name| name == algorithm.name);
    let parsed = |algorithm: &&'static Algorithm| {
        let bytes = |name| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let key = match (&algorithm.family, text("kty")?, text("crv")) {
            (Family::Rsa(parameters), "RSA", _) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                let (n, e) = (without_zeros(&n), without_zeros(&e));
                RsaPublicKeyComponents { n, e }
                    .to_parsed_public_key(parameters)
                    .ok()
            }
            (Family::Curve(parameters, curve, length), "EC", Some(name)) if *curve == name => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                let is_whole = x.len() == *length && y.len() == *length;
                let point = [&[4][..], &x, &y].concat();
                let parameters: &'static dyn VerificationAlgorithm = *parameters;
                is_whole.then(|| ParsedPublicKey::new(parameters, point).ok())?
            }
            (Family::Edwards, "OKP", Some("Ed25519")) => ParsedPublicKey::new(&ED25519, bytes("x")?).ok(),
            // Symmetric keys do not belong into a set that others can read.
            _ => None,
        };
        Some((algorithm.name, Verifier::Public(key?)))
    };
    let verifiers: Vec<_> = algorithms
        .iter()
        .filter(is_of_algorithm)
        .filter_map(parsed)
        .collect();
    (!verifiers.is_empty()).then(|| VerifyingKey {
        id: text("kid").map(Box::from),
        digest: sha256(Value::Object(key.clone()).to_string().as_bytes()),
        verifiers,
    })
}

fn without_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

fn pem(data: &[u8], algorithms: &[&'static Algorithm]) -> Result<Vec<VerifyingKey>, FeedError> {
    let mut keys = Vec::new();
    for (index, found) in SubjectPublicKeyInfoDer::pem_slice_iter(data).enumerate() {
        let der = found.map_err(|error| FeedError(format!("not valid PEM: {error}")))?;
        if index == KEYS {
            return Err(FeedError(format!("more than {KEYS} keys")));
        }
        let parsed = |algorithm: &&'static Algorithm| {
            let parameters: &'static dyn VerificationAlgorithm = match algorithm.family {
                Family::Rsa(parameters) => parameters,
                Family::Curve(parameters, ..) => parameters,
                Family::Edwards => &ED25519,
                Family::Secret(..) => return None,
            };
            let key = ParsedPublicKey::new(parameters, &der).ok()?;
            Some((algorithm.name, Verifier::Public(key)))
        };
        let verifiers: Vec<_> = algorithms.iter().filter_map(parsed).collect();
        if !verifiers.is_empty() {
            keys.push(VerifyingKey {
                id: None,
                digest: sha256(&der),
                verifiers,
            });
        }
    }
    some(keys).map_err(|error| FeedError(format!("{error}; a key begins with `-----BEGIN PUBLIC KEY-----`")))
}

/// A secret is the content of a file without the end of its last line.
fn secret(data: &[u8], algorithms: &[&'static Algorithm]) -> Result<Vec<VerifyingKey>, FeedError> {
    let secret = data.strip_suffix(b"\n").unwrap_or(data);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    let mut verifiers = Vec::new();
    for algorithm in algorithms {
        let Family::Secret(hash, least) = algorithm.family else {
            continue;
        };
        if secret.len() < least {
            let name = algorithm.name;
            return Err(FeedError(format!(
                "the secret is too short: {name} requires {least} bytes"
            )));
        }
        verifiers.push((
            algorithm.name,
            Verifier::Secret(Box::new(hmac::Key::new(hash, secret))),
        ));
    }
    Ok(vec![VerifyingKey {
        id: None,
        digest: sha256(secret),
        verifiers,
    }])
}
