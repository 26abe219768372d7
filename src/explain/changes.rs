//! What a route changes of the headers of a message, with the variables of their values as far as they are known without a client
//! and a backend.

use std::borrow::Cow;

use evenkeel_balance::policy::Notes;
use evenkeel_balance::request::Request;
use evenkeel_balance::router::PathCaptures;
use evenkeel_balance::template::{Fact, Template, Variables};

use crate::admin::HeaderChange;
use crate::schema::{Params, Value};

/// What is known of the request.
pub(super) struct Known<'a> {
    pub(super) request: Request<'a>,
    pub(super) route: String,
    /// `None` for a split.
    pub(super) pool: Option<&'a str>,
    /// `None` unless the pool has one backend only.
    pub(super) backend: Option<&'a str>,
    /// Whether a policy identifies the client.
    pub(super) is_identified: bool,
    pub(super) groups: Vec<&'a str>,
    pub(super) captures: Option<PathCaptures<'a>>,
}

/// The changes of `request_headers` or `response_headers`, in the order in which they are made.
pub(super) fn list(params: Option<&Params>, known: &Known<'_>) -> Vec<HeaderChange> {
    let Some(params) = params else {
        return Vec::new();
    };
    let removed = params.list("remove").iter().filter_map(|name| match name {
        Value::Text(name) => Some(HeaderChange {
            change: "remove",
            name: name.clone(),
            value: None,
        }),
        _ => None,
    });
    let written = ["set", "add"].into_iter().flat_map(|change| {
        let headers = params.section(change).map_or(&[][..], Params::any);
        headers.iter().filter_map(move |(name, value)| {
            let Value::Text(text) = value else { return None };
            written(change, name, text, known)
        })
    });
    removed.chain(written).collect()
}

/// A header that is written. One whose value is empty is left out: `set` removes those of its name all the same.
fn written(change: &'static str, name: &str, text: &str, known: &Known<'_>) -> Option<HeaderChange> {
    let template = Template::parse(&keep_unknown(text, known), &known.groups).ok()?;
    let mut value = Vec::new();
    template.render(known, &mut value).ok()?;
    let (change, value) = match (value.is_empty(), change) {
        (true, "set") => ("remove", None),
        (true, _) => return None,
        (false, _) => (change, Some(String::from_utf8_lossy(&value).into_owned())),
    };
    Some(HeaderChange {
        change,
        name: name.to_owned(),
        value,
    })
}

/// The text of a template with every variable that is not known as a text of its own: `$${request_id}`.
fn keep_unknown<'t>(text: &'t str, known: &Known<'_>) -> Cow<'t, str> {
    if !text.contains('$') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        out.push('$');
        rest = after;
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let name = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        if name.is_some_and(|(name, _)| !known.knows(name)) {
            out.push('$');
        }
    }
    out += rest;
    Cow::Owned(out)
}

impl Known<'_> {
    /// Whether the value of a variable is known.
    fn knows(&self, name: &str) -> bool {
        match name {
            "client_port" | "request_id" | "trace_id" => false,
            "pool" => self.pool.is_some(),
            "backend" => self.backend.is_some(),
            "tls_version" | "tls_sni" | "client_cert_subject" => !self.request.is_secure,
            "user" => !self.is_identified,
            _ => !(self.is_identified && name.starts_with("jwt.")),
        }
    }
}

impl Variables for Known<'_> {
    fn request(&self) -> Request<'_> {
        self.request
    }

    fn notes(&self) -> Option<&Notes> {
        None
    }

    fn client_port(&self) -> Option<u16> {
        None
    }

    fn fact(&self, fact: Fact) -> &[u8] {
        match fact {
            Fact::Route => self.route.as_bytes(),
            Fact::Pool => self.pool.unwrap_or_default().as_bytes(),
            Fact::Backend => self.backend.unwrap_or_default().as_bytes(),
            Fact::RequestId | Fact::TraceId | Fact::TlsVersion | Fact::TlsSni | Fact::ClientCertSubject => {
                b""
            }
        }
    }

    fn path_group(&self, name: &str) -> &[u8] {
        let found = self.captures.as_ref().and_then(|captures| captures.get(name));
        found.unwrap_or_default()
    }
}
