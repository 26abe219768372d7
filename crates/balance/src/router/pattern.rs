//! Regular expressions of routes, compiled when the config is read. Each search takes time linear in the text; the limits below
//! bound what a pattern may cost.
//!
//! Patterns match bytes: `\d`, `\w` and `(?i)` know ASCII only, and `.` is any byte except a line feed.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex::bytes::{Captures, Regex, RegexBuilder};

/// Longest pattern, in bytes.
pub const LONGEST_PATTERN: usize = 4 << 10;

/// Largest compiled pattern, in bytes. `[0-9]{1,5}` takes about 1 KiB.
const LARGEST_PROGRAM: usize = 1 << 20;

/// Deepest nesting of groups and repetitions. The parser is recursive.
const DEEPEST: u32 = 64;

/// Largest cache of states that searches build up, in bytes, for each pattern and each thread that searches at the same time.
const LARGEST_CACHE: usize = 256 << 10;

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is longer than [`LONGEST_PATTERN`].
    #[error("the pattern has {0} bytes, more than {LONGEST_PATTERN}")]
    TooLong(usize),
    /// It would need too much memory.
    #[error("the pattern is too complex: use smaller repetition counts")]
    TooComplex,
    /// It is not a regular expression.
    #[error("not a valid regular expression: {0}")]
    Invalid(String),
}

/// A pattern of `path_regex`: it matches the whole path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PathPattern(Arc<Compiled>);

/// A pattern for a value of a header, query parameter or cookie: it matches anywhere in the value, unless it has `^` and `$`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValuePattern(Arc<Compiled>);

/// The named groups of a [`PathPattern`] in the path of one request.
#[derive(Debug)]
pub struct PathCaptures<'a>(Captures<'a>);

struct Compiled {
    text: Box<str>,
    regex: Regex,
}

impl PathPattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`PatternError`], for the person who wrote it.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        // Alone first: `a)|(b` is valid only between our own parentheses, where it would not be anchored.
        compile(text)?;
        let whole = build(&format!(r"\A(?:{text})\z"));
        // The pattern may end with a comment (`(?x)a # comment`), which only a line feed ends.
        let regex = match whole {
            Err(PatternError::Invalid(_)) if text.contains('#') => build(&format!("\\A(?:{text}\n)\\z")),
            whole => whole,
        };
        Ok(Self(Compiled::new(text, regex?)))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether it matches all of a path.
    pub fn is_match(&self, path: &[u8]) -> bool {
        self.0.regex.is_match(path)
    }

    /// The names of its groups, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.regex.capture_names().flatten()
    }

    /// The groups in a path; `None` when it does not match. Allocates.
    pub fn captures<'a>(&self, path: &'a [u8]) -> Option<PathCaptures<'a>> {
        self.0.regex.captures(path).map(PathCaptures)
    }
}

impl ValuePattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`PatternError`], for the person who wrote it.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        Ok(Self(Compiled::new(text, compile(text)?)))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether it matches somewhere in a value.
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.0.regex.is_match(value)
    }
}

impl<'a> PathCaptures<'a> {
    /// The part of the path in the group with this name; `None` without such a group, or when it took no part in the match.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0.name(name).map(|found| found.as_bytes())
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for ValuePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Compiled {
    fn new(text: &str, regex: Regex) -> Arc<Self> {
        let text = text.into();
        Arc::new(Self { text, regex })
    }
}

/// Patterns are compared as written.
impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Compiled {}

impl PartialOrd for Compiled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Compiled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Compiled {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

fn compile(text: &str) -> Result<Regex, PatternError> {
    match text.len() {
        ..=LONGEST_PATTERN => build(text),
        length => Err(PatternError::TooLong(length)),
    }
}

fn build(text: &str) -> Result<Regex, PatternError> {
    let regex = RegexBuilder::new(text)
        .unicode(false)
        .size_limit(LARGEST_PROGRAM)
        .dfa_size_limit(LARGEST_CACHE)
        .nest_limit(DEEPEST)
        .build();
    regex.map_err(|error| match error {
        regex::Error::Syntax(message) => PatternError::Invalid(short(&message)),
        _ => PatternError::TooComplex,
    })
}

/// The last line of a message that shows the pattern above it.
fn short(message: &str) -> String {
    let line = message.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::new(pattern).unwrap().is_match(path.as_bytes())
    }

    #[test]
    fn a_path_pattern_matches_the_whole_path() {
        assert!(matches("/v[0-9]+", "/v12"));
        assert!(!matches("/v[0-9]+", "/v12/") && !matches("/v[0-9]+", "/a/v12"));
        assert!(matches("/a|/ab", "/ab") && !matches("/a|/b", "/bc"));
        assert!(matches("^/a$", "/a") && !matches("(?m)^/a$", "/a\n/b"));
        assert!(matches("(?i)/ABC", "/abc") && matches(r"/\w+", "/a_1"));
        assert!(matches("(?x) /a # comment", "/a") && !matches("(?x) /a # comment", "/ab"));
        assert!(matches("/a#b", "/a#b"));
    }

    #[test]
    fn a_pattern_cannot_leave_its_anchors() {
        for text in ["/a)|(?:/b", "/a)|(/b", ")(", "(?:/a"] {
            let error = PathPattern::new(text).unwrap_err();
            assert!(matches!(error, PatternError::Invalid(_)), "{text}: {error}");
        }
    }

    #[test]
    fn a_value_pattern_searches() {
        let pattern = ValuePattern::new("(?i)bot").unwrap();
        assert!(pattern.is_match(b"GoogleBOT/2") && !pattern.is_match(b"curl"));
        assert!(!ValuePattern::new("^a$").unwrap().is_match(b"a\n"));
        assert!(ValuePattern::new("a.b").unwrap().is_match(b"a\xffb"));
    }

    #[test]
    fn groups_are_found_by_name() {
        let pattern = PathPattern::new("/v[0-9]+/users/(?<id>[0-9]+)(?:/(?P<rest>.*))?").unwrap();
        assert_eq!(pattern.names().collect::<Vec<_>>(), ["id", "rest"]);
        let captures = pattern.captures(b"/v1/users/7").unwrap();
        assert_eq!(captures.get("id"), Some(&b"7"[..]));
        assert_eq!((captures.get("rest"), captures.get("other")), (None, None));
        assert!(pattern.captures(b"/v1/users/7/a/b").unwrap().get("rest") == Some(b"a/b"));
        assert!(pattern.captures(b"/v1/users").is_none());
    }

    #[test]
    fn costly_patterns_are_refused() {
        let error = |text: &str| ValuePattern::new(text).unwrap_err();
        assert_eq!(error(&"a".repeat(5_000)), PatternError::TooLong(5_000));
        assert_eq!(error("((a{100}){100}){100}"), PatternError::TooComplex);
        assert!(matches!(error(&"(".repeat(200)), PatternError::Invalid(_)));
        let nested = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        assert!(matches!(error(&nested), PatternError::Invalid(_)));
        assert_eq!(
            error("a(b").to_string(),
            "not a valid regular expression: unclosed group"
        );
        assert!(PathPattern::new(&"a".repeat(LONGEST_PATTERN)).is_ok());
        assert!(PathPattern::new(&"a".repeat(LONGEST_PATTERN + 1)).is_err());
    }
}
