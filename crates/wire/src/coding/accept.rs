//! `Accept-Encoding` (RFC 9110 §12.5.3): which content coding a client likes best.

use super::ContentCoding;
use crate::head::list;

/// A weight in thousandths; 0 means "not acceptable" (RFC 9110 §12.4.2).
type Weight = u16;

/// What a client has said.
#[derive(Debug, Default)]
struct Accepted {
    codings: [Option<Weight>; ContentCoding::ALL.len()],
    /// `*`: every coding that is not listed.
    others: Option<Weight>,
    /// The body as it is.
    identity: Option<Weight>,
}

/// The coding of `ours` with the highest weight, and of several the first. `None` when the client wants the body as it is, accepts
/// none of them, or has said nothing: then it could accept anything (RFC 9110 §12.5.3), but may be able to decode nothing.
pub fn preferred<'v>(lines: impl Iterator<Item = &'v [u8]>, ours: &[ContentCoding]) -> Option<ContentCoding> {
    let accepted = Accepted::read(lines);
    let least = accepted.identity.unwrap_or(0).max(1);
    let mut best: Option<(ContentCoding, Weight)> = None;
    for coding in ours {
        let weight = accepted.weight(*coding);
        if weight >= least && best.is_none_or(|(_, highest)| weight > highest) {
            best = Some((*coding, weight));
        }
    }
    best.map(|(coding, _)| coding)
}

impl Accepted {
    fn read<'v>(lines: impl Iterator<Item = &'v [u8]>) -> Self {
        let mut accepted = Self::default();
        for element in lines.flat_map(list::elements) {
            let (name, weight) = split_weight(element);
            let entry = match ContentCoding::from_name(name) {
                Some(coding) => accepted.entry(coding),
                None if name == b"*" => Some(&mut accepted.others),
                None if name.eq_ignore_ascii_case(b"identity") => Some(&mut accepted.identity),
                None => None,
            };
            if let Some(entry) = entry {
                // Of contradictions the more careful one counts.
                *entry = Some(entry.map_or(weight, |before| before.min(weight)));
            }
        }
        accepted
    }

    fn entry(&mut self, coding: ContentCoding) -> Option<&mut Option<Weight>> {
        let index = ContentCoding::ALL.iter().position(|other| *other == coding)?;
        self.codings.get_mut(index)
    }

    fn weight(&self, coding: ContentCoding) -> Weight {
        let mut entries = ContentCoding::ALL.iter().zip(&self.codings);
        let listed = entries.find(|(other, _)| **other == coding);
        listed
            .and_then(|(_, weight)| *weight)
            .or(self.others)
            .unwrap_or(0)
    }
}

/// A coding and its weight. What cannot be understood is not acceptable.
fn split_weight(element: &[u8]) -> (&[u8], Weight) {
    let mut parts = element.split(|byte| *byte == b';').map(list::trim);
    let name = parts.next().unwrap_or_default();
    match (parts.next(), parts.next()) {
        (None, _) => (name, 1000),
        (Some([b'q' | b'Q', b'=', value @ ..]), None) => (name, weight(value).unwrap_or(0)),
        _ => (name, 0),
    }
}

