//! Replaces the prefix of a path that a route matched, at the end of a segment.

use super::written_path;
use crate::policy::BuildError;

/// A prefix, and what takes its place. Both are without a slash at the end, so that the root is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    from: Box<str>,
    to: Box<[u8]>,
}

impl Prefix {
    /// The prefix of a route and what takes its place.
    ///
    /// # Errors
    /// The new prefix is not a path, or the route has no prefix.
    pub fn build(route_prefix: Option<&str>, to: &str) -> Result<Self, BuildError> {
        let from = route_prefix.ok_or_else(|| {
            let message = "`path_prefix` replaces the `path_prefix` of the route, which has none: add it to the route, or use `path`";
            BuildError::of("path_prefix", message)
        })?;
        let to = written_path("path_prefix", to)?;
        Ok(Self {
            from: from.trim_end_matches('/').into(),
            to: trim_end(&to).into(),
        })
    }

    /// Appends the path with the new prefix to `out`; `false` if the path does not have the old one. Between the prefix and the rest
    /// stands exactly one slash.
    pub fn replace(&self, path: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(rest) = path.strip_prefix(self.from.as_bytes()) else {
            return false;
        };
        if !matches!(rest, [] | [b'/', ..]) {
            return false;
        }
        out.extend_from_slice(&self.to);
        // More than one slash here would be read as the begin of an authority by whoever makes a URL of the path alone.
        let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
        if slashes > 0 || self.to.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(rest.get(slashes..).unwrap_or_default());
        true
    }

    /// The old prefix if nothing takes its place.
    pub fn removed(&self) -> Option<&str> {
        (self.to.is_empty() && !self.from.is_empty()).then_some(&*self.from)
    }

    /// Whether every path stays as it is.
    pub fn is_same(&self) -> bool {
        self.from.as_bytes() == &*self.to
    }
}

fn trim_end(mut path: &[u8]) -> &[u8] {
    while let [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}
