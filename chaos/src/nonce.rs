//! What requests and responses carry, so that each side can verify it: a body follows from its nonce, and a hash from
//! a body.

use crate::rng::Rng;

/// The header that names a request, in requests and in their responses.
pub(crate) const NONCE: &str = "x-nonce";
/// The response header with the name of the backend that served the request.
pub(crate) const BACKEND: &str = "x-backend";
/// The response header with the hash of the request's body.
pub(crate) const BODY_HASH: &str = "x-body-hash";
/// Paths under it are requests of the client; the nonce follows. All others are probes.
pub(crate) const PREFIX: &str = "/chaos/";

/// A body of `size` printable bytes that no other nonce has.
pub(crate) fn body(nonce: u64, size: usize) -> Vec<u8> {
    let mut rng = Rng::new(nonce);
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        bytes.extend_from_slice(format!("{:016x}", rng.bits()).as_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// FNV-1a over 64 bits. It detects mix-ups and truncations; nobody forges here.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A nonce or a hash as it is written in a header.
pub(crate) fn hex(number: u64) -> String {
    format!("{number:016x}")
}

/// Reads what [`hex`] wrote.
pub(crate) fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_follow_from_their_nonce() {
        assert_eq!(body(1, 1_000), body(1, 1_000));
        assert_eq!(body(1, 33).len(), 33);
        assert_ne!(hash(&body(1, 1_000)), hash(&body(2, 1_000)));
        assert_ne!(hash(&body(1, 1_000)), hash(&body(1, 999)));
        assert_eq!(number(&hex(0xabc)), Some(0xabc));
    }
}
