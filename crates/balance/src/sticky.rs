//! Values of cookies that name a backend of a pool. A value is a keyed hash: it tells nothing of the backend, and nobody without the
//! secret can make one. What a client can do is send the value that another client got.
//!
//! The first part of a value names the pool and the second one the backend, so that a client whose backend is gone stays in
//! its pool.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldhash::fast::FixedState;

/// Bytes of the hash that names the pool, and of the one that names the backend: 96 bits cannot be guessed.
const POOL_BYTES: usize = 6;
const BACKEND_BYTES: usize = 12;
/// The same in the text. Both numbers of bytes are multiples of three, so that the two parts of the text are those of the value.
const POOL_TEXT: usize = POOL_BYTES / 3 * 4;
const TEXT: usize = POOL_TEXT + BACKEND_BYTES / 3 * 4;

/// The value of a cookie, in the alphabet of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value([u8; TEXT]);

/// Names the backends of one pool.
pub struct Names {
    key: hmac::Key,
    pool: [u8; POOL_TEXT],
}

/// The backends of a pool by the values that name them, for one list of them.
#[derive(Debug, Default)]
pub struct Table {
    values: Vec<Value>,
    by_value: HashMap<Value, usize, FixedState>,
}

impl Value {
    /// The value as the text of a cookie.
    pub fn text(&self) -> &[u8] {
        &self.0
    }

    fn of(text: &[u8]) -> Option<Self> {
        text.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl Names {
    /// Those of the pool with this name. Processes with the same secret agree.
    pub fn new(secret: &[u8], pool: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut text = [0; POOL_TEXT];
        encode(&key, &[b"pool", pool.as_bytes()], POOL_BYTES, &mut text);
        // The pool is part of the key of its backends, so that one value names one backend of one pool.
        let of_pool = tag(&key, &[b"backends of", pool.as_bytes()]);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, of_pool.as_ref()),
            pool: text,
        }
    }

    /// The value that names a backend, by what identifies it in every process.
    pub fn value(&self, backend: &str) -> Value {
        let mut text = [0; TEXT];
        if let Some((pool, rest)) = text.split_at_mut_checked(POOL_TEXT) {
            pool.copy_from_slice(&self.pool);
            encode(&self.key, &[b"backend", backend.as_bytes()], BACKEND_BYTES, rest);
        }
        Value(text)
    }

    /// Whether a value is of this pool, whatever backend it names.
    pub fn is_of_pool(&self, text: &[u8]) -> bool {
        text.len() == TEXT && text.starts_with(&self.pool)
    }
}

impl fmt::Debug for Names {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Table {
    /// The table of these backends, in the order of their indices.
    pub fn new<'b>(names: &Names, backends: impl Iterator<Item = &'b str>) -> Self {
        let values: Vec<Value> = backends.map(|backend| names.value(backend)).collect();
        Self {
            by_value: values.iter().copied().zip(0..).collect(),
            values,
        }
    }

    /// The index of the backend that a client's value names.
    pub fn find(&self, text: &[u8]) -> Option<usize> {
        self.by_value.get(&Value::of(text)?).copied()
    }

    /// The value that names the backend with this index.
    pub fn value(&self, index: usize) -> Option<&Value> {
        self.values.get(index)
    }
}

/// Writes the first bytes of a hash into `out`, which has the length of their text.
fn encode(key: &hmac::Key, parts: &[&[u8]], bytes: usize, out: &mut [u8]) {
    let tag = tag(key, parts);
    let first = tag.as_ref().get(..bytes).unwrap_or_default();
    // The length is the one of the text, so this cannot fail.
    let _ = URL_SAFE_NO_PAD.encode_slice(first, out);
}

/// The hash of the parts, none of which can take bytes of another one.
fn tag(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKENDS: [&str; 3] = ["http://10.0.0.1:80", "http://10.0.0.2:80", "unix:/run/a.sock"];

    fn names(secret: &str, pool: &str) -> Names {
        Names::new(secret.as_bytes(), pool)
    }

    #[test]
    fn a_value_names_its_backend() {
        let names = names("a secret", "api");
        let table = Table::new(&names, BACKENDS.into_iter());
        for (index, backend) in BACKENDS.iter().enumerate() {
            let value = names.value(backend);
            assert_eq!(table.find(value.text()), Some(index));
            assert_eq!(table.value(index), Some(&value));
            assert!(names.is_of_pool(value.text()));
        }
        assert_eq!(table.value(3), None);
    }

    #[test]
    fn a_value_is_a_token_without_an_address() {
        for backend in BACKENDS {
            let value = names("a secret", "api").value(backend);
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
            assert!(value.text().iter().all(is_plain), "{value:?}");
            assert_eq!(value.text().len(), 24);
        }
    }

    #[test]
    fn processes_with_one_secret_agree_and_others_do_not() {
        let value = |secret, pool| names(secret, pool).value(BACKENDS[0]);
        assert_eq!(value("a secret", "api"), value("a secret", "api"));
        assert_ne!(value("a secret", "api"), value("another", "api"));
        assert_ne!(value("a secret", "api"), value("a secret", "web"));
    }

    #[test]
    fn the_values_of_one_pool_are_not_those_of_another_one() {
        let (api, web) = (names("a secret", "api"), names("a secret", "web"));
        let value = api.value(BACKENDS[0]);
        assert!(!web.is_of_pool(value.text()));
        assert_eq!(Table::new(&web, BACKENDS.into_iter()).find(value.text()), None);
        let mut mixed = value.0;
        mixed[..POOL_TEXT].copy_from_slice(&web.pool);
        assert_eq!(Table::new(&web, BACKENDS.into_iter()).find(&mixed), None);
    }

    #[test]
    fn garbage_names_nothing() {
        let names = names("a secret", "api");
        let table = Table::new(&names, BACKENDS.into_iter());
        let value = names.value(BACKENDS[0]).0.to_vec();
        let mut inputs = vec![
            Vec::new(),
            b"a".to_vec(),
            vec![b'A'; 24],
            vec![0xff; 24],
            vec![b'A'; 4096],
        ];
        for index in 0..value.len() {
            let mut changed = value.clone();
            changed[index] = if changed[index] == b'x' { b'y' } else { b'x' };
            inputs.push(changed);
        }
        inputs.push(value[..23].to_vec());
        inputs.push([&value[..], b"A"].concat());
        for input in inputs {
            assert_eq!(table.find(&input), None, "{input:?}");
        }
    }
}
