//! Sets of bytes from the grammar of HTTP and URIs, as tables, and the search for control bytes.

/// A set of bytes; membership costs one load.
pub(super) struct ByteSet([bool; 256]);

impl ByteSet {
    /// The set of `members`. Meant for constants: it is quadratic.
    const fn of(members: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut slots: &mut [bool] = &mut table;
        let mut byte = 0_usize;
        while let [slot, rest @ ..] = slots {
            *slot = is_member(members, byte as u8);
            byte += 1;
            slots = rest;
        }
        Self(table)
    }

    /// Whether `byte` is in the set.
    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// Length of the prefix whose bytes are in the set. Four bytes are tested at once: most words are longer.
    #[inline]
    pub(super) fn prefix(&self, bytes: &[u8]) -> usize {
        let (fours, _) = bytes.as_chunks::<4>();
        let whole = fours.iter().take_while(|four| self.contains_all(*four)).count();
        let length = whole * 4;
        let rest = bytes.get(length..).unwrap_or_default();
        length + rest.iter().take_while(|byte| self.contains(**byte)).count()
    }

    /// Whether all of `bytes` are in the set. It does not stop at the first byte that is not, which is rare: a loop without a
    /// branch is several times as fast.
    pub(super) fn contains_all(&self, bytes: &[u8]) -> bool {
        bytes.iter().fold(true, |all, byte| all & self.contains(*byte))
    }
}

const fn is_member(mut members: &[u8], byte: u8) -> bool {
    while let [first, rest @ ..] = members {
        if *first == byte {
            return true;
        }
        members = rest;
    }
    false
}

/// `tchar`: what methods, field names and options consist of (RFC 9110 §5.6.2).
pub(super) static TOKEN: ByteSet =
    ByteSet::of(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

/// `reg-name` and IPv4 addresses (RFC 3986 §3.2.2) without `,` and `%`: a comma makes one `Host` look like two to some
/// backends, and percent-encoding gives one host several spellings. No DNS name has either.
pub(super) static HOST: ByteSet =
    ByteSet::of(b"-._~!$&'()*+;=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

/// Bytes allowed in a path: `pchar` and `/` (RFC 3986 §3.3), and bytes that clients send unescaped against the RFC:
/// `"`, `[`, `]`, `^`, `` ` ``, `{`, `|`, `}`. Not `\`, which some backends read as `/`, and not `<` or `>`, which no
/// browser sends; nor `#`, white space, controls, or bytes above 127.
pub(super) static PATH: ByteSet = ByteSet::of(
    b"-._~!$&'()*+,;=:@/%\"[]^`{|}0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
);

/// Bytes allowed in a query: all printable ASCII except the space and `#`. A query is forwarded as received.
pub(super) static QUERY: ByteSet = ByteSet::of(
    b"-._~!$&'()*+,;=:@/%\"[]^`{|}<>\\?0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
);

/// Whether the bytes are a token, such as the name of a header (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && TOKEN.contains_all(bytes)
}

/// Most lines end within this many bytes.
const SHORT_LINE: usize = 32;

/// Position of the first control byte: below 0x20 (tabs included), or 0x7f. Eight bytes are tested at once, and sixteen
/// in long lines, which is faster for long runs; the block with the byte is then searched again for its position.
#[inline]
pub(super) fn find_control(bytes: &[u8]) -> Option<usize> {
    let Some((first, rest)) = bytes.split_at_checked(SHORT_LINE) else {
        return find_by_words(bytes);
    };
    find_by_words(first).or_else(|| find_by_blocks(rest).map(|at| SHORT_LINE + at))
}

fn find_by_blocks(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let mut offset = 0;
    for block in blocks {
        // No early exit: the compiler turns this into a few vector instructions.
        if block
            .iter()
            .fold(false, |found, byte| found | byte.is_ascii_control())
        {
            return find_by_words(block).map(|at| offset + at);
        }
        offset += block.len();
    }
    find_by_words(rest).map(|at| offset + at)
}

#[inline]
fn find_by_words(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut offset = 0;
    for word in words {
        let found = controls(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(offset + found.trailing_zeros() as usize / 8);
        }
        offset += word.len();
    }
    rest.iter().position(u8::is_ascii_control).map(|at| offset + at)
}

/// A word whose lowest set bit is in the lowest byte of `word` that is a control byte; 0 if there is none. Higher bits may
/// be wrong, because the subtractions borrow from the byte above.
fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const SPACES: u64 = u64::from_ne_bytes([0x20; 8]);
    const DELETES: u64 = u64::from_ne_bytes([0x7f; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    let low = word.wrapping_sub(SPACES) & !word;
    let delete = word ^ DELETES;
    (low | (delete.wrapping_sub(ONES) & !delete)) & TOPS
}

#[cfg(test)]
mod tests {
    use super::{HOST, PATH, QUERY, TOKEN, find_control};
    use proptest::prelude::*;

    #[test]
    fn finds_each_control_byte_at_each_position_and_nothing_else() {
        for byte in 0..=u8::MAX {
            for at in 0..60 {
                let mut bytes =
                    *b"abcdefghij\xff\x80klmnopqrabcdefghij\xff\x80klmnopqrabcdefghij\xff\x80klmnopqr";
                bytes[at] = byte;
                assert_eq!(
                    find_control(&bytes),
                    byte.is_ascii_control().then_some(at),
                    "{byte:#x} at {at}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_search_byte_by_byte(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            prop_assert_eq!(find_control(&bytes), bytes.iter().position(u8::is_ascii_control));
        }

        #[test]
        fn agrees_on_bytes_around_the_edges(bytes in proptest::collection::vec(prop_oneof![
            Just(0x1f_u8), Just(0x20), Just(0x7e), Just(0x7f), Just(0x80), Just(0xa0), Just(0xff), Just(0x00),
        ], 0..128)) {
            prop_assert_eq!(find_control(&bytes), bytes.iter().position(u8::is_ascii_control));
        }
    }

    #[test]
    fn a_prefix_ends_with_the_first_byte_that_is_not_in_the_set() {
        for length in 0..12 {
            let mut bytes = *b"abcdefghijkl";
            assert_eq!(TOKEN.prefix(&bytes[..length]), length);
            bytes[length] = b':';
            assert_eq!(TOKEN.prefix(&bytes), length);
        }
    }

    #[test]
    fn sets_contain_what_the_grammar_allows() {
        for byte in 0..=u8::MAX {
            let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(TOKEN.contains(byte), is_token, "{byte:#x}");
            assert_eq!(
                QUERY.contains(byte),
                byte.is_ascii_graphic() && byte != b'#',
                "{byte:#x}"
            );
            assert_eq!(
                PATH.contains(byte),
                byte.is_ascii_graphic() && !b"#?<>\\".contains(&byte),
                "{byte:#x}"
            );
            let is_host = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte);
            assert_eq!(HOST.contains(byte), is_host, "{byte:#x}");
        }
    }
}
