//! What a route requires of a request besides its host and path.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::pattern::ValuePattern;
use crate::block::canonical;
use crate::query;
use crate::request::Request;

/// What a route requires besides host and path. An empty list requires nothing; of the others, all must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Conditions {
    /// The method is one of these; compared with case.
    pub methods: Vec<String>,
    /// Headers; names are compared without case. Each line of a header has a value of its own.
    pub headers: Vec<ValueCondition>,
    /// Query parameters; names and values are compared after `%XX` and `+` were decoded.
    pub query: Vec<ValueCondition>,
    /// Cookies; values are compared as received, without enclosing quotation marks.
    pub cookies: Vec<ValueCondition>,
    /// The client's address, as the access log names it, is in one of these blocks. Clients of Unix sockets have none.
    pub client_ip: Vec<IpNet>,
    /// The request came in on one of these listeners, by their index in the config; in a running router by their id.
    pub listeners: Vec<usize>,
}

/// What one header, query parameter or cookie must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueCondition {
    /// Its name.
    pub name: String,
    /// What its value must be.
    pub value: ValueMatcher,
}

/// What a value must be. Where there are several values under one name, it is enough that one of them matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueMatcher {
    /// Exactly this text.
    Exact(String),
    /// Any value, also an empty one.
    Present,
    /// There is none.
    Absent,
    /// The pattern matches somewhere in it.
    Regex(ValuePattern),
}

