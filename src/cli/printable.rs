//! A stream to a terminal, to which no text can do more than to be shown: names and paths of a config, and what a process reports of
//! its backends, may contain sequences that change the title of a window, hide lines or answer in the name of who reads them.

use std::io::{self, Write};

/// Writes text with `\u{fffd}` in place of the characters that control a terminal or reorder text.
pub(super) struct Printable<W>(pub(super) W);

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        if text.chars().any(is_no_layout) {
            let clean: String = text
                .chars()
                .map(|c| if is_no_layout(c) { '\u{fffd}' } else { c })
                .collect();
            self.0.write_all(clean.as_bytes())?;
        } else {
            self.0.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether a character is harmful and does not belong to the layout of our own lines.
fn is_no_layout(c: char) -> bool {
    is_harmful(c) && c != '\n' && c != '\t'
}

/// Control characters, and those of format of Unicode that hide or reorder text.
pub(super) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        Printable(&mut out).write_all(text.as_bytes()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_controls_the_terminal() {
        assert_eq!(
            written("a\u{1b}]0;title\u{7}b\r\u{9b}31m\u{202e}c"),
            "a\u{fffd}]0;title\u{fffd}b\u{fffd}\u{fffd}31m\u{fffd}c"
        );
    }

    #[test]
    fn lines_and_every_alphabet_stay_as_they_are() {
        let text = "pool\tä\n  ● up – 名前\n";
        assert_eq!(written(text), text);
    }
}
