//! Asks another server whether a request may pass. A response of 2xx lets it pass; any other goes to the client in place of the
//! backend's, so that redirects to a login work. Without a response, the request is refused.

use std::time::Duration;

use evenkeel_wire::head::{FieldName, list};

use super::identity;
use super::{AskedServer, BuildError, Context, Decision, Edit, Fetch, Fetched, Job, Notes, Policy, Refusal};
use crate::request::Request;
use crate::schema::{Form, Key, Kind, Params, Value};

/// Timeout where none is configured.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Seconds after which a client may try again when there is no response.
const RETRY_AFTER: &str = "1";

/// Headers of responses that name the user, in the order in which they are looked for.
const USERS: [&str; 3] = ["X-User", "X-Auth-Request-User", "Remote-User"];

/// Headers that concern the response of the backend and not the question: conditions and ranges (RFC 9110 §13.1, §14.2) would change
/// what the server answers.
const CONDITIONS: [&str; 6] = [
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
];

const HEADERS: Kind = Kind::List(&Kind::Text(
    Form::new("a header name").checked(identity::is_token),
));

/// The error codes of its refusals.
pub(super) const CODES: &[(&str, &str)] = &[
    (
        "forward_auth_redirect",
        "the authentication server redirected the client, for example to a login (its status, 3xx)",
    ),
    (
        "forward_auth_denied",
        "the authentication server denied the request (its status, 4xx)",
    ),
    (
        "forward_auth_error",
        "the authentication server responded with an error (its status)",
    ),
    (
        "forward_auth_unavailable",
        "the authentication server did not respond in time, or not with a valid response (status 503)",
    ),
];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "url",
        Kind::Text(Form::new("an http or https URL, such as http://auth:9000/check").checked(identity::is_url)),
        "The URL that is asked, with GET and without a body, before each request. 2xx lets the request pass; the client gets any other \
         response as it is. The server gets `X-Forwarded-Method`, `X-Forwarded-Uri`, `X-Forwarded-Host`, `X-Forwarded-Proto` and \
         `X-Forwarded-For`, which describe the request. Without a response, the status is 503.",
    )
    .required(),
    identity::CA,
    Key::new(
        "request_headers",
        HEADERS,
        "Headers of the request that are sent to the server, such as `Cookie` and `Authorization`. Headers of the connection, framing, \
         forwarding, conditions and ranges never are.",
    )
    .otherwise("all headers"),
    Key::new(
        "response_headers",
        HEADERS,
        "Headers of a 2xx response that the backend gets as request headers, such as `X-User`. What clients send in them is always \
         removed. The first of `X-User`, `X-Auth-Request-User` and `Remote-User` in this list that has a value names the user in the log.",
    )
    .otherwise("none"),
    Key::new(
        "timeout",
        Kind::Duration {
            least: Duration::from_millis(1),
            most: Duration::from_secs(60),
        },
        "Time for the whole exchange with the server.",
    )
    .default("2s"),
];

#[derive(Debug)]
struct ForwardAuth {
    url: Box<str>,
    /// File with the CAs of the server; `None` for those of this machine.
    ca: Option<Box<str>>,
    /// `None` for all headers.
    request_headers: Option<Vec<Box<str>>>,
    response_headers: Vec<Box<str>>,
    timeout: Duration,
}

pub(super) fn build(context: Context<'_>) -> Result<Box<dyn Policy>, BuildError> {
    let params = context.params;
    let url = params.text("url").unwrap_or_default();
    if !identity::is_url(url) {
        return Err(BuildError::of("url", "not an http or https URL"));
    }
    let response_headers = names(params, "response_headers");
    for name in &response_headers {
        identity::check_header_name("response_headers", name)?;
    }
    let request_headers = params
        .get("request_headers")
        .map(|_| names(params, "request_headers"));
    for name in request_headers.iter().flatten() {
        if !may_be_sent(name.as_bytes()) {
            let message = format!("`{name}` is never sent to the server");
            return Err(BuildError::of("request_headers", message));
        }
    }
    Ok(Box::new(ForwardAuth {
        url: url.into(),
        ca: identity::ca(params, url)?.map(Box::from),
        request_headers,
        response_headers,
        timeout: params.duration("timeout").unwrap_or(TIMEOUT),
    }))
}

fn names(params: &Params, key: &str) -> Vec<Box<str>> {
    let names = params.list(key).iter().filter_map(|value| match value {
        Value::Text(name) => Some(name.as_str().into()),
        _ => None,
    });
    names.collect()
}

impl Policy for ForwardAuth {
    fn check(&self, request: &Request<'_>, _: &mut Notes) -> Decision {
        Decision::Wait(Job::Fetch(Box::new(Fetch {
            url: self.url.clone(),
            method: "GET",
            headers: self.headers(request),
            timeout: self.timeout,
            response: Err("not sent".to_owned()),
        })))
    }

