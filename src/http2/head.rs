//! Heads: from what the `h2` crate has decoded to the model that both protocols speak, by the same rules as for HTTP/1; and
//! back, for what we send.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};

use crate::head::{BodyLength, Field, FieldName, Method, RequestHead, ResponseHead, Span, Version};
use crate::http1::{Limits, Malformed, check_authority, check_method, parse_target};

/// Field lines that a request may have, crumbs of cookies counted one by one: what browsers send stays far below.
const LINES: usize = 1_000;

/// Fills `head` from a decoded request. `has_body` says whether the stream goes on.
///
/// # Errors
/// [`Malformed`]; `head` holds nothing of use then.
pub fn request(
    parts: &http::request::Parts,
    has_body: bool,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<(), Malformed> {
    head.clear();
    head.version = Version::Http2;
    head.keep_alive = true;
    request_line(parts, limits, head)?;
    let (mut length, mut has_host) = (None, false);
    let mut cookies: Vec<&HeaderValue> = Vec::new();
    if parts.headers.len() > LINES {
        return Err(Malformed::TooManyFields);
    }
    for (name, value) in &parts.headers {
        let id = FieldName::recognise(name.as_str().as_bytes());
        let text = value.as_bytes();
        check_value(text)?;
        check_length(name.as_str().len(), text.len(), limits)?;
        match id {
            FieldName::FramingAlias => return Err(Malformed::FramingAlias),
            FieldName::Host => {
                if std::mem::replace(&mut has_host, true) {
                    return Err(Malformed::DuplicateHost);
                }
                host(text, head)?;
                continue;
            }
            FieldName::Te if text.eq_ignore_ascii_case(b"trailers") => {}
            id if id.is_hop_by_hop() && id != FieldName::Trailer => return Err(Malformed::BadConnection),
            FieldName::ContentLength => {
                let number = decimal(text)?;
                if length.replace(number).is_some() {
                    return Err(Malformed::DuplicateContentLength);
                }
            }
            FieldName::Expect if !text.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Malformed::UnknownExpectation);
            }
            FieldName::Expect => head.expects_continue = has_body,
            _ if name == http::header::COOKIE => {
                cookies.push(value);
                continue;
            }
            _ => {}
        }
        let name = put(&mut head.bytes, name.as_str().as_bytes());
        let value = put(&mut head.bytes, text);
        head.fields.push(Field { id, name, value });
    }
    put_cookies(&cookies, limits, head)?;
    if head.fields.len() > limits.fields {
        return Err(Malformed::TooManyFields);
    }
    if head.authority.is_empty() {
        return Err(Malformed::MissingHost);
    }
    head.body = match (length, has_body) {
        (Some(length), _) => BodyLength::Exact(length),
        (None, true) => BodyLength::Chunked,
        (None, false) => BodyLength::None,
    };
    if head.upgrade.is_some() {
        if length.is_some() {
            return Err(Malformed::UpgradeWithBody);
        }
        // What follows are bytes of the other protocol, not a body.
        head.body = BodyLength::None;
    }
    Ok(())
}

