//! What the policies of a route have found out about a request, and what they want changed.

use std::any::Any;
use std::sync::Arc;

/// A claim of a token: its name, and its value as text.
pub type Claim = (Box<str>, Box<[u8]>);

/// The notes of one request. Exist only for requests of routes with policies.
#[derive(Default)]
pub struct Notes {
    /// Who the client proved to be, for the access log, `${user}` and keys of limits.
    pub user: Option<Box<str>>,
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