    fn resume(&self, request: &Request<'_>, notes: &mut Notes, done: Job) -> Decision {
        let response = match done {
            Job::Fetch(fetch) => fetch.response,
            Job::Compute(_) => Err("not sent".to_owned()),
        };
        match response {
            Ok(response) if (200..300).contains(&response.status) => self.accept(request, notes, &response),
            Ok(response) if (300..600).contains(&response.status) => Decision::Refuse(refusal(response)),
            Ok(response) => unavailable(format!("status {}", response.status)),
            Err(why) => unavailable(why),
        }
    }

    fn fetches(&self) -> Option<AskedServer<'_>> {
        Some(AskedServer {
            url: &self.url,
            ca: self.ca.as_deref(),
        })
    }
}

impl ForwardAuth {
    /// The headers of the question.
    fn headers(&self, request: &Request<'_>) -> Vec<(Box<str>, Box<[u8]>)> {
        let head = request.head;
        let mut headers = Vec::with_capacity(head.fields.len() + 5);
        for field in &head.fields {
            let name = head.text(field.name);
            let is_wanted = self.request_headers.as_ref().is_none_or(|wanted| {
                wanted
                    .iter()
                    .any(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name))
            });
            if is_wanted
                && may_be_sent(name)
                && !head.connection_names(name)
                && let Ok(name) = std::str::from_utf8(name)
            {
                headers.push((name.into(), head.text(field.value).into()));
            }
        }
        let mut uri = request.path().to_vec();
        if let Some(query) = head.query {
            uri.push(b'?');
            uri.extend_from_slice(head.text(query));
        }
        let scheme: &[u8] = if request.is_secure { b"https" } else { b"http" };
        let forwarded: [(&str, Box<[u8]>); 4] = [
            ("X-Forwarded-Method", head.text(head.method_text).into()),
            ("X-Forwarded-Uri", uri.into()),
            ("X-Forwarded-Host", head.text(head.authority).into()),
            ("X-Forwarded-Proto", scheme.into()),
        ];
        headers.extend(forwarded.map(|(name, value)| (name.into(), value)));
        if let Some(ip) = request.client_ip {
            let ip = ip.to_canonical().to_string();
            headers.push(("X-Forwarded-For".into(), ip.into_bytes().into()));
        }
        headers
    }

    fn accept(&self, request: &Request<'_>, notes: &mut Notes, response: &Fetched) -> Decision {
        for name in &self.response_headers {
            identity::replace_client_copies(request, name, None, notes);
            for value in values(response, name) {
                if !identity::is_header_value(value) {
                    return unavailable(format!("the value of `{name}` is not valid"));
                }
                notes.request_headers.push(Edit::Add(name.clone(), value.into()));
            }
        }
        let mut users = USERS.iter().filter(|user| {
            let mut copied = self.response_headers.iter();
            copied.any(|name| name.eq_ignore_ascii_case(user))
        });
        let user = users.find_map(|name| values(response, name).find(|value| !value.is_empty()));
        if let Some(user) = user {
            notes.user = Some(String::from_utf8_lossy(user).into());
        }
        Decision::Continue
    }
}

/// Whether a header of a request may be sent to the server: it is end-to-end, and describes neither a body nor a way.
fn may_be_sent(name: &[u8]) -> bool {
    let id = FieldName::recognise(name);
    !id.is_hop_by_hop()
        && !id.is_protected()
        && id != FieldName::Expect
        && !CONDITIONS
            .iter()
            .any(|condition| condition.as_bytes().eq_ignore_ascii_case(name))
}

fn values<'a>(response: &'a Fetched, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let found = response
        .headers
        .iter()
        .filter(move |(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, value)| &**value)
}

/// The response of the server for the client.
fn refusal(response: Fetched) -> Box<Refusal> {
    let code = match response.status {
        300..400 => "forward_auth_redirect",
        400..500 => "forward_auth_denied",
        _ => "forward_auth_error",
    };
    let listed: Vec<Box<[u8]>> = values(&response, "Connection")
        .flat_map(list::elements)
        .map(Box::from)
        .collect();
    let mut refusal = Refusal::new(response.status, code);
    let mut media_type = None;
    for (name, value) in response.headers {
        let id = FieldName::recognise(name.as_bytes());
        let is_framing = matches!(id, FieldName::ContentLength | FieldName::FramingAlias);
        let is_listed = listed
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(name.as_bytes()));
        // The response to the client has a date of its own.
        if id.is_hop_by_hop() || is_framing || is_listed || id == FieldName::Date {
            continue;
        }
        if name.eq_ignore_ascii_case("content-type") {
            media_type = String::from_utf8(value.into()).ok();
            continue;
        }
        refusal.headers.push((name.into_string().into(), value));
    }
    // A body without a type stays without one (RFC 9110 §8.3).
    refusal.body = Some((media_type.unwrap_or_default().into(), response.body));
    refusal
}

fn unavailable(why: String) -> Decision {
    let refusal = Refusal::new(503, "forward_auth_unavailable").with("Retry-After", RETRY_AFTER);
    Decision::Refuse(refusal.because(why))
}

#[cfg(test)]
mod tests;
