//! Decodes the Huffman code of RFC 7541, appendix B. It is canonical: codes of one length are consecutive, in the order of
//! their symbols. Frequent symbols have codes of at most 8 bits and are found in a table by the next 8 bits; the others by the
//! length of their code. There is no encoder: the bytes it would save are not worth its time.

use super::NotDecodable;

/// Symbols by the length of their code in bits. The last code, of 30 ones, is EOS, which must not occur in a string.
const SYMBOLS: [(u32, &[u8]); 21] = [
    (5, &[48, 49, 50, 97, 99, 101, 105, 111, 115, 116]),
    (
        6,
        &[
            32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109,
            110, 112, 114, 117,
        ],
    ),
    (
        7,
        &[
            58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89,
            106, 107, 113, 118, 119, 120, 121, 122,
        ],
    ),
    (8, &[38, 42, 44, 59, 88, 90]),
    (10, &[33, 34, 40, 41, 63]),
    (11, &[39, 43, 124]),
    (12, &[35, 62]),
    (13, &[0, 36, 64, 91, 93, 126]),
    (14, &[94, 125]),
    (15, &[60, 96, 123]),
    (19, &[92, 195, 208]),
    (20, &[128, 130, 131, 162, 184, 194, 224, 226]),
    (
        21,
        &[153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230],
    ),
    (
        22,
        &[
            129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187,
            189, 190, 196, 198, 228, 232, 233,
        ],
    ),
    (
        23,
        &[
            1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174,
            175, 180, 182, 183, 188, 191, 197, 231, 239,
        ],
    ),
    (24, &[9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237]),
    (25, &[199, 207, 234, 235]),
    (
        26,
        &[
            192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255,
        ],
    ),
    (
        27,
        &[
            203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
        ],
    ),
    (
        28,
        &[
            2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31,
            127, 220, 249,
        ],
    ),
    (30, &[10, 13, 22]),
];

/// The symbol whose code the next 8 bits begin with.
#[derive(Clone, Copy, Default)]
struct Step {
    symbol: u8,
    /// Length of its code in bits; 0 when the code is longer than 8 bits.
    bits: u8,
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct Range {
    bits: u32,
    /// The first code, left-aligned in 32 bits.
    first: u32,
    symbols: &'static [u8],
}

static STEPS: [Step; 256] = steps();
/// In ascending order of their codes.
static RANGES: [Range; SYMBOLS.len()] = ranges();

/// Decodes `text` into `out`, replacing its content.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), NotDecodable> {
    out.clear();
    // No code is shorter than 5 bits.
    out.reserve(text.len() * 8 / 5);
    // The next bits, left-aligned; zeros below them.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut rest = text;
    loop {
        // Refill: afterwards `bits` holds more than the longest code, or all remaining bits.
        if count < 32 {
            if let Some((word, more)) = rest.split_first_chunk() {
                bits |= u64::from(u32::from_be_bytes(*word)) << (32 - count);
                count += 32;
                rest = more;
            } else {
                for byte in rest {
                    bits |= u64::from(*byte) << (56 - count);
                    count += 8;
                }
                rest = &[];
            }
        }
        if count >= 32
            && let Some((symbols, used)) = four_symbols(bits)
        {
            out.extend_from_slice(&symbols);
            bits <<= used;
            count -= used;
            continue;
        }
        match symbol(bits) {
            Some((symbol, used)) if used <= count => {
                out.push(symbol);
                bits <<= used;
                count -= used;
            }
            _ => break,
        }
    }
    // RFC 7541 §5.2: padding consists of the first bits of EOS, fewer than 8.
    let is_padding = count < 8 && (bits >> 56) | (0xff >> count) == 0xff;
    is_padding.then_some(()).ok_or(NotDecodable)
}

/// The next four symbols if all have short codes, and the total length of their codes in bits.
fn four_symbols(bits: u64) -> Option<([u8; 4], u32)> {
    let mut symbols = [0; 4];
    let (mut rest, mut used, mut is_short) = (bits, 0, true);
    for symbol in &mut symbols {
        let step = step(rest);
        *symbol = step.symbol;
        rest <<= step.bits;
        used += u32::from(step.bits);
        is_short &= step.bits != 0;
    }
    is_short.then_some((symbols, used))
}

/// The symbol whose code these bits begin with, and the length of its code in bits. `None` for EOS.
fn symbol(bits: u64) -> Option<(u8, u32)> {
    let step = step(bits);
    if step.bits != 0 {
        return Some((step.symbol, u32::from(step.bits)));
    }
    let word = (bits >> 32) as u32;
    RANGES.iter().find_map(|range| {
        let at = word.checked_sub(range.first)? >> (32 - range.bits);
        let symbol = range.symbols.get(at as usize)?;
        Some((*symbol, range.bits))
    })
}

fn step(bits: u64) -> Step {
    let first = usize::from((bits >> 56) as u8);
    STEPS.get(first).copied().unwrap_or_default()
}

#[allow(
    clippy::indexing_slicing,
    reason = "while compiling, where an index beyond the end is an error"
)]
const fn ranges() -> [Range; SYMBOLS.len()] {
    let mut ranges = [Range {
        bits: 0,
        first: 0,
        symbols: &[],
    }; SYMBOLS.len()];
    let (mut at, mut first) = (0, 0);
    while at < ranges.len() {
        let (bits, symbols) = SYMBOLS[at];
        ranges[at] = Range { bits, first, symbols };
        first += (symbols.len() as u32) << (32 - bits);
        at += 1;
    }
    ranges
}

