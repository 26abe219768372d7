//! Hashes of passwords: bcrypt, Argon2 and SHA-crypt. They are checked when they are read, so that verifying cannot fail for
//! another reason than a wrong password, and so that none takes longer or more memory than a request may cost.

use std::fmt;
use std::ops::RangeInclusive;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier as _};
use bcrypt::HashParts;
use sha_crypt::ShaCrypt;

/// Costs of bcrypt that are accepted. The highest takes about four seconds.
const BCRYPT_COST: RangeInclusive<u32> = 4..=16;
/// Rounds of SHA-crypt that are accepted. The highest takes about a second.
const SHA_ROUNDS: RangeInclusive<u32> = 1_000..=1_000_000;
/// Maximum memory of Argon2 in KiB: 256 MiB.
const ARGON2_MEMORY: u32 = 256 << 10;
/// Maximum number of passes of Argon2.
const ARGON2_PASSES: u32 = 32;
/// Maximum number of lanes of Argon2.
const ARGON2_LANES: u32 = 16;
/// Maximum length of a salt of SHA-crypt.
const SHA_SALT: usize = 16;

/// A valid hash of a password.
pub(super) struct Hash {
    text: Box<str>,
    kind: Kind,
}

enum Kind {
    Bcrypt,
    Argon2(Box<PasswordHash>),
    Sha,
}

/// Why a hash is not accepted. Says nothing of the hash itself, which is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HashError {
    #[error(
        "unsupported hash; use bcrypt ($2a$, $2b$, $2y$), $argon2id$, $argon2i$, $5$ or $6$, such as from `htpasswd -B`"
    )]
    Unsupported,
    #[error("malformed hash; create it again, for example with `htpasswd -B`")]
    Malformed,
    #[error(
        "hash is too expensive; the highest bcrypt cost is 16, of $5$ and $6$ 1000000 rounds, of Argon2 m=262144,t=32,p=16"
    )]
    TooExpensive,
}

impl Hash {
    /// Checks a hash.
    ///
    /// # Errors
    /// [`HashError`] when it is not one that is accepted.
    pub(super) fn parse(text: &str) -> Result<Self, HashError> {
        let kind = match text.split('$').nth(1) {
            Some("2a" | "2b" | "2y") if text.starts_with('$') => bcrypt(text)?,
            Some("argon2id" | "argon2i") if text.starts_with('$') => argon2(text)?,
            Some("5") if text.starts_with('$') => sha_crypt(text, 43)?,
            Some("6") if text.starts_with('$') => sha_crypt(text, 86)?,
            _ => return Err(HashError::Unsupported),
        };
        Ok(Self {
            text: text.into(),
            kind,
        })
    }

    /// The hash as written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether this is the hash of the password. Takes as long as the hash is strong, whatever the password.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match &self.kind {
            Kind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Kind::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
            Kind::Sha => ShaCrypt::default().verify_password(password, &*self.text).is_ok(),
        }
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

fn bcrypt(text: &str) -> Result<Kind, HashError> {
    let parts: HashParts = text.parse().map_err(|_| HashError::Malformed)?;
    match parts.get_cost() {
        cost if BCRYPT_COST.contains(&cost) => Ok(Kind::Bcrypt),
        cost if cost > *BCRYPT_COST.end() => Err(HashError::TooExpensive),
        _ => Err(HashError::Malformed),
    }
}

fn argon2(text: &str) -> Result<Kind, HashError> {
    let hash = PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
    let params = argon2::Params::try_from(&hash).map_err(|_| HashError::Malformed)?;
    // Without a version, the hash is of Argon2 1.0, which this library would read as 1.3.
    let is_complete = hash.version.is_some_and(|version| matches!(version, 16 | 19))
        && hash
            .salt
            .as_ref()
            .is_some_and(|salt| salt.len() >= argon2::MIN_SALT_LEN)
        && hash.hash.is_some();
    if !is_complete {
        return Err(HashError::Malformed);
    }
    let is_bounded = params.m_cost() <= ARGON2_MEMORY
        && params.t_cost() <= ARGON2_PASSES
        && params.p_cost() <= ARGON2_LANES;
    match is_bounded {
        true => Ok(Kind::Argon2(Box::new(hash))),
        false => Err(HashError::TooExpensive),
    }
}

