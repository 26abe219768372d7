//! The Huffman code of RFC 7541, appendix B, read in its canonical form: codes of one length follow each other, in the order
//! of their symbols.

use super::NotDecodable;

/// Symbols by the length of their code in bits. The last code, of 30 ones, is that of the end, which may not stand anywhere.
static SYMBOLS: [(u32, &[u8]); 21] = [
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

/// Decodes `text` into `out`.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), NotDecodable> {
    let (mut bits, mut length) = (0_u64, 0);
    let mut rest = text.iter();
    loop {
        // No code has more than 30 bits.
        while length <= 32
            && let Some(byte) = rest.next()
        {
            bits = bits << 8 | u64::from(*byte);
            length += 8;
        }
        match symbol(bits, length) {
            Some((symbol, used)) => {
                out.push(symbol);
                length -= used;
                bits &= (1 << length) - 1;
            }
            // RFC 7541 §5.2: what is left are the first bits of the end's code, fewer than 8.
            None if length < 8 && bits == (1 << length) - 1 => return Ok(()),
            None => return Err(NotDecodable),
        }
    }
}

/// The symbol that the first of these bits stand for, and how many they are.
fn symbol(bits: u64, length: u32) -> Option<(u8, u32)> {
    let (mut first, mut before) = (0, 0);
    for (size, symbols) in &SYMBOLS {
        if *size > length {
            return None;
        }
        first <<= size - before;
        let code = bits >> (length - size);
        if let Some(symbol) = code
            .checked_sub(first)
            .and_then(|at| symbols.get(usize::try_from(at).ok()?))
        {
            return Some((*symbol, *size));
        }
        first += symbols.len() as u64;
        before = *size;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &[u8]) -> Result<Vec<u8>, NotDecodable> {
        let mut out = Vec::new();
        decode(text, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let text = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(&text), Ok(b"www.example.com".to_vec()));
        assert_eq!(
            decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            Ok(b"no-cache".to_vec())
        );
        assert_eq!(decoded(&[]), Ok(Vec::new()));
    }

    #[test]
    fn all_symbols_are_there_once() {
        let mut all: Vec<u8> = SYMBOLS.iter().flat_map(|(_, symbols)| symbols.to_vec()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..=255).collect::<Vec<u8>>());
    }

    /// RFC 7541 §5.2: padding is made of ones, shorter than a byte, and the code of the end is none.
    #[test]
    fn bad_padding_and_the_end_are_refused() {
        for text in [
            &[0x1c][..],
            &[0x1f, 0xff],
            &[0xff, 0xff, 0xff, 0xfc],
            &[0xff; 4],
            &[0x00],
        ] {
            assert_eq!(decoded(text), Err(NotDecodable), "{text:x?}");
        }
    }
}
