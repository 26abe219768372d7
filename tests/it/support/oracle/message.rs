//! Requests and responses as the independent parser [`grammar`](super::grammar) reads them.

use super::grammar::{self, Body, Fields, Framing, Padding, Step, elements, values};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// As written.
    pub(crate) method: Vec<u8>,
    /// As written.
    pub(crate) target: Vec<u8>,
    /// The minor version: 0 or 1.
    pub(crate) version: u8,
    /// All headers.
    pub(crate) fields: Fields,
    /// How the body ends.
    pub(crate) framing: Framing,
    /// The body, or the part that has arrived.
    pub(crate) body: Body,
    /// Length of the head in bytes.
    pub(crate) head_length: usize,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// The minor version: 0 or 1.
    pub(crate) version: u8,
    /// The status.
    pub(crate) status: u16,
    /// All headers.
    pub(crate) fields: Fields,
    /// How the body ends.
    pub(crate) framing: Framing,
    /// Whether it announces a body although it cannot have one.
    is_end_doubtful: bool,
    /// The body, or the part that has arrived.
    pub(crate) body: Body,
}

impl Request {
    /// Reads the request at the front of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Step<Self> {
        // One empty line may come before it (RFC 9112 §2.2).
        let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let bytes = &bytes[skipped..];
        if bytes.is_empty() || bytes == b"\r" && skipped == 0 {
            return Step::Partial(None);
        }
        let end = match grammar::head_end(bytes) {
            Err(reason) => return Step::Broken(reason, None),
            Ok(None) => return Step::Partial(None),
            Ok(Some(end)) => end,
        };
        let mut request = match Self::head(&bytes[..end]) {
            Err(reason) => return Step::Broken(reason, None),
            Ok(request) => request,
        };
        request.head_length += skipped;
        let body = grammar::body(&bytes[end..], request.framing, Padding::Refused, false);
        with_body(body, skipped + end, |body| Self { body, ..request })
    }

    fn head(head: &[u8]) -> Result<Self, &'static str> {
        let mut slots = [httparse::EMPTY_HEADER; 256];
        let mut parsed = httparse::Request::new(&mut slots);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(end)) if end == head.len() => {}
            _ => return Err("not a request head"),
        }
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err("not a request line");
        };
        let fields = grammar::owned(parsed.headers);
        let framing = grammar::framing(&fields, version)?.unwrap_or(Framing::None);
        let request = Self {
            method: method.as_bytes().to_vec(),
            target: target.as_bytes().to_vec(),
            version,
            fields,
            framing,
            body: Body::default(),
            head_length: head.len(),
        };
        // `method SP target SP HTTP/1.x`, nothing else.
        let line = [method, " ", target, " HTTP/1.", &version.to_string(), "\r\n"].concat();
        if !head.starts_with(line.as_bytes()) {
            return Err("not a request line");
        }
        request.check()?;
        Ok(request)
    }

    /// Checks what `httparse` does not.
    fn check(&self) -> Result<(), &'static str> {
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
        if !self.target.iter().all(is_plain) {
            return Err("bytes that no target may hold");
        }
        let is_known_form = self.target.starts_with(b"/")
            || self.target == b"*" && self.method == b"OPTIONS"
            || self
                .authority_of_target()
                .is_some_and(|authority| !authority.is_empty());
        if !is_known_form {
            return Err("a form of target that a proxy cannot route");
        }
        let hosts = values(&self.fields, "host");
        if hosts.len() > 1 || hosts.is_empty() && self.version == 1 {
            return Err("not one Host");
        }
        let is_host = |byte: &u8| byte.is_ascii_graphic() && !b"/,@?#\\%\"<>^`{|}".contains(byte);
        let authority = self.authority_of_target().unwrap_or_default();
        if !hosts.iter().all(|host| host.iter().all(is_host)) || !authority.iter().all(is_host) {
            return Err("a Host that is none");
        }
        Ok(())
    }

    /// The authority of an absolute-form target.
    pub(crate) fn authority_of_target(&self) -> Option<&[u8]> {
        let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
            let start = self.target.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })?;
        let rest = &self.target[scheme.len()..];
        rest.split(|byte| b"/?".contains(byte)).next()
    }

    /// Whether another request may follow on the connection (RFC 9112 §9.3).
    pub(crate) fn keeps_open(&self) -> bool {
        keeps_open(&self.fields, self.version)
    }
}

impl Response {
    /// Reads the response at the front of `bytes`, strictly. `asked` is the method, if it is known; `has_ended` is
    /// whether no more bytes will come.
    pub(crate) fn read(bytes: &[u8], asked: &[u8], has_ended: bool) -> Step<Self> {
        Self::read_with(Padding::Refused, bytes, asked, has_ended)
    }

    /// Reads what a backend sends, which may have slightly more forms than what a client may get.
    pub(crate) fn read_of_backend(bytes: &[u8], asked: &[u8], has_ended: bool) -> Step<Self> {
        Self::read_with(Padding::Allowed, bytes, asked, has_ended)
    }