#[allow(
    clippy::indexing_slicing,
    reason = "while compiling, where an index beyond the end is an error"
)]
const fn steps() -> [Step; 256] {
    let mut steps = [Step { symbol: 0, bits: 0 }; 256];
    let (mut length, mut first) = (0, 0);
    while length < SYMBOLS.len() && SYMBOLS[length].0 <= 8 {
        let (bits, symbols) = SYMBOLS[length];
        let mut at = 0;
        while at < symbols.len() << (8 - bits) {
            let symbol = symbols[at >> (8 - bits)];
            steps[first + at] = Step {
                symbol,
                bits: bits as u8,
            };
            at += 1;
        }
        first += at;
        length += 1;
    }
    steps
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &[u8]) -> Result<Vec<u8>, NotDecodable> {
        let mut out = b"of before".to_vec();
        decode(text, &mut out).map(|()| out)
    }

    /// The codes of all symbols as strings of binary digits, derived from the lengths alone.
    fn codes() -> Vec<(u8, String)> {
        let (mut next, mut before) = (0_u32, 0);
        let mut codes = Vec::new();
        for (bits, symbols) in SYMBOLS {
            next <<= bits - before;
            before = bits;
            for symbol in symbols {
                codes.push((*symbol, format!("{next:0width$b}", width = bits as usize)));
                next += 1;
            }
        }
        codes
    }

    /// Reference decoder that works bit by bit.
    fn decoded_bit_by_bit(text: &[u8]) -> Result<Vec<u8>, NotDecodable> {
        let codes = codes();
        let (mut out, mut bits) = (Vec::new(), String::new());
        for digit in text.iter().flat_map(|byte| format!("{byte:08b}").into_bytes()) {
            bits.push(char::from(digit));
            if let Some((symbol, _)) = codes.iter().find(|(_, code)| *code == bits) {
                out.push(*symbol);
                bits.clear();
            }
        }
        let is_padding = bits.len() < 8 && !bits.contains('0');
        is_padding.then_some(out).ok_or(NotDecodable)
    }

    pub(in super::super) fn encoded(text: &[u8]) -> Vec<u8> {
        let codes = codes();
        let code = |byte: &u8| codes.iter().find(|(symbol, _)| symbol == byte).unwrap().1.clone();
        let mut bits: String = text.iter().map(code).collect();
        bits.extend(std::iter::repeat_n(
            '1',
            bits.len().next_multiple_of(8) - bits.len(),
        ));
        let byte = |digits: &[u8]| u8::from_str_radix(str::from_utf8(digits).unwrap(), 2).unwrap();
        bits.as_bytes().chunks(8).map(byte).collect()
    }

    #[test]
    fn decodes_rfc_examples() {
        let cases: [(&[u8], &[u8]); 4] = [
            (
                b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
                b"www.example.com",
            ),
            (b"\xa8\xeb\x10\x64\x9c\xbf", b"no-cache"),
            (b"\x64\x02", b"302"),
            (b"", b""),
        ];
        for (text, meant) in cases {
            assert_eq!(decoded(text), Ok(meant.to_vec()));
        }
    }

    /// Together with EOS the codes fill the code space exactly: no symbol is missing, and no code is too long.
    #[test]
    fn the_code_is_complete() {
        let mut all: Vec<u8> = SYMBOLS.iter().flat_map(|(_, symbols)| symbols.to_vec()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..=255).collect::<Vec<u8>>());
        let space: u64 = codes().iter().map(|(_, code)| 1 << (30 - code.len())).sum();
        assert_eq!(space + 1, 1 << 30);
    }

    #[test]
    fn decodes_every_symbol_at_every_bit_offset() {
        for symbol in 0..=255 {
            for before in 0..9 {
                let text = [&b"o".repeat(before), &[symbol][..], b"abcdefgh"].concat();
                assert_eq!(decoded(&encoded(&text)), Ok(text));
            }
        }
    }

    /// RFC 7541 §5.2: padding consists of ones, is shorter than a byte, and EOS must not occur.
    #[test]
    fn rejects_bad_padding_and_eos() {
        for text in [
            &[0x1c][..],
            &[0x1f, 0xff],
            &[0xff],
            &[0xff, 0xff, 0xff, 0xfc],
            &[0xff; 4],
            &[0x00],
            &[0xff, 0xff, 0xff, 0xfc, 0x00, 0x00, 0x00, 0x00, 0x00],
        ] {
            assert_eq!(decoded(text), Err(NotDecodable), "{text:x?}");
        }
    }

    proptest! {
        #[test]
        fn decodes_any_bytes_like_the_reference(text in vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decoded(&text), decoded_bit_by_bit(&text));
        }

        #[test]
        fn round_trips_any_text(text in vec(any::<u8>(), 0..40), damage in any::<(prop::sample::Index, u8)>()) {
            let mut bytes = encoded(&text);
            prop_assert_eq!(decoded(&bytes), Ok(text));
            if !bytes.is_empty() {
                let at = damage.0.index(bytes.len());
                bytes[at] ^= damage.1;
                prop_assert_eq!(decoded(&bytes), decoded_bit_by_bit(&bytes));
            }
        }
    }
}
