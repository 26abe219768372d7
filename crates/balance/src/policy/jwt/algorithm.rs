//! The signature algorithms of tokens (RFC 7518 §3.1, RFC 8037, RFC 9864), and the keys that fit them. `none` is not one of them.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, RsaParameters};

/// An algorithm.
#[derive(Debug)]
pub(super) struct Algorithm {
    /// Its name in `alg`.
    pub(super) name: &'static str,
    /// How it verifies, and the type of its keys.
    pub(super) family: Family,
}

/// The type of the keys of an algorithm.
#[derive(Debug)]
pub(super) enum Family {
    /// A secret with at least this many bytes (RFC 7518 §3.2).
    Secret(hmac::Algorithm, usize),
    /// An RSA key with 2048 to 8192 bits.
    Rsa(&'static RsaParameters),
    /// A key on the curve with this name and this number of bytes a coordinate.
    Curve(&'static EcdsaVerificationAlgorithm, &'static str, usize),
    /// A key on Ed25519.
    Edwards,
}

/// The names of all algorithms, in the order of the docs.
pub(super) const NAMES: &[&str] = &[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
    "HS256", "HS384", "HS512",
];

static ALGORITHMS: [Algorithm; NAMES.len()] = [
    rsa("RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
    rsa("RS384", &signature::RSA_PKCS1_2048_8192_SHA384),
    rsa("RS512", &signature::RSA_PKCS1_2048_8192_SHA512),
    rsa("PS256", &signature::RSA_PSS_2048_8192_SHA256),
    rsa("PS384", &signature::RSA_PSS_2048_8192_SHA384),
    rsa("PS512", &signature::RSA_PSS_2048_8192_SHA512),
    Algorithm {
        name: "ES256",
        family: Family::Curve(&signature::ECDSA_P256_SHA256_FIXED, "P-256", 32),
    },
    Algorithm {
        name: "ES384",
        family: Family::Curve(&signature::ECDSA_P384_SHA384_FIXED, "P-384", 48),
    },
    Algorithm {
        name: "ES512",
        family: Family::Curve(&signature::ECDSA_P521_SHA512_FIXED, "P-521", 66),
    },
    Algorithm {
        name: "EdDSA",
        family: Family::Edwards,
    },
    Algorithm {
        name: "Ed25519",
        family: Family::Edwards,
    },
    Algorithm {
        name: "HS256",
        family: Family::Secret(hmac::HMAC_SHA256, 32),
    },
    Algorithm {
        name: "HS384",
        family: Family::Secret(hmac::HMAC_SHA384, 48),
    },
    Algorithm {
        name: "HS512",
        family: Family::Secret(hmac::HMAC_SHA512, 64),
    },
];

const fn rsa(name: &'static str, parameters: &'static RsaParameters) -> Algorithm {
    Algorithm {
        name,
        family: Family::Rsa(parameters),
    }
}

impl Algorithm {
    /// The algorithm with this name, which is compared with its case.
    pub(super) fn by_name(name: &str) -> Option<&'static Self> {
        ALGORITHMS.iter().find(|algorithm| algorithm.name == name)
    }

    /// Whether its key is a secret that the issuer and this balancer share.
    pub(super) fn has_secret(&self) -> bool {
        matches!(self.family, Family::Secret(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_their_case_and_none_is_not_among_them() {
        for (name, algorithm) in NAMES.iter().zip(&ALGORITHMS) {
            assert_eq!(Algorithm::by_name(name).unwrap().name, algorithm.name);
            assert_eq!(*name, algorithm.name);
        }
        for name in ["none", "None", "NONE", "", "rs256", "RS256 ", "ES256K", "RS1"] {
            assert!(Algorithm::by_name(name).is_none(), "{name}");
        }
    }
}
