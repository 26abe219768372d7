//! Cross-origin resource sharing (Fetch, "CORS protocol"): answers preflight requests and sets the headers by which browsers let
//! pages of other origins read responses. It keeps browsers from showing responses to foreign pages; it does not keep anybody
//! from sending requests.
//!
//! A preflight request is answered with 204 in any case. For an origin that is not allowed, the response has no CORS headers, as
//! with other servers: the browser then refuses on its own and names the cause, while a 403 would only look like a broken server. The request
//! that was asked for is never sent. Requests of other origins that need no preflight are forwarded, and the response has no CORS
//! headers, not even those of the backend.

mod origin;

use evenkeel_wire::head::Method;

use self::origin::{Origins, is_token};
use super::{BuildError, Context, Decision, Edit, Notes, Policy, Refusal};
use crate::request::Request;
use crate::schema::{Form, Key, Kind, Params, Value};

const TOKENS: Kind = Kind::List(&Kind::Text(
    Form::new("a name such as Content-Type, or `*` for all").checked(is_token),
));

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "origins",
        Kind::List(&Kind::Text(
            Form::new("an origin such as https://app.example.com or https://*.example.com, or `*`").checked(origin::is_valid),
        )),
        "Origins whose pages may read responses: scheme, host and port. `*.` at the start of the host covers one or more labels; `*` alone is \
         every origin.",
    )
    .required(),
    Key::new(
        "methods",
        Kind::List(&Kind::Text(
            Form::new("a method such as GET or PUT, in upper case, or `*` for all").checked(is_token),
        )),
        "Methods that pages may use. GET, HEAD and POST are always possible, because browsers do not ask for them.",
    )
    .otherwise("GET, HEAD and POST"),
    Key::new(
        "headers",
        TOKENS,
        "Request headers that pages may send, beside those for which browsers do not ask. `*` does not cover `Authorization`, which has to be listed.",
    )
    .otherwise("none"),
    Key::new(
        "expose",
        TOKENS,
        "Response headers that pages may read, beside those that they always may.",
    )
    .otherwise("none"),
    Key::new(
        "credentials",
        Kind::Flag,
        "Whether pages may send cookies and other credentials. Requires that nothing in `origins`, `methods`, `headers` and `expose` is `*`.",
    )
    .default("false"),
    Key::new(
        "max_age",
        Kind::Duration {
            least: std::time::Duration::ZERO,
            most: std::time::Duration::from_secs(86_400),
        },
        "How long browsers may remember the response to a preflight request. Some use less.",
    )
    .otherwise("as browsers choose, 5s"),
];

/// What caches have to tell apart when the response depends on it.
const VARY: &str = "Vary";
const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const EXPOSE: &str = "Access-Control-Expose-Headers";

#[derive(Debug)]
struct Cors {
    origins: Origins,
    credentials: bool,
    /// Values of headers, joined; empty for no header.
    methods: Box<str>,
    headers: Box<str>,
    expose: Box<str>,
    max_age: Option<Box<str>>,
}

pub(super) fn build(context: Context<'_>) -> Result<Box<dyn Policy>, BuildError> {
    let params = context.params;
    let credentials = params.flag("credentials");
    for key in ["origins", "methods", "headers", "expose"] {
        if credentials && texts(params, key).any(|text| text == "*") {
            // Fetch, "CORS protocol and credentials": browsers take `*` for a name then.
            let message = format!(
                "`credentials: true` requires a list without `*` in `{key}`: browsers do not accept both"
            );
            return Err(BuildError::of(key, message));
        }
    }
    if texts(params, "origins").next().is_none() {
        return Err(BuildError::of("origins", "`cors` requires at least one origin"));
    }
    let origins = Origins::new(texts(params, "origins"));
    let origins = origins.map_err(|message| BuildError::of("origins", message))?;
    let methods = match params.get("methods") {
        Some(_) => joined(params, "methods"),
        None => "GET, HEAD, POST".into(),
    };
    Ok(Box::new(Cors {
        origins,
        credentials,
        methods,
        headers: joined(params, "headers"),
        expose: joined(params, "expose"),
        max_age: params
            .duration("max_age")
            .map(|age| age.as_secs().to_string().into()),
    }))
}

fn texts<'a>(params: &'a Params, key: &str) -> impl Iterator<Item = &'a str> {
    params.list(key).iter().filter_map(|value| match value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

fn joined(params: &Params, key: &str) -> Box<str> {
    texts(params, key).collect::<Vec<_>>().join(", ").into()
}

impl Policy for Cors {
    fn check(&self, request: &Request<'_>, notes: &mut Notes) -> Decision {
        let mut origins = request.header(b"origin");
        // Two are no origin that could be allowed.
        let origin = origins.next().filter(|_| origins.next().is_none());
        let allowed = origin.and_then(|origin| self.origins.allow(origin));
        let is_preflight = request.head.method == Method::Options
            && origin.is_some()
            && request.header(b"access-control-request-method").next().is_some();
        if is_preflight {
            return Decision::Refuse(self.preflight(allowed));
        }
        self.edit(origin.is_some(), allowed, &mut notes.response_headers);
        Decision::Continue
    }
}

impl Cors {
    /// The response to a preflight request. The lists are sent as configured, whatever was asked for: the browser compares them.
    fn preflight(&self, allowed: Option<&[u8]>) -> Box<Refusal> {
        let mut response = Refusal::new(204, "").with(
            VARY,
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        );
        let Some(origin) = allowed else {
            return response;
        };
        response = response.with(ALLOW_ORIGIN, origin);
        if self.credentials {
            response = response.with(ALLOW_CREDENTIALS, "true");
        }
        let max_age = self.max_age.as_deref().unwrap_or_default();
        for (name, value) in [
            ("Access-Control-Allow-Methods", &*self.methods),
            ("Access-Control-Allow-Headers", &*self.headers),
            ("Access-Control-Max-Age", max_age),
        ] {
            if !value.is_empty() {
                response = response.with(name, value);
            }
        }
        response
    }

    /// The headers of the response to the request itself. Those of the backend are replaced: the policy decides alone.
    fn edit(&self, has_origin: bool, allowed: Option<&[u8]>, edits: &mut Vec<Edit>) {
        if !self.origins.is_every() {
            // Also without an origin: a cache must not give that response to a page.
            edits.push(Edit::Add(VARY.into(), b"Origin"[..].into()));
        }
        if !has_origin && !self.origins.is_every() {
            return;
        }
        let set = |name: &str, value: Option<&[u8]>| match value {
            Some(value) => Edit::Set(name.into(), value.into()),
            None => Edit::Remove(name.into()),
        };
        let credentials = self.credentials && allowed.is_some();
        let expose = allowed.map(|_| self.expose.as_bytes());
        edits.push(set(ALLOW_ORIGIN, allowed.or_else(|| self.origins.for_all())));
        edits.push(set(ALLOW_CREDENTIALS, credentials.then_some(&b"true"[..])));
        edits.push(set(EXPOSE, expose.filter(|names| !names.is_empty())));
    }
}

#[cfg(test)]
mod tests;
