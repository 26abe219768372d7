//! The settings of one entry of `routes:`.

use std::sync::Arc;

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
