//! What the client sends.

use crate::backend::Behaviour;
use crate::nonce;
use crate::rng::Rng;

/// Bytes of the body of a POST.
const POST_SIZE: usize = 16 * 1024;

/// How a request reaches the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// HTTP/1.1, on a connection that is kept.
    KeepAlive,
    /// HTTP/1.1, on a connection of its own.
    NewConnection,
    /// HTTP/2, on one of a few connections.
    Http2,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Idempotent, without a body.
    Get,
    /// Not idempotent, with a body of 16 KiB.
    Post,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// How it is sent.
    pub class: Class,
    /// Its method.
    pub method: Method,
    /// What it asks the backend to do.
    pub behaviour: Behaviour,
    /// Whose cookies it carries.
    pub client: Option<u32>,
}

/// A request with its nonce, as the protocols write it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) nonce: u64,
    pub(super) cookie: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::KeepAlive, Self::NewConnection, Self::Http2];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::NewConnection => "new connection",
            Self::Http2 => "HTTP/2",
        }
    }
}

impl Method {
    /// As it is written in a request.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

impl Request {
    /// A request for the usual response.
    pub fn new(class: Class, method: Method) -> Self {
        Self {
            class,
            method,
            behaviour: Behaviour::default(),
            client: None,
        }
    }

    pub(super) fn outgoing(&self, nonce: u64, cookie: Option<String>) -> Outgoing {
        let body = match self.method {
            Method::Get => Vec::new(),
            Method::Post => nonce::body(!nonce, POST_SIZE),
        };
        Outgoing {
            method: self.method,
            target: format!("{}{}?{}", nonce::PREFIX, nonce::hex(nonce), self.behaviour),
            nonce,
            cookie,
            body,
        }
    }
}

/// The usual mix: 60% GETs on kept connections, 15% on new ones, 15% over HTTP/2, and 10% POSTs in the same three ways.
pub fn mix(rng: &mut Rng) -> Request {
    let method = if rng.chance(100) {
        Method::Post
    } else {
        Method::Get
    };
    let class = match rng.below(90) {
        0..60 => Class::KeepAlive,
        60..75 => Class::NewConnection,
        _ => Class::Http2,
    };
    Request::new(class, method)
}
