//! Explains YAML syntax errors: where the mistake probably is, which is often above the position that the parser reports,
//! and what to write.

use serde_saphyr::granit_parser::ScanError;

use super::context::Context;
use super::source::{Diagnostic, Source, Span};

/// Deepest nesting of brackets that is tracked.
const DEEPEST: usize = 64;

/// The diagnostic for an error of the parser.
pub(super) fn diagnostic(cx: &Context<'_>, error: &ScanError) -> Diagnostic {
    let at = error.marker().byte_offset().unwrap_or_default();
    let span = Span { start: at, end: at };
    let reason = error.kind().to_string();
    if let Some(bracket) = open_bracket(cx.source.text, at) {
        return bracket.diagnostic(&cx.source, span);
    }
    if reason.starts_with("mapping values are not allowed")
        && let Some(line) = line_without_colon(&cx.source, span)
    {
        return Diagnostic::error(line, "invalid YAML: missing `: ` between a key and its value")
            .note("write `key: value`, such as `listen: 0.0.0.0:8080`");
    }
    let hint = hint(&cx.source, span, &reason);
    Diagnostic::error(span, format!("invalid YAML: {reason}")).note_if(hint.map(str::to_owned))
}

fn hint(source: &Source<'_>, span: Span, reason: &str) -> Option<&'static str> {
    let line = source.line_text(span);
    let next = source.text.get(span.start..).unwrap_or_default();
    Some(match reason {
        _ if line.contains("]:") => "an IPv6 address needs quotes: \"[::1]:8080\"",
        _ if line.contains('\t') => "tabs are not allowed as indentation: use spaces",
        _ if next.starts_with(['%', '@', '`']) => "text that starts with this character needs quotes",
        _ if reason.contains("did not find expected '-' indicator") => {
            "all keys of one item must start in the same column, the first one after `- `"
        }
        _ if reason.contains("did not find expected key") || reason.starts_with("mapping values") => {
            "all keys of one map must start in the same column"
        }
        _ if reason.starts_with("invalid trailing content") => {
            "a quote ends too early, or a comma is missing"
        }
        _ => return None,
    })
}

/// The line above a span, when it has text and no colon that could end a key.
fn line_without_colon(source: &Source<'_>, at: Span) -> Option<Span> {
    let before = source.text.get(..at.start)?;
    let (above, _) = before.rsplit_once('\n')?;
    let above = above.trim_end();
    let start = above.rfind('\n').map_or(0, |end| end + 1);
    let line = above.get(start..)?;
    let text = line.trim_start();
    let is_comment = text.is_empty() || text.starts_with(['#', '-']);
    let has_colon = text.contains(": ") || text.ends_with(':');
    (!is_comment && !has_colon).then_some(Span {
        start: start + (line.len() - text.len()),
        end: start + line.len(),
    })
}

/// A bracket that is not closed, or is closed by one of the other kind.
#[derive(Debug, PartialEq, Eq)]
struct OpenBracket {
    at: usize,
    bracket: char,
    /// The offset of a closing bracket of the other kind in its place.
    closed_by: Option<(usize, char)>,
}

impl OpenBracket {
    fn diagnostic(&self, source: &Source<'_>, stumbled: Span) -> Diagnostic {
        let (bracket, end) = (self.bracket, closing(self.bracket));
        let span = Span {
            start: self.at,
            end: self.at + 1,
        };
        let diagnostic = Diagnostic::error(span, format!("invalid YAML: this `{bracket}` is never closed"));
        let (line, last) = (source.line(span), source.line(stumbled));
        match self.closed_by {
            Some((at, other)) => {
                let line = source.line(Span { start: at, end: at });
                diagnostic.note(format!("line {line} has `{other}` where `{end}` is expected"))
            }
            None if last > line => diagnostic.note(format!("write `{end}` before line {last}")),
            None => diagnostic.note(format!("write `{end}` at its end")),
        }
    }
}

/// The innermost bracket that opens at `at` or before and is not closed in the whole text.
fn open_bracket(text: &str, at: usize) -> Option<OpenBracket> {
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut rest = Scan::new(text);
    while let Some((index, c)) = rest.next(!open.is_empty()) {
        match c {
            '[' | '{' if open.len() < DEEPEST => open.push((index, c)),
            ']' | '}' => {
                let Some((opened, bracket)) = open.pop() else {
                    continue;
                };
                if closing(bracket) != c {
                    return (opened <= at).then_some(OpenBracket {
                        at: opened,
                        bracket,
                        closed_by: Some((index, c)),
                    });
                }
            }
            _ => {}
        }
    }
    let (opened, bracket) = open.into_iter().rfind(|(opened, _)| *opened <= at)?;
    Some(OpenBracket {
        at: opened,
        bracket,
        closed_by: None,
    })
}

fn closing(bracket: char) -> char {
    if bracket == '[' { ']' } else { '}' }
}

/// Iterates over the brackets of a text that are syntax: not those in comments, quotes or plain text.
struct Scan<'a> {
    chars: std::iter::Peekable<std::str::CharIndices<'a>>,
    /// Whether a value can begin here.
    is_start: bool,
    /// Whether the last character was a blank or an end of line.
    is_after_blank: bool,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            chars: text.char_indices().peekable(),
            is_start: true,
            is_after_blank: true,
        }
    }

    fn next(&mut self, is_within: bool) -> Option<(usize, char)> {
        while let Some((index, c)) = self.chars.next() {
            let (is_start, is_after_blank) = (self.is_start, self.is_after_blank);
            self.is_after_blank = c.is_whitespace();
            match c {
                '#' if is_after_blank => while self.chars.next_if(|(_, c)| *c != '\n').is_some() {},
                '"' | '\'' if is_start => self.skip_quoted(c),
                '[' | '{' if is_start || is_within => {
                    self.is_start = true;
                    return Some((index, c));
                }
                ']' | '}' if is_within => {
                    self.is_start = false;
                    return Some((index, c));
                }
                '\n' => self.is_start = true,
                // A value begins after `: ` and `- `, and within brackets after a comma.
                ':' | '-' | ',' => {
                    let is_mark = self.chars.peek().is_none_or(|(_, next)| next.is_whitespace());
                    self.is_start = is_mark || (c == ',' && is_within);
                }
                c if c.is_whitespace() => {}
                _ => self.is_start = false,
            }
        }
        None
    }

    /// Skips quoted text. In single quotes, two quotes are an escaped one.
    fn skip_quoted(&mut self, quote: char) {
        self.is_start = false;
        while let Some((_, c)) = self.chars.next() {
            if c == '\\' && quote == '"' {
                self.chars.next();
            } else if c == quote && (quote == '"' || self.chars.next_if(|(_, c)| *c == quote).is_none()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offset of the unclosed bracket, searched from the end of the text.
    fn found(text: &str) -> Option<usize> {
        open_bracket(text, text.len()).map(|bracket| bracket.at)
    }

    #[test]
    fn finds_the_bracket_that_is_never_closed() {
        assert_eq!(found("a: [1, 2\nb: 3"), Some(3));
        assert_eq!(found("a: [1, 2\nb: [{ c: 3 }]"), Some(3));
        assert_eq!(found("a: [{ b: 1, c: 2]\n"), Some(4));
        assert_eq!(found("- { a: 1\n"), Some(2));
        assert_eq!(found("a: ['x', [\n"), Some(9));
    }

    #[test]
    fn ignores_brackets_that_are_text() {
        for text in [
            "a: [1, 2]\nb: { c: [3] }",
            "a: \"[\"\nb: ']['",
            "a: x[1\nb: y{",
            "a: 1 # [\n# {\n",
            "a: [\"]\", '''[']",
            "a: \"\\\"[\"",
            "a: http://b#[",
            "",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn ignores_brackets_after_the_error() {
        assert_eq!(open_bracket("a: b: c\nd: [", 4), None);
    }
}