/// The first condition of a route that a request does not fulfil.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfulfilled<'a> {
    /// The method; these would match.
    Method(&'a [String]),
    /// A header.
    Header(&'a ValueCondition, IsThere),
    /// A query parameter.
    Query(&'a ValueCondition, IsThere),
    /// A cookie.
    Cookie(&'a ValueCondition, IsThere),
    /// The client's address.
    ClientIp,
    /// The listener.
    Listener,
}

/// Whether a request has a value that does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsThere {
    /// It has at least one.
    Yes,
    /// It has none.
    No,
}

/// How specific conditions are: the greater one is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Specificity {
    has_methods: bool,
    headers: usize,
    query_and_cookies: usize,
    client_ip: Option<u8>,
    has_listeners: bool,
}

impl Conditions {
    /// The same conditions in one order and spelling: two that require the same are equal.
    pub(super) fn normalised(&self) -> Self {
        let mut headers = self.headers.clone();
        for header in &mut headers {
            header.name.make_ascii_lowercase();
        }
        Self {
            methods: sorted(self.methods.clone()),
            headers: sorted(headers),
            query: sorted(self.query.clone()),
            cookies: sorted(self.cookies.clone()),
            client_ip: sorted(self.client_ip.iter().copied().map(canonical).collect()),
            listeners: sorted(self.listeners.clone()),
        }
    }

    /// The lengths of the prefixes of the client blocks, each once: only with the one that holds the client is it known how
    /// specific the conditions are. One `None` without blocks. For normalised conditions.
    pub(super) fn block_lengths(&self) -> Vec<Option<u8>> {
        match &*self.client_ip {
            [] => vec![None],
            blocks => sorted(blocks.iter().map(|block| Some(block.prefix_len())).collect()),
        }
    }

    /// How specific they are for a client in a block of this length. For normalised conditions.
    pub(super) fn specificity(&self, block_length: Option<u8>) -> Specificity {
        Specificity {
            has_methods: !self.methods.is_empty(),
            headers: self.headers.len(),
            query_and_cookies: self.query.len() + self.cookies.len(),
            client_ip: block_length,
            has_listeners: !self.listeners.is_empty(),
        }
    }

    /// Whether a request fulfils them, with its client in a block of this length. For normalised conditions.
    pub(super) fn hold(&self, request: &Request<'_>, block_length: Option<u8>) -> bool {
        let is_client = block_length.is_none_or(|length| self.has_block(request.client_ip, length));
        is_client && self.unfulfilled_but_client(request).is_none()
    }

    /// The first of them that a request does not fulfil.
    pub(super) fn unfulfilled<'a>(&'a self, request: &Request<'_>) -> Option<Unfulfilled<'a>> {
        let other = self.unfulfilled_but_client(request);
        other.or_else(|| {
            let ip = request.client_ip.map(|ip| ip.to_canonical());
            let is_in = |block: &IpNet| ip.is_some_and(|ip| canonical(*block).contains(&ip));
            let is_client = self.client_ip.is_empty() || self.client_ip.iter().any(is_in);
            (!is_client).then_some(Unfulfilled::ClientIp)
        })
    }

    fn unfulfilled_but_client<'a>(&'a self, request: &Request<'_>) -> Option<Unfulfilled<'a>> {
        let head = request.head;
        let method = head.text(head.method_text);
        if !self.methods.is_empty() && !self.methods.iter().any(|one| one.as_bytes() == method) {
            return Some(Unfulfilled::Method(&self.methods));
        }
        if !self.listeners.is_empty() && !self.listeners.contains(&request.listener) {
            return Some(Unfulfilled::Listener);
        }
        for header in &self.headers {
            if let Some(is_there) = header.differs(request.header(header.name.as_bytes())) {
                return Some(Unfulfilled::Header(header, is_there));
            }
        }
        for parameter in &self.query {
            if let Some(is_there) = parameter.differs_in_query(request) {
                return Some(Unfulfilled::Query(parameter, is_there));
            }
        }
        for cookie in &self.cookies {
            if let Some(is_there) = cookie.differs(request.cookie(cookie.name.as_bytes())) {
                return Some(Unfulfilled::Cookie(cookie, is_there));
            }
        }
        None
    }

    fn has_block(&self, ip: Option<IpAddr>, length: u8) -> bool {
        let block = ip.and_then(|ip| IpNet::new(ip.to_canonical(), length).ok());
        block.is_some_and(|block| self.client_ip.binary_search(&block.trunc()).is_ok())
    }
}

impl ValueCondition {
    /// Whether none of these values matches, and whether there are any.
    fn differs<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> Option<IsThere> {
        self.differs_by(
            values,
            |value, text| value == text,
            |value, pattern| pattern.is_match(value),
        )
    }

    fn differs_in_query(&self, request: &Request<'_>) -> Option<IsThere> {
        let values = request.query(self.name.as_bytes());
        self.differs_by(values, query::equals, |value, pattern| {
            match query::decode(value) {
                Some(decoded) => pattern.is_match(&decoded),
                None => pattern.is_match(value),
            }
        })
    }

    fn differs_by<'a>(
        &self,
        mut values: impl Iterator<Item = &'a [u8]>,
        equals: impl Fn(&[u8], &[u8]) -> bool,
        is_match: impl Fn(&[u8], &ValuePattern) -> bool,
    ) -> Option<IsThere> {
        let mut is_there = IsThere::No;
        let mut is_any = |matches: &dyn Fn(&[u8]) -> bool| {
            values.any(|value| {
                is_there = IsThere::Yes;
                matches(value)
            })
        };
        let is_fulfilled = match &self.value {
            ValueMatcher::Exact(text) => is_any(&|value| equals(value, text.as_bytes())),
            ValueMatcher::Regex(pattern) => is_any(&|value| is_match(value, pattern)),
            ValueMatcher::Present => is_any(&|_| true),
            ValueMatcher::Absent => !is_any(&|_| true),
        };
        (!is_fulfilled).then_some(is_there)
    }
}

impl fmt::Display for Unfulfilled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, condition, is_there) = match self {
            Self::Method(methods) => return write!(f, "method is not {}", methods.join(" or ")),
            Self::ClientIp => return f.write_str("client address is not in `client_ip`"),
            Self::Listener => return f.write_str("listener does not match"),
            Self::Header(condition, is_there) => ("header", condition, is_there),
            Self::Query(condition, is_there) => ("query parameter", condition, is_there),
            Self::Cookie(condition, is_there) => ("cookie", condition, is_there),
        };
        let problem = match (&condition.value, is_there) {
            (_, IsThere::No) => "is missing",
            (ValueMatcher::Absent, IsThere::Yes) => "is present",
            (_, IsThere::Yes) => "does not match",
        };
        write!(f, "{what} {} {problem}", condition.name)
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}