/// `0`, `0.` and up to three digits, or `1` with zeros only.
fn weight(value: &[u8]) -> Option<Weight> {
    let (whole, decimals) = match value {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut thousandths = 0;
    for index in 0..3 {
        let digit = decimals.get(index).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths = thousandths * 10 + Weight::from(digit - b'0');
    }
    match whole {
        b'0' => Some(thousandths),
        _ => (thousandths == 0).then_some(1000),
    }
}

#[cfg(test)]
mod tests {
    use ContentCoding::{Br, Gzip, Zstd};
    use proptest::prelude::*;

    use super::*;

    fn chosen(lines: &[&str], ours: &[ContentCoding]) -> Option<ContentCoding> {
        preferred(lines.iter().map(|line| line.as_bytes()), ours)
    }

    #[test]
    fn the_highest_weight_wins_and_the_servers_order_between_equals() {
        for (line, expected) in [
            ("gzip", Some(Gzip)),
            ("GZip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, deflate, br", Some(Br)),
            ("gzip;q=1.0, br;q=0.9, zstd;q=0.899", Some(Gzip)),
            ("gzip ; q=0.5 ,\tbr;Q=0.5", Some(Br)),
            ("gzip;q=0.001", Some(Gzip)),
            ("deflate, compress", None),
            ("", None),
            (", ,", None),
            // Not acceptable.
            ("gzip;q=0", None),
            ("zstd;q=0, br;q=0.000, gzip", Some(Gzip)),
            // The others.
            ("*", Some(Zstd)),
            ("*;q=0", None),
            ("zstd;q=0, *;q=0.5", Some(Br)),
            ("gzip, *;q=0", Some(Gzip)),
            ("gzip;q=0.4, *;q=0.3", Some(Gzip)),
            // The body as it is.
            ("identity", None),
            ("identity, gzip", Some(Gzip)),
            ("identity;q=0.5, gzip;q=0.4", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Gzip)),
            ("identity;q=0", None),
            ("identity;q=0, br;q=0.1", Some(Br)),
            ("identity;q=1, *;q=0.5", None),
        ] {
            assert_eq!(chosen(&[line], &ContentCoding::ALL), expected, "{line}");
        }
        assert_eq!(chosen(&["gzip, br, zstd"], &[Gzip, Br, Zstd]), Some(Gzip));
        assert_eq!(chosen(&["br, zstd"], &[Gzip]), None);
    }

    #[test]
    fn no_header_accepts_nothing_in_particular() {
        assert_eq!(chosen(&[], &ContentCoding::ALL), None);
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(chosen(&["gzip;q=0.5", "br;q=0.6"], &ContentCoding::ALL), Some(Br));
        assert_eq!(chosen(&["gzip", "gzip;q=0"], &ContentCoding::ALL), None);
        assert_eq!(chosen(&["gzip;q=0", "gzip"], &ContentCoding::ALL), None);
    }

    #[test]
    fn a_weight_that_cannot_be_understood_accepts_nothing() {
        for weight in [
            "q=", "q=2", "q=1.1", "q=1.001", "q=0.1234", "q=.5", "q=-0", "q=0,5", "q=0.5x", "q = 0.5", "x=1",
            "q=1;q=1", "", "q=+1", "q=1e0", "\"q=1\"",
        ] {
            assert_eq!(chosen(&[&format!("gzip;{weight}")], &[Gzip]), None, "{weight}");
        }
        for weight in ["q=1", "q=1.", "q=1.000", "q=0.1", "q=0.01", "q=0.999"] {
            assert_eq!(
                chosen(&[&format!("gzip;{weight}")], &[Gzip]),
                Some(Gzip),
                "{weight}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_only_what_is_named_is_chosen(line in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(coding) = preferred([line.as_slice()].into_iter(), &ContentCoding::ALL) {
                let text = String::from_utf8_lossy(&line).to_lowercase();
                prop_assert!(text.contains(coding.name()) || text.contains('*'));
            }
        }

        #[test]
        fn a_coding_that_is_forbidden_is_never_chosen(
            weights in prop::collection::vec((0_usize..4, 0_u16..=1000), 0..8),
        ) {
            let names = ["zstd", "br", "gzip", "*"];
            let elements: Vec<_> = weights
                .iter()
                .map(|(name, weight)| format!("{};q={}.{:03}", names[*name], weight / 1000, weight % 1000))
                .collect();
            let line = elements.join(", ");
            let lowest = |name| weights.iter().filter(|(other, _)| *other == name).map(|(_, weight)| *weight).min();
            let weight = |index: usize| lowest(index).or(lowest(3)).unwrap_or(0);
            let highest = (0..3).map(weight).max().unwrap_or(0);
            let expected = (0..3).find(|index| weight(*index) == highest && highest > 0);
            let expected = expected.map(|index| ContentCoding::ALL[index]);
            prop_assert_eq!(chosen(&[&line], &ContentCoding::ALL), expected, "{}", line);
        }
    }
}
