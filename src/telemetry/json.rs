//! Appends JSON values to a buffer without allocating. Pure. Both logs use it.
//!
//! A string written here can neither end its line nor change the display of a terminal:
//! - `"`, `\`, control bytes and DEL are escaped (RFC 8259 §7), and so are the C1 controls, line and paragraph
//!   separators, zero-width characters and those that change the direction of text;
//! - a byte that is not part of valid UTF-8 is written as `\u00XX`, XX being its value;
//! - a value longer than the bound is cut at a character, and [`CUT_MARK`] is appended.

use std::net::IpAddr;
use std::time::Duration;

use std::io::Write as _;

/// Marks a value that was cut. The character `…` takes three of its bytes.
pub(super) const CUT_MARK: &[u8] = "…[truncated]".as_bytes();

/// Maximum number of output bytes for one byte of input: `\u00XX`.
#[cfg(test)]
pub(super) const GROWTH: usize = 6;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The numbers below 100 with two digits each.
const PAIRS: &[u8; 200] = b"00010203040506070809101112131415161718192021222324252627282930313233343536373839\
    40414243444546474849505152535455565758596061626364656667686970717273747576777879\
    8081828384858687888990919293949596979899";

/// Appends `value` as a JSON string, at most `bound` bytes of it.
pub(super) fn string(out: &mut Vec<u8>, value: &[u8], bound: usize) {
    out.push(b'"');
    text(out, value, bound);
    out.push(b'"');
}

/// Appends `value` as a JSON string, or `null`.
pub(super) fn string_or_null(out: &mut Vec<u8>, value: Option<&[u8]>, bound: usize) {
    match value {
        Some(value) => string(out, value, bound),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends the content of a JSON string without quotes, at most `bound` bytes of `value`.
pub(super) fn text(out: &mut Vec<u8>, value: &[u8], bound: usize) {
    let shown = cut(value, bound);
    if is_plain(shown) {
        out.extend_from_slice(shown);
    } else {
        escape(out, shown);
    }
    if shown.len() < value.len() {
        out.extend_from_slice(CUT_MARK);
    }
}

/// Appends a whole number. Most have few digits, which are appended without a loop.
#[inline]
pub(super) fn number(out: &mut Vec<u8>, value: u64) {
    match value {
        0..10 => out.push(digit(value)),
        10..100 => out.extend_from_slice(&pair(value)),
        100..1000 => out.extend_from_slice(&triple(value)),
        1000..10_000 => {
            let ([a, b], [c, d]) = (pair(value / 100), pair(value % 100));
            out.extend_from_slice(&[a, b, c, d]);
        }
        _ => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
    }
}

/// Appends a duration in milliseconds with three decimals, rounded down to a microsecond.
pub(super) fn millis(out: &mut Vec<u8>, value: Duration) {
    let micros = value
        .as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(value.subsec_micros()));
    let [a, b, c] = triple(micros % 1000);
    match micros / 1000 {
        millis @ 0..10 => out.extend_from_slice(&[digit(millis), b'.', a, b, c]),
        millis => {
            number(out, millis);
            out.extend_from_slice(&[b'.', a, b, c]);
        }
    }
}

/// The lowest decimal digit of `value`.
#[inline]
pub(super) fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

/// The lowest two decimal digits of `value`.
#[inline]
fn pair(value: u64) -> [u8; 2] {
    let [tens, ones] = PAIRS
        .as_chunks()
        .0
        .get((value % 100) as usize)
        .copied()
        .unwrap_or(*b"00");
    [tens, ones]
}

/// The lowest three decimal digits of `value`, zeros included.
#[inline]
pub(super) fn triple(value: u64) -> [u8; 3] {
    let [tens, ones] = pair(value);
    [digit(value / 100), tens, ones]
}

/// Appends an address without quotes and without brackets, IPv6 in the form of RFC 5952.
pub(super) fn ip_address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            number(out, u64::from(a));
            for octet in [b, c, d] {
                out.push(b'.');
                number(out, u64::from(octet));
            }
        }
        // The standard library writes the shortest form; writing to a `Vec` cannot fail.
        IpAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

