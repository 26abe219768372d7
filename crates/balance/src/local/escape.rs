//! Writes texts so that they mean nothing but themselves. Each function writes at most `most` bytes: what would be longer is cut
//! off after a whole character.

/// Escapes a text for HTML, in an element or a quoted attribute.
pub(super) fn html(text: &str, most: usize, out: &mut Vec<u8>) {
    write((text, "&<>\"'"), most, out, |character, out| match character {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        character if character.is_control() => out.push_char(' '),
        character => out.push_char(character),
    });
}

/// Escapes a text for a string of JSON (RFC 8259 §7). `<`, `>` and `&` too, in case somebody puts the JSON into a page.
pub(super) fn json(text: &str, most: usize, out: &mut Vec<u8>) {
    write((text, "\"\\<>&"), most, out, |character, out| match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '<' => out.push_str("\\u003c"),
        '>' => out.push_str("\\u003e"),
        '&' => out.push_str("\\u0026"),
        character if character.is_control() => out.push_char(' '),
        character => out.push_char(character),
    });
}

/// Writes a text on one line.
pub(super) fn text(text: &str, most: usize, out: &mut Vec<u8>) {
    write((text, ""), most, out, |character, out| match character {
        character if character.is_control() => out.push_char(' '),
        character => out.push_char(character),
    });
}

/// An escaped character; the longest has 6 bytes.
#[derive(Default)]
struct Escaped {
    bytes: [u8; 8],
    length: usize,
}

impl Escaped {
    fn push_str(&mut self, text: &str) {
        if let Some(bytes) = self.bytes.get_mut(..text.len()) {
            bytes.copy_from_slice(text.as_bytes());
            self.length = text.len();
        }
    }

    fn push_char(&mut self, character: char) {
        self.push_str(character.encode_utf8(&mut [0; 4]));
    }
}

/// Writes a text; `special` are the characters of ASCII that are escaped, beside control characters.
fn write((text, special): (&str, &str), most: usize, out: &mut Vec<u8>, escape: impl Fn(char, &mut Escaped)) {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && !special.as_bytes().contains(&byte);
    if text.len() <= most && text.bytes().all(is_plain) {
        return out.extend_from_slice(text.as_bytes());
    }
    let end = out.len() + most;
    for character in text.chars() {
        let mut escaped = Escaped::default();
        escape(character, &mut escaped);
        if out.len() + escaped.length > end {
            return;
        }
        out.extend_from_slice(escaped.bytes.get(..escaped.length).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(escape: fn(&str, usize, &mut Vec<u8>), text: &str) -> String {
        let mut out = Vec::new();
        escape(text, 48, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_what_has_a_meaning() {
        assert_eq!(
            escaped(html, "<a b=\"'&'>\n"),
            "&lt;a b=&quot;&#39;&amp;&#39;&gt; "
        );
        assert_eq!(escaped(json, "\"\\<>&\u{1}ü"), "\\\"\\\\\\u003c\\u003e\\u0026 ü");
        assert_eq!(escaped(text, "<a>\r\nb"), "<a>  b");
    }

    #[test]
    fn cuts_after_a_whole_character() {
        assert_eq!(escaped(html, &"<".repeat(20)), "&lt;".repeat(12));
        assert_eq!(escaped(html, &"&".repeat(20)), "&amp;".repeat(9));
        assert_eq!(escaped(text, &"ü€".repeat(20)), format!("{}ü", "ü€".repeat(9)));
    }
}