    fn read_with(padding: Padding, bytes: &[u8], asked: &[u8], has_ended: bool) -> Step<Self> {
        let end = match grammar::head_end(bytes) {
            Err(reason) => return Step::Broken(reason, None),
            Ok(None) => return Step::Partial(None),
            Ok(Some(end)) => end,
        };
        let response = match Self::head(&bytes[..end], asked) {
            Err(reason) => return Step::Broken(reason, None),
            Ok(response) => response,
        };
        let body = grammar::body(&bytes[end..], response.framing, padding, has_ended);
        with_body(body, end, |body| Self { body, ..response })
    }

    fn head(head: &[u8], asked: &[u8]) -> Result<Self, &'static str> {
        let mut slots = [httparse::EMPTY_HEADER; 256];
        let mut parsed = httparse::Response::new(&mut slots);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(end)) if end == head.len() => {}
            _ => return Err("not a response head"),
        }
        let (Some(version), Some(status)) = (parsed.version, parsed.code) else {
            return Err("not a status line");
        };
        if !(100..600).contains(&status) || !head.starts_with(format!("HTTP/1.{version} {status}").as_bytes())
        {
            return Err("not a status line");
        }
        let fields = grammar::owned(parsed.headers);
        let announced = grammar::framing(&fields, version)?;
        let is_bodyless = status < 200 || status == 204;
        let framing = if is_bodyless || status == 304 || asked == b"HEAD" {
            Framing::None
        } else {
            announced.unwrap_or(Framing::UntilEnd)
        };
        // It announces a body that it cannot have: some recipients take the following bytes for it.
        let is_end_doubtful = is_bodyless && !matches!(announced, None | Some(Framing::Length(0)));
        Ok(Self {
            version,
            status,
            fields,
            framing,
            is_end_doubtful,
            body: Body::default(),
        })
    }

    /// Whether another response may follow on the connection.
    pub(crate) fn keeps_open(&self) -> bool {
        let is_end_proved = self.framing != Framing::UntilEnd && !self.is_end_doubtful;
        keeps_open(&self.fields, self.version) && is_end_proved
    }
}

fn keeps_open(fields: &Fields, version: u8) -> bool {
    let options = elements(fields, "connection");
    let has = |option: &[u8]| options.iter().any(|known| known == option);
    !has(b"close") && (version == 1 || has(b"keep-alive"))
}

/// Builds a message from its head and the body found after `head` bytes.
fn with_body<M>(body: Step<Body>, head: usize, make: impl FnOnce(Body) -> M) -> Step<M> {
    match body {
        Step::Whole(body, used) => Step::Whole(make(body), head + used),
        Step::Partial(body) => Step::Partial(Some(make(body.unwrap_or_default()))),
        Step::Broken(reason, body) => Step::Broken(reason, Some(make(body.unwrap_or_default()))),
    }
}

/// All requests on a connection, and the bytes after the last one.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The complete requests.
    pub(crate) requests: Vec<Request>,
    /// The bytes after them.
    pub(crate) rest: Rest,
    /// Whether those begin like a HEAD request, valid or not: its refusal has no body (RFC 9110 §9.3.2).
    pub(crate) is_rest_to_head: bool,
}

impl Reading {
    /// The incomplete request, if its head is complete.
    pub(crate) fn begun(&self) -> Option<&Request> {
        match &self.rest {
            Rest::Partial(request) | Rest::Broken(request) => request.as_ref(),
            Rest::Nothing | Rest::Ignored => None,
        }
    }
}

/// The bytes after the last complete request.
#[derive(Debug)]
pub(crate) enum Rest {
    /// None.
    Nothing,
    /// Bytes after a request that ends the connection.
    Ignored,
    /// An incomplete request, with its head if that is complete.
    Partial(Option<Request>),
    /// Bytes that are no request; with their head if that was well-formed.
    Broken(Option<Request>),
}

/// Reads everything that a client sends.
pub(crate) fn read_all(mut bytes: &[u8]) -> Reading {
    let mut requests: Vec<Request> = Vec::new();
    let rest = loop {
        // An empty line after a request is not a request.
        if bytes.is_empty() || !requests.is_empty() && b"\r\n".starts_with(bytes) {
            break Rest::Nothing;
        }
        if requests.last().is_some_and(|last| !last.keeps_open()) {
            break Rest::Ignored;
        }
        match Request::read(bytes) {
            Step::Whole(request, used) => {
                requests.push(request);
                bytes = &bytes[used..];
            }
            Step::Partial(request) => break Rest::Partial(request),
            Step::Broken(_, request) => break Rest::Broken(request),
        }
    };
    let is_rest_to_head = bytes.strip_prefix(b"\r\n").unwrap_or(bytes).starts_with(b"HEAD ");
    Reading {
        requests,
        rest,
        is_rest_to_head,
    }
}
