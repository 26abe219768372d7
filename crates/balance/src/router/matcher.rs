//! What a route matches, as the config writes it.

use std::fmt;
use std::sync::Arc;

use super::conditions::Conditions;
use super::pattern::PathPattern;

/// What a route matches. Everything that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    /// The route's unique name.
    pub name: Option<Arc<str>>,
    /// Exact hosts (`api.example.com`) and wildcards (`*.example.com`), without ports; one of them must match. Empty: every host.
    pub hosts: Vec<String>,
    /// The path.
    pub path: PathMatcher,
    /// The other conditions.
    pub conditions: Conditions,
}

/// The paths that a route matches. They are compared as bytes, with dot segments resolved and nothing decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatcher {
    /// Exactly this path.
    Exact(String),
    /// This path and everything below it, by whole segments: `/v1` matches `/v1/a` and not `/v10`. `/v1/` means the same.
    Prefix(String),
    /// A path that the pattern matches as a whole.
    Regex(PathPattern),
}

impl PathMatcher {
    /// Whether it matches a path.
    pub(super) fn is_match(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => {
                let prefix = without_slash(prefix);
                let rest = path.strip_prefix(prefix);
                prefix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            }
            Self::Regex(pattern) => pattern.is_match(path),
        }
    }
}

impl Default for PathMatcher {
    /// Every path.
    fn default() -> Self {
        Self::Prefix("/".to_owned())
    }
}

/// A prefix without a `/` at its end.
pub(super) fn without_slash(prefix: &str) -> &[u8] {
    prefix.strip_suffix('/').unwrap_or(prefix).as_bytes()
}

/// The name in logs and messages: the route's own, else its hosts and path.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            return f.write_str(name);
        }
        match &*self.hosts {
            [] => f.write_str("*")?,
            hosts => f.write_str(&hosts.join(","))?,
        }
        self.path.fmt(f)
    }
}

/// The path as written; a pattern follows a `~`.
impl fmt::Display for PathMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) | Self::Prefix(path) => f.write_str(path),
            Self::Regex(pattern) => write!(f, "~{}", pattern.as_str()),
        }
    }
}
