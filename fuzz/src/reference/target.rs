//! Splits a request target (RFC 9112 §3.2) that another parser has accepted.

/// The parts of a target.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Of an absolute-form.
    pub(crate) authority: Option<String>,
    /// Without dot segments.
    pub(crate) path: String,
    /// Without its `?`.
    pub(crate) query: Option<String>,
}

impl Target {
    /// Splits a target.
    pub(crate) fn read(text: &str, method: &str) -> Self {
        let (before, query) = match text.split_once('?') {
            Some((before, query)) => (before, Some(query.to_owned())),
            None => (text, None),
        };
        let (authority, path) = match before.split_once("://") {
            Some((_, rest)) if !before.starts_with('/') => match rest.find('/') {
                Some(at) => (Some(rest[..at].to_owned()), &rest[at..]),
                None => (Some(rest.to_owned()), ""),
            },
            _ => (None, before),
        };
        let path = match path {
            "" if method == "OPTIONS" && query.is_none() => "*".to_owned(),
            "" => "/".to_owned(),
            "*" => "*".to_owned(),
            path => without_dots(path),
        };
        Self {
            authority,
            path,
            query,
        }
    }
}

/// RFC 3986 §5.2.4, with `%2e` read as a dot.
fn without_dots(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut kept: Vec<&str> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let is_last = index + 1 == segments.len();
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}
