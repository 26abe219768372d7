//! The text of a config and spans in it: maps a span to its line, its column and an excerpt without secrets.

use std::ops::Range;

use super::error::{Excerpt, Problem, Severity};
use super::secrets;

/// Characters of a line that an excerpt shows before, within and after the marked part; an ellipsis replaces the rest.
const MOST_BEFORE: usize = 60;
const MOST_MARKED: usize = 60;
const MOST_AFTER: usize = 60;

/// Longest line, in bytes, that gets an excerpt: the time to mask secrets grows with the square of its length.
const LONGEST_LINE: usize = 2048;

/// Replaces a secret.
const MASK: &str = "***";

/// A range of bytes of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Where the text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file: problems have a line and a column.
    File,
    /// The command line, joined with blanks: problems show the argument.
    Arguments,
}

/// The text of a config.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    pub(super) origin: Origin,
    /// Where lines start. Without it, a thousand problems in a large file would count its lines a thousand times.
    line_starts: Vec<usize>,
}

/// A problem before it is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnostic {
    pub(super) severity: Severity,
    /// `None`: the file as a whole.
    pub(super) span: Option<Span>,
    pub(super) message: String,
    pub(super) notes: Vec<String>,
}

impl Diagnostic {
    /// An error at a span.
    pub(super) fn error(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span: Some(span),
            message: message.into(),
            notes: Vec::new(),
        }
    }

    /// An error of the file as a whole.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span: None,
            message: message.into(),
            notes: Vec::new(),
        }
    }

    /// A warning at a span.
    pub(super) fn warning(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    /// A problem at a span with [`Severity::Overdue`].
    pub(super) fn overdue(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Overdue,
            ..Self::error(span, message)
        }
    }

    /// Adds a line below the excerpt.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds a line below the excerpt when there is one to add.
    pub(super) fn note_if(self, note: Option<String>) -> Self {
        match note {
            Some(note) => self.note(note),
            None => self,
        }
    }
}

impl<'a> Source<'a> {
    /// A text and its name in messages.
    pub(super) fn new(name: &'a str, text: &'a str, origin: Origin) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            name,
            text,
            origin,
            line_starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    /// The line of a span, from 1.
    pub(super) fn line(&self, span: Span) -> usize {
        let start = self.clamp(span.start);
        self.line_starts
            .partition_point(|line_start| *line_start <= start)
    }

    /// The whole line in which a span starts, without its line end.
    pub(super) fn line_text(&self, span: Span) -> &str {
        let line_start = self.line_start(self.clamp(span.start));
        let line = self.text.get(line_start..).unwrap_or_default();
        line.split('\n').next().unwrap_or_default().trim_end()
    }

    /// The text of a span for a message: one line, cut, without control characters and secrets.
    pub(super) fn quote(&self, span: Span) -> String {
        let (start, end) = (self.clamp(span.start), self.clamp(span.end));
        let text = self.text.get(start..end).unwrap_or_default().trim();
        let line = text.lines().next().unwrap_or_default();
        let line = line
            .get(..line.floor_char_boundary(LONGEST_LINE))
            .unwrap_or_default();
        let masks = secrets::in_line(line);
        format!("`{}`", cut_end(&printable(line, 0, &masks), MOST_MARKED))
    }

    /// Renders a diagnostic. The `secret` spans are masked in the excerpt.
    pub(super) fn render(&self, diagnostic: Diagnostic, secret: &[Span]) -> Problem {
        let position = diagnostic
            .span
            .filter(|_| self.origin == Origin::File)
            .map(|span| {
                let start = self.clamp(span.start);
                let line_start = self.line_start(start);
                let before = self.text.get(line_start..start).unwrap_or_default();
                (self.line(span), before.chars().count() + 1)
            });
        Problem {
            severity: diagnostic.severity,
            file: self.name.to_owned(),
            position,
            message: printable(&diagnostic.message, 0, &[]),
            notes: diagnostic
                .notes
                .iter()
                .map(|note| printable(note, 0, &[]))
                .collect(),
            excerpt: diagnostic.span.and_then(|span| self.excerpt(span, secret)),
        }
    }