/// The longest start of `value` that has at most `bound` bytes and does not end within a character.
fn cut(value: &[u8], bound: usize) -> &[u8] {
    let Some(next) = value.get(bound) else {
        return value;
    };
    let whole = value.get(..bound).unwrap_or(value);
    if !is_continuation(*next) {
        return whole;
    }
    // A character has at most three continuation bytes (RFC 3629 §3); more are not UTF-8 and may be split.
    for back in 1..=3_usize.min(bound) {
        let at = bound - back;
        match value.get(at) {
            Some(byte) if is_continuation(*byte) => {}
            Some(byte) if *byte >= 0xC0 => return value.get(..at).unwrap_or(whole),
            _ => break,
        }
    }
    whole
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// Whether no byte needs escaping. Tests 16 bytes at once; the last 16 overlap the ones before them. Almost all values are plain, so
/// stopping early would gain nothing.
#[inline]
fn is_plain(value: &[u8]) -> bool {
    if let Some(last) = value.last_chunk::<16>() {
        let (blocks, _) = value.as_chunks::<16>();
        let found = blocks.iter().fold([0; 16], add_specials);
        return u128::from_ne_bytes(add_specials(found, last)) == 0;
    }
    if let (Some(first), Some(last)) = (value.first_chunk::<8>(), value.last_chunk::<8>()) {
        return specials(u64::from_le_bytes(*first)) | specials(u64::from_le_bytes(*last)) == 0;
    }
    if let (Some(first), Some(last)) = (value.first_chunk::<4>(), value.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return specials(u64::from(first) | (u64::from(last) << 32)) == 0;
    }
    !value.iter().any(|byte| is_special(*byte))
}

/// Marks each place at which a byte of `block` is special. The compiler makes a few vector instructions of it.
#[inline]
fn add_specials(mut found: [u8; 16], block: &[u8; 16]) -> [u8; 16] {
    for (found, byte) in found.iter_mut().zip(block) {
        *found |= u8::from(is_special(*byte));
    }
    found
}

/// A word that is 0 if no byte of `word` is special.
fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    // A subtraction borrows from the byte above only if the byte below is special itself.
    let below = |bytes: u64, bound: u8| bytes.wrapping_sub(ONES * u64::from(bound)) & !bytes;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let is_high = word | word.wrapping_add(ONES);
    (below(word, 0x20) | is(b'"') | is(b'\\') | is_high) & TOPS
}

/// Whether a byte is not printable ASCII or needs escaping.
#[inline]
fn is_special(byte: u8) -> bool {
    !(0x20..0x7F).contains(&byte) || byte == b'"' || byte == b'\\'
}

#[cold]
fn escape(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some((plain, special)) = rest
            .bytes()
            .position(is_special)
            .and_then(|at| rest.split_at_checked(at))
        {
            out.extend_from_slice(plain.as_bytes());
            let mut characters = special.chars();
            characters
                .by_ref()
                .take(1)
                .for_each(|character| escape_character(out, character));
            rest = characters.as_str();
        }
        out.extend_from_slice(rest.as_bytes());
        for byte in chunk.invalid() {
            code_unit(out, u16::from(*byte));
        }
    }
}

fn escape_character(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(br#"\""#),
        '\\' => out.extend_from_slice(br"\\"),
        '\n' => out.extend_from_slice(br"\n"),
        '\r' => out.extend_from_slice(br"\r"),
        '\t' => out.extend_from_slice(br"\t"),
        hidden if is_hidden(hidden) => {
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                code_unit(out, *unit);
            }
        }
        plain => out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Whether a character is invisible but changes the display, or may end a line.
fn is_hidden(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}'   // C0, DEL, C1
        | '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}'               // zero width, direction marks
        | '\u{2028}'..='\u{202E}'               // separators, embeddings and overrides of direction
        | '\u{2060}'..='\u{206F}'               // word joiner, isolates, deprecated format characters
        | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E0FFF}') // tags
}

