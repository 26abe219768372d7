//! One entry of `routes:`.

use std::sync::Arc;

use crate::router::{Matcher, PathMatcher};

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Exact host (`api.example.com`), wildcard (`*.example.com`) or `None` for every host. Lower case, without port.
    pub host: Option<String>,
    /// A path prefix that ends at a segment boundary; `/` matches every path.
    pub path_prefix: String,
    /// The pool's name.
    pub pool: Arc<str>,
}

impl Route {
    /// What it matches.
    pub fn matcher(&self) -> Matcher {
        Matcher {
            hosts: self.host.iter().cloned().collect(),
            path: PathMatcher::Prefix(self.path_prefix.clone()),
            ..Matcher::default()
        }
    }
}