/// Method, path and authority. A request for a WebSocket (RFC 8441 §4) becomes what it would have been in HTTP/1.1.
fn request_line(
    parts: &http::request::Parts,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<(), Malformed> {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let method = parts.method.as_str().as_bytes();
    check_method(method)?;
    head.method = Method::from_token(method);
    if head.method == Method::Connect {
        if protocol.is_none_or(|protocol| !protocol.as_str().eq_ignore_ascii_case("websocket")) {
            return Err(Malformed::ConnectRefused);
        }
        head.method = Method::Get;
        head.method_text = put(&mut head.bytes, b"GET");
        head.upgrade = Some(put(&mut head.bytes, b"websocket"));
    } else {
        head.method_text = put(&mut head.bytes, method);
    }
    let target = parts.uri.path_and_query().ok_or(Malformed::BadTarget)?;
    // What the method and the version add to it is of no account.
    if target.as_str().len() > limits.line {
        return Err(Malformed::TargetTooLong);
    }
    let span = put(&mut head.bytes, target.as_str().as_bytes());
    let (start, end) = span.range();
    let target = parse_target(&mut head.bytes, start, end, head.method)?;
    head.path = target.path;
    head.query = target.query;
    if let Some(authority) = parts.uri.authority() {
        check_authority(authority.as_str().as_bytes())?;
        head.authority = put(&mut head.bytes, authority.as_str().as_bytes());
    }
    Ok(())
}

/// `Host` beside `:authority` has to say the same (RFC 9113 §8.3.1); without it, it takes its place.
fn host(text: &[u8], head: &mut RequestHead) -> Result<(), Malformed> {
    check_authority(text)?;
    let authority = head.text(head.authority);
    if authority.is_empty() {
        head.authority = put(&mut head.bytes, text);
    } else if !authority.eq_ignore_ascii_case(text) {
        return Err(Malformed::DuplicateHost);
    }
    Ok(())
}

/// The crumbs of a cookie are one field again (RFC 9113 §8.2.3).
fn put_cookies(cookies: &[&HeaderValue], limits: &Limits, head: &mut RequestHead) -> Result<(), Malformed> {
    let Some((first, rest)) = cookies.split_first() else {
        return Ok(());
    };
    let name = put(&mut head.bytes, b"cookie");
    let start = head.bytes.len();
    head.bytes.extend_from_slice(first.as_bytes());
    for crumb in rest {
        head.bytes.extend_from_slice(b"; ");
        head.bytes.extend_from_slice(crumb.as_bytes());
    }
    let value = Span::new(start, head.bytes.len());
    let id = FieldName::Other;
    head.fields.push(Field { id, name, value });
    check_length(b"cookie".len(), head.bytes.len() - start, limits)
}

/// RFC 9113 §8.2.1: no blank at either end. Control bytes do not get through the crate, but for this rule's sake they are
/// looked for all the same.
pub(super) fn check_value(text: &[u8]) -> Result<(), Malformed> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_control = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 0x7f;
    if is_blank(text.first()) || is_blank(text.last()) || text.iter().any(is_control) {
        return Err(Malformed::ControlByte);
    }
    Ok(())
}

pub(super) fn decimal(text: &[u8]) -> Result<u64, Malformed> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    number
        .filter(|number| is_number && *number <= i64::MAX as u64)
        .ok_or(Malformed::BadContentLength)
}

/// The same bound as for a line of HTTP/1, which is what a backend may get.
fn check_length(name: usize, value: usize, limits: &Limits) -> Result<(), Malformed> {
    match name + value + b": \r\n".len() > limits.line {
        true => Err(Malformed::FieldTooLong),
        false => Ok(()),
    }
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) -> Span {
    let start = bytes.len();
    bytes.extend_from_slice(text);
    Span::new(start, bytes.len())
}

