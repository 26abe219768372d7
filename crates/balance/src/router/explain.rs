//! Explains why a request gets its route: what became of every other one.

use std::fmt;

use super::conditions::Unfulfilled;
use super::host;
use super::matcher::{Matcher, PathMatcher};
use crate::request::Request;

/// What became of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It is the route of the request.
    Chosen,
    /// It matches too, but this route is more specific, or as specific and first in the file.
    LessSpecific {
        /// Index of the chosen route.
        than: usize,
    },
    /// None of its hosts matches.
    Host,
    /// Its host matches, its path does not.
    Path(&'a PathMatcher),
    /// Its host and path match, one of its conditions does not hold.
    Condition(Unfulfilled<'a>),
}

impl<'a> Outcome<'a> {
    /// What became of a route when this one was chosen.
    pub(super) fn of(matcher: &'a Matcher, request: &Request<'_>, chosen: Option<usize>) -> Self {
        let head = request.head;
        let authority = head.text(head.authority);
        let mut hosts = matcher.hosts.iter();
        if !matcher.hosts.is_empty() && !hosts.any(|host| host::is_match(host, authority)) {
            return Self::Host;
        }
        if !matcher.path.is_match(head.text(head.path)) {
            return Self::Path(&matcher.path);
        }
        match (matcher.conditions.unfulfilled(request), chosen) {
            (Some(unfulfilled), _) => Self::Condition(unfulfilled),
            (None, Some(than)) => Self::LessSpecific { than },
            (None, None) => Self::Chosen,
        }
    }
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen => f.write_str("chosen"),
            Self::LessSpecific { .. } => f.write_str("a more specific route matched"),
            Self::Host => f.write_str("host does not match"),
            Self::Path(path) => write!(f, "path {path} does not match"),
            Self::Condition(unfulfilled) => unfulfilled.fmt(f),
        }
    }
}
