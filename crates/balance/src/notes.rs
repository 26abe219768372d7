//! What the policies of a route have found out about a request, and what they want changed.

use std::any::Any;
use std::sync::Arc;

/// A claim of a token: its name, and its value as text.
pub type Claim = (Box<str>, Box<[u8]>);

/// The notes of one request. Exist only for requests of routes with policies.
#[derive(Default)]
pub struct Notes {
    /// Who the client proved to be, for the access log, `${user}` and keys of limits.
    pub user: Option<Arc<str>>,
    /// Claims of a verified token, by name, for `${jwt.NAME}` and keys of limits.
    pub claims: Vec<Claim>,
    /// The claims of a verified token that have a text, shared by all its requests. Those above come first.
    pub token: Option<Arc<[Claim]>>,
    /// Changes of request headers, applied in order after those of the client were copied.
    pub request_headers: Vec<Edit>,
    /// Changes of response headers.
    pub response_headers: Vec<Edit>,
    /// Maximum number of bytes of the request body, if lower than that of the route.
    pub body_limit: Option<u64>,
    /// What is held until the request ends, such as a slot of a concurrency limit.
    pub held: Vec<Box<dyn Any>>,
}

/// One change of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Every header with this name is removed.
    Remove(Box<str>),
    /// Every header with this name is replaced by one with this value.
    Set(Box<str>, Box<[u8]>),
    /// A header is added to those there are.
    Add(Box<str>, Box<[u8]>),
}

impl Edit {
    /// The name of the header.
    pub fn name(&self) -> &str {
        match self {
            Self::Remove(name) | Self::Set(name, _) | Self::Add(name, _) => name,
        }
    }

    /// The value of the new header; `None` when there is none.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Remove(_) => None,
            Self::Set(_, value) | Self::Add(_, value) => Some(value),
        }
    }

    /// Whether it removes the headers with its name that were there before.
    pub fn removes(&self) -> bool {
        !matches!(self, Self::Add(..))
    }
}

impl Notes {
    /// Forgets everything, for another request. The lists keep their memory.
    #[inline]
    pub fn clear(&mut self) {
        if !self.is_empty() {
            self.forget();
        }
    }

    /// Whether no policy has found out or wants anything.
    #[inline]
    fn is_empty(&self) -> bool {
        let Self {
            user,
            claims,
            token,
            request_headers,
            response_headers,
            body_limit,
            held,
        } = self;
        let has_lists = claims.len() | request_headers.len() | response_headers.len() | held.len();
        has_lists == 0 && user.is_none() & token.is_none() & body_limit.is_none()
    }

    #[inline(never)]
    fn forget(&mut self) {
        let Self {
            user,
            claims,
            token,
            request_headers,
            response_headers,
            body_limit,
            held,
        } = self;
        *user = None;
        *token = None;
        *body_limit = None;
        claims.clear();
        request_headers.clear();
        response_headers.clear();
        held.clear();
    }

    /// The value of a claim.
    pub fn claim(&self, name: &str) -> Option<&[u8]> {
        let of_token = self.token.iter().flat_map(|claims| claims.iter());
        let mut claims = self.claims.iter().chain(of_token);
        claims
            .find(|(claim, _)| **claim == *name)
            .map(|(_, value)| &**value)
    }
}

impl std::fmt::Debug for Notes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notes")
            .field("user", &self.user)
            .field("request_headers", &self.request_headers)
            .field("response_headers", &self.response_headers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleared_notes_say_nothing_and_hold_nothing() {
        let slot = std::rc::Rc::new(());
        let mut notes = Notes {
            user: Some("alice".into()),
            claims: vec![("sub".into(), b"1"[..].into())],
            token: Some([("iss".into(), b"2"[..].into())].into()),
            request_headers: vec![Edit::Remove("a".into())],
            response_headers: vec![Edit::Remove("b".into())],
            body_limit: Some(1),
            held: vec![Box::new(std::rc::Rc::clone(&slot))],
        };
        notes.clear();
        assert!(notes.user.is_none() && notes.body_limit.is_none() && notes.held.is_empty());
        assert!(notes.claim("sub").is_none() && notes.claim("iss").is_none());
        assert!(notes.request_headers.is_empty() && notes.response_headers.is_empty());
        assert_eq!(std::rc::Rc::strong_count(&slot), 1);
    }
}
