//! Field names known to the encoder: their index in the static table and whether their values are indexed.

use IndexingPolicy::{Changes, Repeats, Secret};

/// Whether the encoder indexes a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexingPolicy {
    /// The value often repeats between messages: it gets an entry once it was written twice.
    Repeats,
    /// The value differs in each message: an entry would only evict useful ones.
    Changes,
    /// Never indexed: the length of a block must not reveal a correct guess of the value (RFC 7541 §7.1).
    Secret,
}

/// A known field name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// In lower case.
    pub(super) name: &'static [u8],
    pub(super) policy: IndexingPolicy,
    /// Its first index in the static table, or 0.
    pub(super) index: u8,
}

/// Fields whose values depend on the resource, the time or the client are listed as [`Changes`], and so are fields that
/// contain a number of each message. The encoder itself detects others that do not repeat: see [`super::Encoder`].
#[rustfmt::skip]
const KNOWN: [Known; 71] = [
    of(":authority", Repeats, 1), of(":method", Repeats, 2), of(":path", Changes, 4),
    of(":scheme", Repeats, 6), of(":status", Repeats, 8),
    of("accept-charset", Repeats, 15), of("accept-encoding", Repeats, 16),
    of("accept-language", Repeats, 17), of("accept-ranges", Repeats, 18), of("accept", Repeats, 19),
    of("access-control-allow-origin", Repeats, 20), of("age", Changes, 21), of("allow", Repeats, 22),
    of("authorization", Secret, 23), of("cache-control", Repeats, 24),
    of("content-disposition", Changes, 25), of("content-encoding", Repeats, 26),
    of("content-language", Repeats, 27), of("content-length", Changes, 28),
    of("content-location", Changes, 29), of("content-range", Changes, 30),
    of("content-type", Repeats, 31), of("cookie", Secret, 32), of("date", Repeats, 33),
    of("etag", Changes, 34), of("expect", Repeats, 35), of("expires", Changes, 36),
    of("from", Repeats, 37), of("host", Repeats, 38), of("if-match", Changes, 39),
    of("if-modified-since", Changes, 40), of("if-none-match", Changes, 41), of("if-range", Changes, 42),
    of("if-unmodified-since", Changes, 43), of("last-modified", Changes, 44), of("link", Repeats, 45),
    of("location", Changes, 46), of("max-forwards", Repeats, 47), of("proxy-authenticate", Repeats, 48),
    of("proxy-authorization", Secret, 49), of("range", Changes, 50), of("referer", Changes, 51),
    of("refresh", Repeats, 52), of("retry-after", Repeats, 53), of("server", Repeats, 54),
    of("set-cookie", Secret, 55), of("strict-transport-security", Repeats, 56),
    of("transfer-encoding", Repeats, 57), of("user-agent", Repeats, 58), of("vary", Repeats, 59),
    of("via", Repeats, 60), of("www-authenticate", Repeats, 61),
    // Identify the client: many clients share a connection to a backend.
    of("x-forwarded-for", Changes, 0), of("forwarded", Changes, 0), of("x-real-ip", Changes, 0),
    of("client-cert", Changes, 0), of("client-cert-chain", Changes, 0),
    // Identify the request.
    of("x-request-id", Changes, 0), of("traceparent", Changes, 0), of("tracestate", Changes, 0),
    of("idempotency-key", Changes, 0), of("grpc-timeout", Changes, 0), of("grpc-message", Changes, 0),
    of("server-timing", Changes, 0),
    // Common names for secrets; `cookie` and the like are above.
    of("x-api-key", Secret, 0), of("x-auth-token", Secret, 0), of("x-access-token", Secret, 0),
    of("x-csrf-token", Secret, 0), of("x-xsrf-token", Secret, 0), of("x-amz-security-token", Secret, 0),
    of("x-goog-api-key", Secret, 0),
];

/// Slots of the hash table: enough that collisions are rare.
const SLOTS: usize = 256;

/// Hash table with linear probing: index in `KNOWN` plus one by the hash of the key, or 0 for an empty slot.
static BY_KEY: [u8; SLOTS] = by_key();

/// Finds a name, ignoring case.
pub(super) fn find(name: &[u8], key: u32) -> Option<&'static Known> {
    static ALL: [Known; KNOWN.len()] = KNOWN;

    for at in first_slot(key)..SLOTS + first_slot(key) {
        let number = BY_KEY.get(at % SLOTS).copied().unwrap_or_default();
        let indexing = ALL.get(usize::from(number).checked_sub(1)?)?;
        if is_same(name, indexing.name) {
            return Some(indexing);
        }
    }
    None
}