/// Checks `$5$salt$hash` and `$6$rounds=5000$salt$hash`, whose hash has this length.
fn sha_crypt(text: &str, length: usize) -> Result<Kind, HashError> {
    let is_of_alphabet = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'))
    };
    let mut parts: Vec<&str> = text.split('$').skip(2).collect();
    if let Some(rounds) = parts.first().and_then(|part| part.strip_prefix("rounds=")) {
        let rounds: u32 = rounds.parse().map_err(|_| HashError::Malformed)?;
        match rounds {
            rounds if SHA_ROUNDS.contains(&rounds) => parts.remove(0),
            rounds if rounds > *SHA_ROUNDS.end() => return Err(HashError::TooExpensive),
            _ => return Err(HashError::Malformed),
        };
    }
    match parts.as_slice() {
        [salt, hash]
            if (1..=SHA_SALT).contains(&salt.len())
                && hash.len() == length
                && is_of_alphabet(salt)
                && is_of_alphabet(hash) =>
        {
            Ok(Kind::Sha)
        }
        _ => Err(HashError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use argon2::{Algorithm, CustomizedPasswordHasher as _, Params, Version};

    use super::*;

    /// Hashes of `open:sesame` that other programs made: `openssl passwd` and the C library's `crypt`.
    const FOREIGN: [&str; 4] = [
        "$5$saltstring$Z6HuDY3FPwX80D7BS3OhI1LJ6wz4HAjcfb0q1TOaNqD",
        "$6$saltstring$rGKIVx3lgmRTHP0ZCqQkoBdX48TrsqESp9/OLK3PbJa49UhKhM2ZVg2X7Es4Q73UaRdUuOA6.rPpY.6mAyLKK0",
        "$6$rounds=1000$saltstring$a8pkXMAF495kkMEHorbJJWqUwm0O0/kSuPWKs.Vr0/P2OFVVslHWyVmxuYQO3Ve3SCSxZKxqKIGYRGA/bTWyJ1",
        "$2b$04$abcdefghijklmnopqrstuu2GbQLdjwBFdH8CcOE866nGziodmvO8K",
    ];

    fn argon2(algorithm: Algorithm, version: Version, password: &[u8]) -> String {
        let params = Params::new(8, 1, 1, None).unwrap();
        let hasher = Argon2::new(algorithm, version, params.clone());
        let hash: PasswordHash = hasher
            .hash_password_customized(
                password,
                b"saltsalt",
                Some(algorithm.as_str()),
                Some(version.into()),
                params,
            )
            .unwrap();
        hash.to_string()
    }

    fn every_kind() -> Vec<String> {
        let mut hashes: Vec<String> = FOREIGN.map(str::to_owned).to_vec();
        hashes.push(FOREIGN[3].replace("$2b$", "$2a$"));
        hashes.push(FOREIGN[3].replace("$2b$", "$2y$"));
        for algorithm in [Algorithm::Argon2id, Algorithm::Argon2i] {
            for version in [Version::V0x10, Version::V0x13] {
                hashes.push(argon2(algorithm, version, b"open:sesame"));
            }
        }
        hashes
    }

    #[test]
    fn every_kind_verifies_its_password_and_no_other() {
        for text in every_kind() {
            let hash = Hash::parse(&text).unwrap();
            assert!(hash.verify(b"open:sesame"), "{text}");
            for wrong in ["open:sesam", "open:sesame ", "Open:sesame", "", "open:sesame\0"] {
                assert!(!hash.verify(wrong.as_bytes()), "{text} {wrong:?}");
            }
        }
    }

    #[test]
    fn an_empty_password_has_a_hash_like_any_other() {
        let hash = Hash::parse(&argon2(Algorithm::Argon2id, Version::V0x13, b"")).unwrap();
        assert!(hash.verify(b"") && !hash.verify(b"x"));
    }

    #[test]
    fn a_password_that_is_not_utf8_is_compared_as_bytes() {
        let hash = Hash::parse(&argon2(Algorithm::Argon2id, Version::V0x13, b"\xff\xfe")).unwrap();
        assert!(hash.verify(b"\xff\xfe") && !hash.verify(b"\xff"));
    }

    #[test]
    fn unsupported_and_broken_hashes_are_refused() {
        let sha1 = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
        for text in [
            "",
            "secret",
            "$",
            "2b$04$",
            "$1$salt$hash",
            "$apr1$a$b",
            "$2x$04$a",
            "$y$j9T$a$b",
            "$argon2d$",
            sha1,
        ] {
            assert_eq!(Hash::parse(text).err(), Some(HashError::Unsupported), "{text}");
        }
        let no_version = argon2(Algorithm::Argon2id, Version::V0x13, b"x").replace("$v=19", "");
        for text in [
            "$2b$04$short",
            "$2b$03$abcdefghijklmnopqrstuu2GbQLdjwBFdH8CcOE866nGziodmvO8K",
            "$argon2id$v=19$m=8,t=1,p=1",
            "$5$salt",
            "$5$$Z6HuDY3FPwX80D7BS3OhI1LJ6wz4HAjcfb0q1TOaNqD",
            "$6$salt$short",
            "$5$rounds=1$a$b",
            "$5$rounds=x$a$b",
            &no_version,
        ] {
            assert_eq!(Hash::parse(text).err(), Some(HashError::Malformed), "{text}");
        }
        for text in every_kind() {
            for end in 1..text.len() {
                let cut = text.get(..end).unwrap();
                // A hash of Argon2 may be shorter, and still be one.
                if !text.contains("argon2") {
                    assert!(Hash::parse(cut).is_err(), "{cut}");
                }
            }
            assert!(Hash::parse(&format!("{text}$")).is_err(), "{text}$");
            assert!(Hash::parse(&format!("{text}é")).is_err(), "{text}é");
        }
    }

    #[test]
    fn hashes_that_take_too_long_are_refused() {
        let argon2 = argon2(Algorithm::Argon2id, Version::V0x13, b"x");
        for text in [
            FOREIGN[3].replace("$04$", "$17$"),
            FOREIGN[2].replace("=1000", "=1000001"),
            argon2.replace("m=8", "m=262145"),
            argon2.replace("t=1", "t=33"),
            argon2.replace("m=8,t=1,p=1", "m=256,t=1,p=17"),
        ] {
            assert_eq!(Hash::parse(&text).err(), Some(HashError::TooExpensive), "{text}");
        }
    }

    #[test]
    fn no_message_shows_the_hash() {
        let shown = format!("{:?}", Hash::parse(FOREIGN[0]).unwrap());
        assert_eq!(shown, "Hash");
    }
}
