//! Tests of the router as a whole.

mod conditions;
mod explain;
mod hosts_and_paths;
mod model;
mod properties;
mod routes;

use std::net::IpAddr;

use evenkeel_wire::head::{Field, FieldName, RequestHead, Span};

use super::*;
use crate::request::tests::request;

/// A head of any bytes, which need not be what a parser lets through.
#[derive(Debug, Clone, Default)]
struct Asked {
    method: Vec<u8>,
    host: Vec<u8>,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    client_ip: Option<IpAddr>,
    listener: usize,
}

impl Asked {
    fn get(host: &str, path: &str) -> Self {
        Self {
            method: b"GET".to_vec(),
            host: host.into(),
            path: path.into(),
            ..Self::default()
        }
    }

    fn method(self, method: &str) -> Self {
        let method = method.into();
        Self { method, ..self }
    }

    fn query(self, query: &str) -> Self {
        let query = Some(query.into());
        Self { query, ..self }
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    fn from(self, ip: &str) -> Self {
        let client_ip = Some(ip.parse().unwrap());
        Self { client_ip, ..self }
    }

    fn listener(self, listener: usize) -> Self {
        Self { listener, ..self }
    }

    fn head(&self) -> RequestHead {
        let mut head = RequestHead::default();
        let mut add = |bytes: &[u8]| {
            let start = head.bytes.len();
            head.bytes.extend_from_slice(bytes);
            Span::new(start, head.bytes.len())
        };
        let (method_text, authority, path) = (add(&self.method), add(&self.host), add(&self.path));
        let query = self.query.as_deref().map(&mut add);
        let fields = self.fields.iter().map(|(name, value)| Field {
            id: FieldName::Other,
            name: add(name),
            value: add(value),
            is_secret: false,
        });
        let fields = fields.collect();
        RequestHead {
            method_text,
            authority,
            path,
            query,
            fields,
            ..head
        }
    }

    fn with<T>(&self, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let head = self.head();
        ask(&Request {
            client_ip: self.client_ip,
            listener: self.listener,
            ..request(&head)
        })
    }

    fn found_by(&self, router: &Router) -> Option<usize> {
        self.with(|request| router.find(request))
    }
}

fn prefix(host: Option<&str>, path_prefix: &str) -> Matcher {
    Matcher {
        hosts: host.map(str::to_owned).into_iter().collect(),
        path: PathMatcher::Prefix(path_prefix.to_owned()),
        ..Matcher::default()
    }
}

fn exact(host: Option<&str>, path: &str) -> Matcher {
    Matcher {
        path: PathMatcher::Exact(path.to_owned()),
        ..prefix(host, "/")
    }
}

fn regex(host: Option<&str>, pattern: &str) -> Matcher {
    Matcher {
        path: PathMatcher::Regex(PathPattern::new(pattern).unwrap()),
        ..prefix(host, "/")
    }
}

impl Matcher {
    fn with(self, conditions: Conditions) -> Self {
        Self { conditions, ..self }
    }

    fn named(self, name: &str) -> Self {
        let name = Some(name.into());
        Self { name, ..self }
    }
}

fn methods(methods: &[&str]) -> Conditions {
    Conditions {
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        ..Conditions::default()
    }
}

fn value(name: &str, value: ValueMatcher) -> ValueCondition {
    let name = name.to_owned();
    ValueCondition { name, value }
}

fn is(name: &str, text: &str) -> ValueCondition {
    value(name, ValueMatcher::Exact(text.to_owned()))
}

fn headers(headers: impl IntoIterator<Item = ValueCondition>) -> Conditions {
    Conditions {
        headers: headers.into_iter().collect(),
        ..Conditions::default()
    }
}

fn query(query: impl IntoIterator<Item = ValueCondition>) -> Conditions {
    Conditions {
        query: query.into_iter().collect(),
        ..Conditions::default()
    }
}

fn cookies(cookies: impl IntoIterator<Item = ValueCondition>) -> Conditions {
    Conditions {
        cookies: cookies.into_iter().collect(),
        ..Conditions::default()
    }
}

fn client_ip(blocks: &[&str]) -> Conditions {
    Conditions {
        client_ip: blocks.iter().map(|block| block.parse().unwrap()).collect(),
        ..Conditions::default()
    }
}

fn listeners(listeners: &[usize]) -> Conditions {
    Conditions {
        listeners: listeners.to_vec(),
        ..Conditions::default()
    }
}

fn router(matchers: &[Matcher]) -> Router {
    Router::new(matchers).unwrap_or_else(|errors| panic!("{errors}"))
}

fn found(matchers: &[Matcher], host: &str, path: &str) -> Option<usize> {
    Asked::get(host, path).found_by(&router(matchers))
}
