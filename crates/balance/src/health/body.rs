//! What the body of a response to a health check must contain.

use regex::bytes::{Regex, RegexBuilder};

/// Maximum size of a compiled expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// What the body of a response must contain.
#[derive(Debug, Clone)]
pub enum BodyMatch {
    /// This text.
    Contains(String),
    /// A match of this expression, anywhere in the body.
    Regex(Regex),
}

impl BodyMatch {
    /// A match of this expression.
    ///
    /// # Errors
    /// The expression is not valid, or too large.
    pub fn regex(expression: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(expression).size_limit(MAX_REGEX).build();
        built.map(Self::Regex).map_err(|error| error.to_string())
    }

    /// Whether a body has it.
    pub fn is_in(&self, body: &[u8]) -> bool {
        match self {
            Self::Contains(text) => memchr::memmem::find(body, text.as_bytes()).is_some(),
            Self::Regex(regex) => regex.is_match(body),
        }
    }
}

impl PartialEq for BodyMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Contains(one), Self::Contains(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Eq for BodyMatch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_texts_and_expressions_anywhere_in_bytes() {
        let body = b"\xff status: ok\n";
        let regex = |text| BodyMatch::regex(text).unwrap();
        assert!(BodyMatch::Contains("status: ok".into()).is_in(body));
        assert!(!BodyMatch::Contains("status: OK".into()).is_in(body));
        assert!(regex("status: (ok|warm)").is_in(body));
        assert!(!regex("^status").is_in(body) && regex("(?m)ok$").is_in(body));
        assert!(BodyMatch::regex("(").is_err());
        assert!(BodyMatch::regex("(a{1000}){1000}").is_err(), "too large");
    }

    #[test]
    fn is_equal_by_what_was_written() {
        let regex = |text| BodyMatch::regex(text).unwrap();
        assert_eq!(regex("a"), regex("a"));
        assert_ne!(regex("a"), regex("b"));
        assert_ne!(regex("a"), BodyMatch::Contains("a".into()));
    }
}
