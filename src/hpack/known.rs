//! Names that the encoder knows: where they stand in the static table, and what becomes of their values.

use super::standing;

/// What becomes of a field that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// Its value is often that of the message before: worth an entry once it was seen twice.
    Repeats,
    /// Its value is another one in each message: an entry would only take the place of better ones.
    Changes,
    /// Whoever guesses at it must not see by the length of a block that he was right (RFC 7541 §7.1).
    Secret,
}

/// A name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// In lower case.
    pub(super) name: &'static [u8],
    pub(super) habit: Habit,
    /// Its first index in the static table, or 0.
    pub(super) index: u8,
    /// How many entries it has there.
    pub(super) entries: u8,
}

use Habit::{Changes, Repeats, Secret};

/// Fields whose values depend on what is asked for, when, or by whom, are said to change; so are all that have a number of
/// each message in them. Others that do are found out: see [`super::Encoder`].
#[rustfmt::skip]
const KNOWN: [Known; 71] = [
    // Where a host has few paths, those of `GET` are in the client's cache.
    of(":authority", Repeats, 1, 1), of(":method", Repeats, 2, 2), of(":path", Changes, 4, 2),
    of(":scheme", Repeats, 6, 2), of(":status", Repeats, 8, 7),
    of("accept-charset", Repeats, 15, 1), of("accept-encoding", Repeats, 16, 1),
    of("accept-language", Repeats, 17, 1), of("accept-ranges", Repeats, 18, 1), of("accept", Repeats, 19, 1),
    of("access-control-allow-origin", Repeats, 20, 1), of("age", Changes, 21, 1), of("allow", Repeats, 22, 1),
    of("authorization", Secret, 23, 1), of("cache-control", Repeats, 24, 1),
    of("content-disposition", Changes, 25, 1), of("content-encoding", Repeats, 26, 1),
    of("content-language", Repeats, 27, 1), of("content-length", Changes, 28, 1),
    of("content-location", Changes, 29, 1), of("content-range", Changes, 30, 1),
    of("content-type", Repeats, 31, 1), of("cookie", Secret, 32, 1), of("date", Repeats, 33, 1),
    of("etag", Changes, 34, 1), of("expect", Repeats, 35, 1), of("expires", Changes, 36, 1),
    of("from", Repeats, 37, 1), of("host", Repeats, 38, 1), of("if-match", Changes, 39, 1),
    of("if-modified-since", Changes, 40, 1), of("if-none-match", Changes, 41, 1), of("if-range", Changes, 42, 1),
    of("if-unmodified-since", Changes, 43, 1), of("last-modified", Changes, 44, 1), of("link", Repeats, 45, 1),
    of("location", Changes, 46, 1), of("max-forwards", Repeats, 47, 1), of("proxy-authenticate", Repeats, 48, 1),
    of("proxy-authorization", Secret, 49, 1), of("range", Changes, 50, 1), of("referer", Changes, 51, 1),
    of("refresh", Repeats, 52, 1), of("retry-after", Repeats, 53, 1), of("server", Repeats, 54, 1),
    of("set-cookie", Secret, 55, 1), of("strict-transport-security", Repeats, 56, 1),
    of("transfer-encoding", Repeats, 57, 1), of("user-agent", Repeats, 58, 1), of("vary", Repeats, 59, 1),
    of("via", Repeats, 60, 1), of("www-authenticate", Repeats, 61, 1),
    // Whose request it is: many clients share a connection to a backend.
    of("x-forwarded-for", Changes, 0, 0), of("forwarded", Changes, 0, 0), of("x-real-ip", Changes, 0, 0),
    of("client-cert", Changes, 0, 0), of("client-cert-chain", Changes, 0, 0),
    // Which request it is.
    of("x-request-id", Changes, 0, 0), of("traceparent", Changes, 0, 0), of("tracestate", Changes, 0, 0),
    of("idempotency-key", Changes, 0, 0), of("grpc-timeout", Changes, 0, 0), of("grpc-message", Changes, 0, 0),
    of("server-timing", Changes, 0, 0),
    // Secrets that have become usual; `cookie` and the like are above.
    of("x-api-key", Secret, 0, 0), of("x-auth-token", Secret, 0, 0), of("x-access-token", Secret, 0, 0),
    of("x-csrf-token", Secret, 0, 0), of("x-xsrf-token", Secret, 0, 0), of("x-amz-security-token", Secret, 0, 0),
    of("x-goog-api-key", Secret, 0, 0),
];

/// Places in which names are looked for: few enough names that a place is seldom taken.
const PLACES: usize = 256;

/// Where in `KNOWN` names are, by their keys: one more than that, or 0; what found its place taken is in the next one.
static BY_KEY: [u8; PLACES] = by_key();

/// Finds a name, letters of both cases taken as one.
pub(super) fn find(name: &[u8], key: u32) -> Option<&'static Known> {
    static ALL: [Known; KNOWN.len()] = KNOWN;

    for at in place(key)..PLACES + place(key) {
        let number = BY_KEY.get(at % PLACES).copied().unwrap_or_default();
        let known = ALL.get(usize::from(number).checked_sub(1)?)?;
        if known.name.eq_ignore_ascii_case(name) {
            return Some(known);
        }
    }
    None
}

/// The length and three bytes of a name: enough to tell most names apart. The bit that tells cases of letters apart is left
/// out.
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

/// Where a key is looked for first.
const fn place(key: u32) -> usize {
    (key.wrapping_mul(0x9e37_79b1) >> 24) as usize
}

const fn of(name: &'static str, habit: Habit, index: u8, entries: u8) -> Known {
    let name = name.as_bytes();
    Known {
        name,
        habit,
        index,
        entries,
    }
}

#[allow(
    clippy::indexing_slicing,
    reason = "while compiling, where an index beyond the end is an error"
)]
const fn by_key() -> [u8; PLACES] {
    let mut places = [0; PLACES];
    let mut number = 0;
    while number < KNOWN.len() {
        let mut at = place(key(KNOWN[number].name));
        while places[at] != 0 {
            at = (at + 1) % PLACES;
        }
        number += 1;
        places[at] = number as u8;
    }
    places
}

impl Known {
    /// The index that stands for the name and this value together.
    pub(super) fn with(&self, value: &[u8]) -> Option<u8> {
        (self.index..self.index + self.entries).find(|index| {
            let entry = standing::entry_of(usize::from(*index));
            entry.is_some_and(|(_, standing)| standing == value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::standing::STANDING;
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for known in KNOWN {
            for name in [known.name.to_vec(), known.name.to_ascii_uppercase()] {
                let found = find(&name, key(&name)).unwrap();
                assert_eq!(found.name, known.name);
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
    fn the_whole_static_table_is_known() {
        for index in 1..=STANDING {
            let (name, value) = standing::entry_of(index).unwrap();
            let known = find(name.text, key(name.text)).unwrap();
            let first = usize::from(known.index);
            assert!(
                (first..first + usize::from(known.entries)).contains(&index),
                "{index}"
            );
            assert_eq!(known.with(value), Some(index as u8));
        }
    }

    /// Each place too many is a comparison that any name may pay.
    #[test]
    fn names_are_near_their_place() {
        let places: Vec<bool> = BY_KEY.iter().map(|number| *number != 0).collect();
        let longest = places.split(|is_taken| !is_taken).map(<[bool]>::len).max();
        assert!(longest.unwrap() <= 8, "{longest:?}");
    }
}
