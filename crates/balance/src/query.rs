//! Reads the parameters of a query as an HTML form encodes them: `%20` and `+` are spaces. An invalid escape stays as it is.
//!
//! Names and values are compared decoded because backends do so. Otherwise `?ver%73ion=2` would reach the backend as `version=2`
//! past a route that matches it.

use smallvec::SmallVec;

/// The values, not decoded, of every parameter with this decoded name. A parameter without `=` has an empty value.
pub fn values<'a>(query: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let pairs = query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs.filter_map(move |pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let is_named = equals(parts.next()?, name);
        is_named.then(|| parts.next().unwrap_or_default())
    })
}

/// Whether an encoded text means this text.
pub fn equals(encoded: &[u8], text: &[u8]) -> bool {
    Bytes(encoded).eq(text.iter().copied())
}

/// Decodes a text; `None` when there is nothing to decode. Longer results are allocated.
pub fn decode(encoded: &[u8]) -> Option<SmallVec<[u8; 256]>> {
    memchr::memchr2(b'%', b'+', encoded)?;
    Some(Bytes(encoded).collect())
}

/// The decoded bytes of an encoded text.
struct Bytes<'a>(&'a [u8]);

impl Iterator for Bytes<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = match self.0 {
            [b'%', high, low, rest @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (b'%', self.0.get(1..)?),
            },
            [b'+', rest @ ..] => (b' ', rest),
            [byte, rest @ ..] => (*byte, rest),
            [] => return None,
        };
        self.0 = rest;
        Some(byte)
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_their_decoded_name() {
        let found = |name: &str| -> Vec<String> {
            let query = b"&a=1&%61=2=3&b&=4&a+b=5&&a";
            let values = values(query, name.as_bytes());
            values
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect()
        };
        assert_eq!(found("a"), ["1", "2=3", ""]);
        assert_eq!(found("b"), [""]);
        assert_eq!(found(""), ["4"]);
        assert_eq!(found("a b"), ["5"]);
        assert!(found("c").is_empty());
    }

    #[test]
    fn escapes_are_decoded_and_invalid_ones_kept() {
        for (encoded, text) in [
            ("%32", "2"),
            ("a%2Bb%2bc+d", "a+b+c d"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%4g", "%zz%4g"),
            ("%%34", "%4"),
            ("%2534", "%34"),
            ("", ""),
        ] {
            assert!(equals(encoded.as_bytes(), text.as_bytes()), "{encoded}");
            let decoded = decode(encoded.as_bytes());
            assert_eq!(decoded.as_deref().unwrap_or(encoded.as_bytes()), text.as_bytes());
        }
        assert!(decode(b"plain").is_none() && decode(b"a+b").is_some());
    }
}