/// Fills `head` from a decoded answer to a request of method `asked`. Its lines go to `bytes`, which its spans point into.
/// `is_whole` says that nothing follows.
///
/// # Errors
/// [`Malformed`]; `head` holds nothing of use then.
pub fn response(
    response: &Response<()>,
    is_whole: bool,
    (asked, limits): (Method, &Limits),
    bytes: &mut Vec<u8>,
    head: &mut ResponseHead,
) -> Result<(), Malformed> {
    head.clear();
    head.version = Version::Http2;
    head.status = response.status().as_u16();
    head.keep_alive = true;
    if !(100..=599).contains(&head.status) {
        return Err(Malformed::BadStatusLine);
    }
    if response.headers().len() > limits.fields {
        return Err(Malformed::TooManyFields);
    }
    let mut length = None;
    for (name, value) in response.headers() {
        let id = FieldName::recognise(name.as_str().as_bytes());
        // RFC 9113 §8.2.1 forbids blanks at either end, and messages of gRPC end with them: an answer does not fail for that.
        let text = value.as_bytes().trim_ascii();
        check_value(text)?;
        if id.is_hop_by_hop() && id != FieldName::Trailer {
            return Err(Malformed::BadConnection);
        }
        if id == FieldName::ContentLength && length.replace(decimal(text)?).is_some() {
            return Err(Malformed::DuplicateContentLength);
        }
        let name = put(bytes, name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        let value = put(bytes, text);
        bytes.extend_from_slice(b"\r\n");
        head.fields.push(Field { id, name, value });
    }
    let has_none = asked == Method::Head || matches!(head.status, 100..=199 | 204 | 304);
    head.body = match (is_whole, length) {
        _ if has_none => BodyLength::None,
        (true, _) => BodyLength::Exact(0),
        (false, Some(length)) => BodyLength::Exact(length),
        (false, None) => BodyLength::UntilClose,
    };
    // RFC 9110 §8.6: no other answer without a body may have one.
    let is_of_head = asked == Method::Head && !matches!(head.status, 100..=199 | 204);
    head.announced_length = length.filter(|_| is_of_head || head.status == 304);
    Ok(())
}

/// The request that these lines are in HTTP/1: all that HTTP/2 says in its own way is left out. `None` when it cannot be
/// said in HTTP/2.
pub fn request_of(lines: Bytes, head: &RequestHead, is_secure: bool, host: &[u8]) -> Option<Request<()>> {
    if head.upgrade.is_some() {
        return None;
    }
    let mut uri = Parts::default();
    uri.scheme = Some(if is_secure { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::try_from(host).ok()?);
    uri.path_and_query = Some(path_and_query(head)?);
    let mut request = Request::new(());
    *request.method_mut() = http::Method::from_bytes(head.text(head.method_text)).ok()?;
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    // Some are written beside the client's own.
    let mut fields = Head::with_room(head.fields.len() + 8);
    for (name, value) in pairs(&lines).skip(1) {
        let id = FieldName::recognise(name);
        if id == FieldName::Te || !id.is_hop_by_hop() && id != FieldName::Host {
            fields.put((id, name), lines.slice_ref(value));
        }
    }
    *request.headers_mut() = fields.fields;
    Some(request)
}

/// Path and query as the `http` crate takes them: the few bytes that it wants escaped, and that some clients send as they
/// are, are escaped.
fn path_and_query(head: &RequestHead) -> Option<PathAndQuery> {
    let (path, query) = (head.text(head.path), head.query.map(|query| head.text(query)));
    let mut text = Vec::with_capacity(path.len() + query.map_or(0, |query| 1 + query.len()));
    for byte in path {
        match byte {
            b'`' => text.extend_from_slice(b"%60"),
            byte => text.push(*byte),
        }
    }
    if let Some(query) = query {
        text.push(b'?');
        for byte in query {
            match byte {
                b'"' => text.extend_from_slice(b"%22"),
                b'<' => text.extend_from_slice(b"%3C"),
                b'>' => text.extend_from_slice(b"%3E"),
                byte => text.push(*byte),
            }
        }
    }
    PathAndQuery::from_maybe_shared(Bytes::from(text)).ok()
}

/// Names and values of whole, checked lines; of a line that is no field, nothing.
fn pairs(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = lines.split(|byte| *byte == b'\n');
    lines.map(|line| {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or_default();
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        (name, value.get(1..).unwrap_or_default().trim_ascii())
    })
}

/// A head that is to be sent, made field by field.
#[derive(Debug, Default)]
pub struct Head {
    fields: HeaderMap,
}

impl Head {
    /// One that takes so many fields without growing.
    pub fn with_room(fields: usize) -> Self {
        Self {
            fields: HeaderMap::with_capacity(fields),
        }
    }

    /// Adds a field.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.put((FieldName::recognise(name), name), Bytes::copy_from_slice(value));
    }

    /// Adds a field whose value is there to be kept. What HTTP/2 cannot carry was refused when it came, so nothing is lost here.
    pub fn put(&mut self, (id, name): (FieldName, &[u8]), value: Bytes) {
        if let (Some(name), Ok(value)) = (header_name(id, name), HeaderValue::from_maybe_shared(value)) {
            self.fields.append(name, value);
        }
    }
}

/// A name for the `http` crate. Those that we write ourselves, and that it does not know, need no memory of their own.
fn header_name(id: FieldName, name: &[u8]) -> Option<HeaderName> {
    const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
    const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

    match id {
        FieldName::XForwardedFor => Some(X_FORWARDED_FOR),
        FieldName::XForwardedHost => Some(X_FORWARDED_HOST),
        FieldName::XForwardedProto => Some(X_FORWARDED_PROTO),
        FieldName::XRequestId => Some(X_REQUEST_ID),
        _ => HeaderName::from_bytes(name).ok(),
    }
}

/// The answer with this head.
pub fn answer(status: u16, head: Head) -> Response<()> {
    let mut response = Response::new(());
    // A status outside 100 to 599 does not come this far.
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = head.fields;
    response
}

/// Trailers from whole, checked lines.
pub fn trailers(lines: &[u8]) -> HeaderMap {
    let mut head = Head::default();
    for (name, value) in pairs(lines) {
        head.field(name, value);
    }
    head.fields
}

/// Trailers as lines.
pub fn lines(trailers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in trailers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
    lines
}