/// The length and three bytes of a name, which distinguish most names. The case bit of letters is ignored.
pub(super) const fn key(name: &[u8]) -> u32 {
    let (Some(first), Some((middle, _)), Some(last)) = (
        name.first(),
        name.split_at(name.len() / 2).1.split_first(),
        name.last(),
    ) else {
        return 0;
    };
    let bytes = [name.len() as u8, *first | 0x20, *middle | 0x20, *last | 0x20];
    u32::from_le_bytes(bytes)
}

/// Whether names are equal, ignoring case; `lower` is in lower case.
fn is_same(name: &[u8], lower: &[u8]) -> bool {
    let is_word = |(word, lower): (&[u8; 8], &[u8; 8])| {
        lowered(u64::from_le_bytes(*word)) == u64::from_le_bytes(*lower)
    };
    name.len() == lower.len()
        && name.as_chunks().0.iter().zip(lower.as_chunks().0).all(is_word)
        && lowered(last_word(name)) == last_word(lower)
}

/// The last 8 bytes, or all bytes of a shorter text in an order that depends on its length. Together with the 8-byte words
/// before it, it covers the whole text.
pub(super) fn last_word(text: &[u8]) -> u64 {
    if let Some(last) = text.last_chunk() {
        return u64::from_le_bytes(*last);
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
    }
    let word = |word, byte: &u8| word << 8 | u64::from(*byte);
    text.iter().fold(0, word)
}

/// Converts the letters of eight bytes to lower case.
fn lowered(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;

    // The addition carries into the upper bit of a byte if its lower bits are at least `A`, or more than `Z`.
    let rest = word & (0x7f * ONES);
    let from_a = rest + (0x80 - b'A' as u64) * ONES;
    let beyond_z = rest + (0x7f - b'Z' as u64) * ONES;
    let is_upper = from_a & !beyond_z & !word & (0x80 * ONES);
    word | is_upper >> 2
}

/// The slot where the search for a key begins.
const fn first_slot(key: u32) -> usize {
    (key.wrapping_mul(0x9e37_79b1) >> 24) as usize
}

const fn of(name: &'static str, policy: IndexingPolicy, index: u8) -> Known {
    let name = name.as_bytes();
    Known { name, policy, index }
}

#[allow(
    clippy::indexing_slicing,
    reason = "while compiling, where an index beyond the end is an error"
)]
const fn by_key() -> [u8; SLOTS] {
    let mut slots = [0; SLOTS];
    let mut number = 0;
    while number < KNOWN.len() {
        let mut at = first_slot(key(KNOWN[number].name));
        while slots[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        number += 1;
        slots[at] = number as u8;
    }
    slots
}

impl Known {
    /// The static index of the name together with this value.
    pub(super) fn index_with(&self, value: &[u8]) -> Option<u8> {
        let index = match (self.index, value) {
            (0, _) => return None,
            (2, b"GET") => 2,
            (2, b"POST") => 3,
            (4, b"/") => 4,
            (4, b"/index.html") => 5,
            (6, b"http") => 6,
            (6, b"https") => 7,
            (8, b"200") => 8,
            (8, b"204") => 9,
            (8, b"206") => 10,
            (8, b"304") => 11,
            (8, b"400") => 12,
            (8, b"404") => 13,
            (8, b"500") => 14,
            (16, b"gzip, deflate") => 16,
            // The other entries have an empty value.
            (1 | 15 | 17.., b"") => self.index,
            _ => return None,
        };
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::static_table::{self, STATIC_ENTRIES};
    use super::*;

    #[test]
    fn finds_every_name_in_any_case() {
        for indexing in KNOWN {
            for name in [indexing.name.to_vec(), indexing.name.to_ascii_uppercase()] {
                let found = find(&name, key(&name)).unwrap();
                assert_eq!(found.name, indexing.name);
            }
        }
        for name in [
            &b""[..],
            b"x",
            b"x-other",
            b"cookie2",
            b"\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(find(name, key(name)).is_none(), "{name:?}");
        }
    }

    #[test]
    fn knows_the_whole_static_table() {
        for index in 1..=STATIC_ENTRIES {
            let (name, value) = static_table::entry_of(index).unwrap();
            let indexing = find(name.text, key(name.text)).unwrap();
            let (first, _) = static_table::entry_of(usize::from(indexing.index)).unwrap();
            assert_eq!(first, name);
            assert_eq!(indexing.index_with(value), Some(index as u8));
            assert_eq!(indexing.index_with(b"other"), None);
        }
    }

    /// Each additional occupied slot is one more comparison for any name that hashes there.
    #[test]
    fn names_are_near_their_first_slot() {
        let slots: Vec<bool> = BY_KEY.iter().map(|number| *number != 0).collect();
        let longest = slots.split(|is_occupied| !is_occupied).map(<[bool]>::len).max();
        assert!(longest.unwrap() <= 8, "{longest:?}");
    }
}