    fn excerpt(&self, span: Span, secret: &[Span]) -> Option<Excerpt> {
        let start = self.clamp(span.start);
        let line_start = self.line_start(start);
        let line = self.line_text(span);
        if line.len() > LONGEST_LINE {
            return None;
        }
        let mut masks = secrets::in_line(line);
        masks.extend(secret.iter().filter_map(|span| {
            let range = span.start.max(line_start)..span.end.min(line_start + line.len());
            (range.start < range.end).then(|| range.start - line_start..range.end - line_start)
        }));
        let mark_start = (start - line_start).min(line.len());
        let mark_end = (self.clamp(span.end).max(start) - line_start).min(line.len());
        let part = |range: Range<usize>| {
            let offset = range.start;
            printable(line.get(range).unwrap_or_default(), offset, &masks)
        };
        Some(Excerpt {
            before: cut_start(&part(0..mark_start), MOST_BEFORE),
            marked: cut_end(&part(mark_start..mark_end), MOST_MARKED),
            after: cut_end(&part(mark_end..line.len()), MOST_AFTER),
        })
    }

    fn line_start(&self, at: usize) -> usize {
        let line = self.line_starts.partition_point(|line_start| *line_start <= at);
        self.line_starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    fn clamp(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at)
    }
}

/// The text with `masks` replaced (ranges relative to the line; `offset` is where the text starts in it) and without
/// characters that a terminal interprets.
fn printable(text: &str, offset: usize, masks: &[Range<usize>]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut last_mask = None;
    for (at, c) in text.char_indices() {
        let mask = masks.iter().position(|range| range.contains(&(offset + at)));
        match mask {
            Some(_) if mask == last_mask => {}
            Some(_) => shown.push_str(MASK),
            None => shown.push(printable_char(c)),
        }
        last_mask = mask;
    }
    shown
}

fn printable_char(c: char) -> char {
    match c {
        '\t' => ' ',
        // Overrides of the writing direction can make a line look like a different one.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
            '\u{fffd}'
        }
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

fn cut_end(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn cut_start(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(count - most).collect();
    format!("…{kept}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, start: usize, end: usize) -> String {
        let source = Source::new("a.yaml", text, Origin::File);
        let diagnostic = Diagnostic::error(Span { start, end }, "wrong").note("right");
        source.render(diagnostic, &[]).to_string()
    }

    #[test]
    fn underlines_the_span() {
        assert_eq!(
            render("a: 1\n  bb: 22\n", 11, 13),
            "a.yaml:2:7: error: wrong\n   2 |   bb: 22\n     |       ^^\n     = right"
        );
    }

    #[test]
    fn counts_columns_in_characters() {
        assert_eq!(
            render("ä: 1\r\n", 4, 5),
            "a.yaml:1:4: error: wrong\n   1 | ä: 1\n     |    ^\n     = right"
        );
    }

    #[test]
    fn marks_the_end_of_the_text() {
        assert!(render("a: [", 4, 4).contains("\n   1 | a: [\n     |     ^\n"));
        assert!(render("a:\n", 3, 3).starts_with("a.yaml:2:1: "));
        assert!(render("", 99, 120).starts_with("a.yaml:1:1: "));
    }

    #[test]
    fn cuts_long_lines_and_replaces_control_characters() {
        let text = format!("{}\u{1b}[31m{}", "x".repeat(500), "y".repeat(500));
        let shown = render(&text, 500, 501);
        assert!(!shown.contains('\u{1b}'));
        assert!(shown.lines().all(|line| line.chars().count() < 200));
    }

    #[test]
    fn masks_secret_spans() {
        let source = Source::new("a", "x: hush, y: 1", Origin::File);
        let diagnostic = Diagnostic::error(Span { start: 9, end: 10 }, "wrong");
        let shown = source
            .render(diagnostic, &[Span { start: 3, end: 7 }])
            .to_string();
        assert_eq!(
            shown,
            "a:1:10: error: wrong\n   1 | x: ***, y: 1\n     |         ^"
        );
    }
}