fn code_unit(out: &mut Vec<u8>, unit: u16) {
    out.extend_from_slice(br"\u");
    for shift in [12, 8, 4, 0] {
        let nibble = usize::from((unit >> shift) & 0xF);
        out.push(HEX.get(nibble).copied().unwrap_or(b'0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: &[u8], bound: usize) -> String {
        let mut out = Vec::new();
        string(&mut out, value, bound);
        String::from_utf8(out).expect("a JSON string is UTF-8")
    }

    #[test]
    fn plain_text_is_not_escaped() {
        assert_eq!(written(b"/a/b?c=d~", 64), r#""/a/b?c=d~""#);
        assert_eq!(written("/größe".as_bytes(), 64), "\"/größe\"");
    }

    #[test]
    fn quotes_controls_and_del_are_escaped() {
        assert_eq!(
            written(b"\"\\\r\n\t\x00\x1b[2J\x7f", 64),
            r#""\"\\\r\n\t\u0000\u001b[2J\u007f""#
        );
    }

    #[test]
    fn hidden_characters_are_escaped() {
        for hidden in [
            '\u{202E}', '\u{2066}', '\u{200E}', '\u{61C}', '\u{2028}', '\u{2029}', '\u{FEFF}', '\u{9B}',
        ] {
            let line = written(hidden.to_string().as_bytes(), 64);
            assert_eq!(line, format!("\"\\u{:04x}\"", u32::from(hidden)));
        }
        assert_eq!(written("\u{E0041}".as_bytes(), 64), r#""\udb40\udc41""#);
    }

    #[test]
    fn invalid_utf8_byte_is_written_as_its_value() {
        assert_eq!(
            written(b"a\xff\xc3(\xe2\x82", 64),
            r#""a\u00ff\u00c3(\u00e2\u0082""#
        );
    }

    #[test]
    fn overlong_value_is_cut_at_a_character_and_marked() {
        assert_eq!(written(b"abcdef", 6), r#""abcdef""#);
        assert_eq!(written(b"abcdefg", 6), r#""abcdef…[truncated]""#);
        assert_eq!(written("abcde€".as_bytes(), 6), r#""abcde…[truncated]""#);
        assert_eq!(written("abcde€".as_bytes(), 7), r#""abcde…[truncated]""#);
        assert_eq!(written("abc€x".as_bytes(), 6), r#""abc€…[truncated]""#);
    }

    #[test]
    fn numbers_of_each_length_have_all_their_digits() {
        for value in (0..10_100).chain([99_999, 100_000, u64::MAX]) {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn durations_have_three_decimals() {
        for (micros, shown) in [
            (0, "0.000"),
            (7, "0.007"),
            (1_000, "1.000"),
            (9_999, "9.999"),
            (10_000, "10.000"),
            (12_345_678, "12345.678"),
        ] {
            let mut out = Vec::new();
            millis(&mut out, Duration::from_micros(micros));
            assert_eq!(out, shown.as_bytes());
        }
        let mut out = Vec::new();
        millis(&mut out, Duration::MAX);
        assert_eq!(out, b"18446744073709551.615");
    }

    #[test]
    fn addresses_are_shown_in_their_shortest_form() {
        for (address, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8:0::1", "2001:db8::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            let mut out = Vec::new();
            ip_address(&mut out, address.parse().expect("an address"));
            assert_eq!(out, shown.as_bytes());
        }
    }

    #[test]
    fn finds_each_special_byte_at_each_position_and_nothing_else() {
        for length in 1..40 {
            for (at, byte) in (0..length).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut value = vec![b'~'; length];
                value[at] = byte;
                assert_eq!(
                    is_plain(&value),
                    !is_special(byte),
                    "{byte:#x} at {at} of {length}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_bounded_string_that_reads_back(
            value in proptest::collection::vec(any::<u8>(), 0..300),
            bound in 1_usize..300,
        ) {
            let line = written(&value, bound);
            prop_assert!(line.len() <= bound * GROWTH + CUT_MARK.len() + 2);
            prop_assert!(!line.chars().any(is_hidden));
            let read: String = serde_json::from_str(&line).expect("valid JSON");
            if value.len() <= bound && let Ok(text) = std::str::from_utf8(&value) {
                prop_assert_eq!(read, text);
            }
        }

        #[test]
        fn any_text_reads_back(text in "\\PC{0,80}|.{0,80}") {
            let read: String = serde_json::from_str(&written(text.as_bytes(), 4096)).expect("valid JSON");
            prop_assert_eq!(read, text);
        }
    }
}
