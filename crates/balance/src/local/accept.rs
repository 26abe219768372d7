//! Chooses the form of a body by `Accept` (RFC 9110 §12.5.1), with its quality values.

use std::cmp::Reverse;

use evenkeel_wire::head::list;

/// Maximum number of media ranges that are read: a head could hold thousands.
const MAX_RANGES: usize = 64;

/// The form of the body of a local response. Where a client does not care, an earlier one is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Plain text, also when nothing is acceptable: a response that nobody asked for is better than none.
    Text,
    /// Problem details.
    Json,
    /// A page.
    Html,
}

impl Form {
    /// The media type of the body.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/problem+json",
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

/// The form that the values of `Accept` ask for. The highest quality wins; of equal ones, what the client names more precisely,
/// then what it names first.
pub fn form<'a>(accept: impl IntoIterator<Item = &'a [u8]>) -> Form {
    let mut offers = [Form::Text, Form::Json, Form::Html].map(|form| (form, Offer::default()));
    let elements = accept.into_iter().flat_map(list::elements);
    for (position, element) in elements.take(MAX_RANGES).enumerate() {
        let Some(range) = Range::parse(element) else {
            continue;
        };
        for (form, offer) in &mut offers {
            offer.consider(range.precision(*form), range.quality, position);
        }
    }
    let acceptable = offers.iter().filter(|(_, offer)| offer.quality > 0);
    // `min_by_key` keeps the first of equal ones.
    let best = acceptable
        .min_by_key(|(_, offer)| Reverse((offer.quality, offer.precision, Reverse(offer.position))));
    best.map_or(Form::Text, |(form, _)| *form)
}

/// How much the client wants one form: the word of the most precise range that matches.
#[derive(Default, Clone, Copy)]
struct Offer {
    /// 0 for a form that no range matches.
    precision: u8,
    /// In thousandths.
    quality: u16,
    position: usize,
}

impl Offer {
    fn consider(&mut self, precision: u8, quality: u16, position: usize) {
        let is_better = (precision, quality) > (self.precision, self.quality);
        if precision > 0 && (is_better || self.precision == 0) {
            *self = Self {
                precision,
                quality,
                position,
            };
        }
    }
}

/// A media range.
struct Range<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    /// `None` for what is not a media range with a valid quality.
    fn parse(element: &'a [u8]) -> Option<Self> {
        let mut parts = element.split(|byte| *byte == b';').map(list::trim);
        let media = parts.next()?;
        let slash = memchr::memchr(b'/', media)?;
        let mut quality = 1_000;
        for parameter in parts {
            if let [b'q' | b'Q', b'=', value @ ..] = parameter {
                quality = thousandths(value)?;
            }
        }
        Some(Self {
            kind: media.get(..slash)?,
            subtype: media.get(slash + 1..)?,
            quality,
        })
    }

    /// How precisely the range names a form: 3 for its type, 2 for `type/*`, 1 for `*/*`, 0 if it does not match.
    fn precision(&self, form: Form) -> u8 {
        let is = |kind: &str| self.kind.eq_ignore_ascii_case(kind.as_bytes());
        let is_sub = |subtype: &str| self.subtype.eq_ignore_ascii_case(subtype.as_bytes());
        let is_named = match form {
            Form::Text => is("text") && is_sub("plain"),
            Form::Html => is("text") && is_sub("html"),
            Form::Json => is_sub("json") || self.is_structured_json(),
        };
        let is_family = match form {
            Form::Text | Form::Html => is("text"),
            Form::Json => is("application"),
        };
        match self.subtype {
            _ if is_named => 3,
            b"*" if is_family => 2,
            b"*" if self.kind == b"*" => 1,
            _ => 0,
        }
    }

    /// Whether the type is some other JSON (RFC 6839 §3.1), as of programs that understand one format only.
    fn is_structured_json(&self) -> bool {
        let start = self.subtype.len().saturating_sub(b"+json".len());
        let suffix = self.subtype.get(start..).unwrap_or_default();
        suffix.eq_ignore_ascii_case(b"+json")
    }
}

/// Reads a quality from 0 to 1 with at most three decimals.
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, decimals) = match value {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut quality = u16::from(whole - b'0');
    for index in 0..3 {
        let digit = decimals.get(index).copied().unwrap_or(b'0');
        quality = quality * 10 + u16::from(char::from(digit).to_digit(10)? as u8);
    }
    (quality <= 1_000).then_some(quality)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chooses_what_the_client_wants() {
        for (accept, expected) in [
            ("", Form::Text),
            ("*/*", Form::Text),
            ("text/*", Form::Text),
            ("text/plain", Form::Text),
            ("image/png", Form::Text),
            ("text/html", Form::Html),
            ("TEXT/HTML", Form::Html),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
                Form::Html,
            ),
            ("application/json, text/plain, */*", Form::Json),
            ("text/plain, application/json", Form::Text),
            ("application/json", Form::Json),
            ("application/problem+json", Form::Json),
            ("application/vnd.api+JSON", Form::Json),
            ("application/*", Form::Json),
            ("application/jsonp", Form::Text),
            ("application/json;q=0.9, text/html", Form::Html),
            ("text/html;q=0.5, application/json;q=0.6", Form::Json),
            ("text/html;q=0.5, */*;q=0.6", Form::Text),
            ("text/html;q=0, application/json;q=0, */*", Form::Text),
            ("text/html;q=0", Form::Text),
            ("text/plain;q=0, */*", Form::Json),
            ("text/plain;q=0, application/json;q=0.0, */*;q=0.001", Form::Html),
            ("text/html;level=1;q=0.3, application/json ; Q=0.2", Form::Html),
            (
                "text/html;q=0.3, text/html;level=1;q=0.9, application/json;q=0.5",
                Form::Html,
            ),
            ("text/html;q=2, application/json;q=0.1", Form::Json),
            ("text/html;q=0.1234, application/json;q=0.1", Form::Json),
            ("text/html;q=x", Form::Text),
            ("html, application/json;q=0.1", Form::Json),
            ("text/html;x=\"a,b/c\"", Form::Html),
        ] {
            assert_eq!(form([accept.as_bytes()]), expected, "{accept}");
        }
        assert_eq!(form([]), Form::Text);
        assert_eq!(form([&b"image/png"[..], b"text/html"]), Form::Html);
    }

    #[test]
    fn reads_a_bounded_number_of_ranges() {
        let many = "a/b,".repeat(MAX_RANGES);
        assert_eq!(form([format!("{many}text/html").as_bytes()]), Form::Text);
        assert_eq!(form([format!("{},text/html", &many[4..]).as_bytes()]), Form::Html);
    }

    proptest! {
        #[test]
        fn reads_any_bytes(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4)) {
            form(values.iter().map(Vec::as_slice));
        }

        #[test]
        fn the_highest_quality_wins(html in 1_u16..1_000, json in 1_u16..1_000) {
            prop_assume!(html != json);
            let accept = format!("text/html;q=0.{html:03}, application/json;q=0.{json:03}");
            let expected = if html > json { Form::Html } else { Form::Json };
            prop_assert_eq!(form([accept.as_bytes()]), expected);
        }
    }
}
