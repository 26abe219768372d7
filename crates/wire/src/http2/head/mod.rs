//! Heads and trailers: checks decoded fields by the same rules as HTTP/1 and makes heads of them, and encodes those that are
//! sent.

use smallvec::SmallVec;

use super::fields::HeadFields;
use super::refused::Refused;
use crate::head::{
    BodyLength, Field, FieldName, Flaw, Method, RequestHead, ResponseHead, Span, Version, list,
};
use crate::hpack::{Encoder, Kind, Name};
use crate::http1::{
    COOKIE_LINES, Limits, Malformed, check_authority, check_method, content_length, parse_target,
};

/// Field lines that a request may have, counting each `cookie` line of a split cookie. Browsers send far fewer.
const LINES: usize = COOKIE_LINES;
/// What a field counts in addition to its bytes (RFC 9113 §6.5.2).
const OVERHEAD: usize = 32;
/// Longest scheme; registered schemes are shorter.
const SCHEME: usize = 64;
/// Longest media type that is kept of a refused head.
const MEDIA: usize = 256;

/// Running totals over the fields of a block.
#[derive(Debug, Default)]
struct Tally {
    size: usize,
    lines: usize,
    /// Pseudo-header fields received, as bits.
    pseudo: u8,
    has_fields: bool,
    length: Option<u64>,
    flaw: Option<Malformed>,
    /// The field that was refused.
    refused: Option<Box<Flaw>>,
}

impl Tally {
    /// Records that a field is refused.
    #[cold]
    fn refuse(&mut self, reason: Malformed, name: Name<'_>, value: &[u8]) {
        self.flaw = Some(reason);
        self.refused = Some(Box::new(Flaw::of_field(self.lines, name.text, value)));
    }

    /// Why the fields were refused, and the field, if it was a single one.
    #[cold]
    fn refused(&mut self, reason: Malformed) -> Refused {
        let mut flaw = self.refused.take().unwrap_or_default();
        flaw.size = self.size;
        flaw.fields = self.lines.saturating_sub(self.pseudo.count_ones() as usize);
        Refused { reason, flaw }
    }

    /// Counts a field. Returns whether to check it: not if the head is already refused.
    fn count(&mut self, name: Name<'_>, value: &[u8], most: usize) -> bool {
        self.size += name.text.len() + value.len() + OVERHEAD;
        self.lines += 1;
        if self.size > most {
            self.flaw = self.flaw.or(Some(Malformed::HeadTooLarge));
        }
        self.flaw.is_none()
    }

    /// RFC 9113 §8.3: pseudo-header fields come first, each once, and only those defined for the message.
    fn pseudo(&mut self, kind: Kind, belong: u8) -> Result<(), Malformed> {
        let bit = bit(kind);
        if bit & belong == 0 || self.has_fields || self.pseudo & bit != 0 {
            return Err(Malformed::BadFieldName);
        }
        self.pseudo |= bit;
        Ok(())
    }

    fn has(&self, kind: Kind) -> bool {
        self.pseudo & bit(kind) != 0
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        match self.length.replace(content_length(value)?) {
            Some(_) => Err(Malformed::DuplicateContentLength),
            None => Ok(()),
        }
    }
}

/// The bit of a pseudo-header field in a set; 0 for other fields.
fn bit(kind: Kind) -> u8 {
    match kind {
        Kind::Authority => 1,
        Kind::Method => 2,
        Kind::Path => 4,
        Kind::Scheme => 8,
        Kind::Protocol => 16,
        Kind::Status => 32,
        Kind::UnknownPseudo | Kind::Field(_) | Kind::Flawed => 0,
    }
}

/// Pseudo-header fields of requests.
const OF_REQUESTS: u8 = 31;
/// Pseudo-header field of responses.
const OF_RESPONSES: u8 = 32;

/// Builds a request head from its decoded fields.
pub(super) struct RequestReader<'h> {
    head: &'h mut RequestHead,
    limits: Limits,
    tally: Tally,
    path: Span,
    is_websocket: bool,
    has_host: bool,
    cookies: SmallVec<[Span; 4]>,
}

impl<'h> RequestReader<'h> {
    /// Fills `head`.
    pub(super) fn new(head: &'h mut RequestHead, limits: &Limits) -> Self {
        head.clear();
        head.version = Version::Http2;
        head.keep_alive = true;
        Self {
            head,
            limits: *limits,
            tally: Tally::default(),
            path: Span::default(),
            is_websocket: false,
            has_host: false,
            cookies: SmallVec::new(),
        }
    }

    /// Adds a field.
    pub(super) fn add(&mut self, name: Name<'_>, value: &[u8]) {
        if self.tally.count(name, value, self.limits.head) {
            if let Err(reason) = self.take(name, value) {
                self.tally.refuse(reason, name, value);
            }
        } else if self.tally.flaw.is_some() {
            self.keep_for_response(name, value);
        }
    }

    /// Keeps the parts of a refused head that the form of the response depends on: the method, and whether it is a gRPC call.
    fn keep_for_response(&mut self, name: Name<'_>, value: &[u8]) {
        if name.kind == Kind::Method {
            self.head.method = Method::from_token(value);
        } else if name.text == b"content-type"
            && value.len() <= MEDIA
            && self.head.fields.len() < self.limits.fields
        {
            self.push(FieldName::Other, name, value);
        }
    }

    fn take(&mut self, name: Name<'_>, value: &[u8]) -> Result<(), Malformed> {
        if self.tally.lines > LINES {
            return Err(Malformed::TooManyFields);
        }
        let Kind::Field(id) = name.kind else {
            self.tally.pseudo(name.kind, OF_REQUESTS)?;
            return self.take_pseudo(name.kind, value);
        };
        self.tally.has_fields = true;
        check_value(value)?;
        // The same bound as for a line of HTTP/1, in which a backend may receive it.
        if name.text.len() + value.len() + b": \r\n".len() > self.limits.line {
            return Err(Malformed::FieldTooLong);
        }
        match id {
            FieldName::FramingAlias => return Err(Malformed::FramingAlias),
            FieldName::Host => return self.take_host(value),
            // RFC 9113 §8.2.2.
            FieldName::Te if value == b"trailers" => {}
            id if id.is_hop_by_hop() && id != FieldName::Trailer => return Err(Malformed::BadConnection),
            FieldName::ContentLength => self.tally.length(value)?,
            FieldName::Expect if value.is_empty() => {}
            FieldName::Expect if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Malformed::UnknownExpectation);
            }
            FieldName::Expect => self.head.expects_continue = true,
            _ if name.text == b"cookie" => {
                let part = put(&mut self.head.bytes, value);
                self.cookies.push(part);
                return Ok(());
            }
            _ => {}
        }
        self.push(id, name, value);
        Ok(())
    }

    fn push(&mut self, id: FieldName, name: Name<'_>, value: &[u8]) {
        self.head.fields.push(Field {
            id,
            name: put(&mut self.head.bytes, name.text),
            value: put(&mut self.head.bytes, value),
            is_secret: name.is_secret,
        });
    }

    fn take_pseudo(&mut self, kind: Kind, value: &[u8]) -> Result<(), Malformed> {
        let head = &mut *self.head;
        match kind {
            Kind::Method => {
                check_method(value)?;
                head.method = Method::from_token(value);
                head.method_text = put(&mut head.bytes, value);
            }
            Kind::Protocol => {
                check_method(value)?;
                self.is_websocket = value.eq_ignore_ascii_case(b"websocket");
            }
            Kind::Path if value.len() > self.limits.line => return Err(Malformed::TargetTooLong),
            Kind::Path => self.path = put(&mut head.bytes, value),
            Kind::Authority => {
                check_authority(value)?;
                head.authority = put(&mut head.bytes, value);
            }
            _ => check_scheme(value)?,
        }
        Ok(())
    }

    /// Takes `Host`, which must agree with `:authority` if both are present.
    fn take_host(&mut self, value: &[u8]) -> Result<(), Malformed> {
        check_authority(value)?;
        if std::mem::replace(&mut self.has_host, true) {
            return Err(Malformed::DuplicateHost);
        }
        // RFC 9113 §8.3.1: the values have to be the same; without `:authority`, which would come first, `Host` replaces it.
        if !self.tally.has(Kind::Authority) {
            self.head.authority = put(&mut self.head.bytes, value);
        } else if !self.head.text(self.head.authority).eq_ignore_ascii_case(value) {
            return Err(Malformed::DuplicateHost);
        }
        Ok(())
    }

    /// Checks the fields as a whole. `has_body` is whether DATA may follow. Returns the `content-length`.
    ///
    /// # Errors
    /// [`Malformed`]; the head then holds the method and `content-type`, if they were received, and the refused field.
    pub(super) fn finish(mut self, has_body: bool) -> Result<Option<u64>, Malformed> {
        let result = self.check(has_body);
        if let Err(reason) = result {
            self.keep_for_log(reason);
        }
        result
    }

    /// Leaves in a refused head what the access log shows of it.
    #[cold]
    fn keep_for_log(&mut self, reason: Malformed) {
        if self.head.path.is_empty() {
            self.head.path = self.path;
        }
        let mut flaw = self.tally.refused(reason).flaw;
        if flaw.number == 0 {
            // A split cookie counts as one field.
            flaw.fields = self.head.fields.len();
        }
        self.head.flaw = Some(flaw);
    }

    fn check(&mut self, has_body: bool) -> Result<Option<u64>, Malformed> {
        if let Some(flaw) = self.tally.flaw {
            return Err(flaw);
        }
        self.close_request_line()?;
        self.put_cookies()?;
        let head = &mut *self.head;
        if head.fields.len() > self.limits.fields {
            return Err(Malformed::TooManyFields);
        }
        if head.authority.is_empty() {
            return Err(Malformed::MissingHost);
        }
        let length = self.tally.length;
        head.expects_continue &= has_body && length != Some(0);
        head.body = match (length, has_body) {
            (Some(1..), false) => return Err(Malformed::BadContentLength),
            (Some(length), _) => BodyLength::Exact(length),
            (None, true) => BodyLength::Chunked,
            (None, false) => BodyLength::None,
        };
        if head.upgrade.is_some() {
            if length.is_some() {
                // A length of 0 too: the DATA frames that follow would have to add up to it (RFC 9113 §8.1.1).
                return Err(Malformed::UpgradeWithBody);
            }
            // What follows is the other protocol, not a body.
            head.body = BodyLength::None;
        }
        Ok(length)
    }

    /// Checks method, path and authority. A WebSocket request (RFC 8441 §4) becomes the equivalent HTTP/1.1 upgrade request.
    fn close_request_line(&mut self) -> Result<(), Malformed> {
        let has = |kind| self.tally.has(kind);
        let has_target = has(Kind::Scheme) && has(Kind::Path);
        let is_extended = has(Kind::Protocol);
        let is_proper = match self.head.method {
            // RFC 9113 §8.5, RFC 8441 §4.
            Method::Connect if !is_extended => has(Kind::Authority) && !has(Kind::Scheme) && !has(Kind::Path),
            Method::Connect => has_target && has(Kind::Authority),
            _ => has(Kind::Method) && has_target && !is_extended,
        };
        if !is_proper {
            return Err(Malformed::BadRequestLine);
        }
        let head = &mut *self.head;
        if head.method == Method::Connect {
            if !self.is_websocket {
                return Err(Malformed::ConnectRefused);
            }
            head.method = Method::Get;
            head.method_text = put(&mut head.bytes, b"GET");
            head.upgrade = Some(put(&mut head.bytes, b"websocket"));
        }
        let (start, end) = self.path.range();
        let target = parse_target(&mut head.bytes, start, end, head.method)?;
        if target.authority.is_some() {
            // RFC 9113 §8.3.1: the authority belongs in `:authority`, not in `:path`.
            return Err(Malformed::BadTarget);
        }
        head.path = target.path;
        head.query = target.query;
        Ok(())
    }

    /// Joins the `cookie` lines into one field (RFC 9113 §8.2.3).
    fn put_cookies(&mut self) -> Result<(), Malformed> {
        let head = &mut *self.head;
        let Some((first, rest)) = self.cookies.split_first() else {
            return Ok(());
        };
        let mut value = *first;
        if !rest.is_empty() {
            let start = head.bytes.len();
            for (at, part) in self.cookies.iter().enumerate() {
                if at > 0 {
                    head.bytes.extend_from_slice(b"; ");
                }
                let (start, end) = part.range();
                head.bytes.extend_from_within(start..end);
            }
            value = Span::new(start, head.bytes.len());
        }
        let name = put(&mut head.bytes, b"cookie");
        if value.len as usize + b"cookie: \r\n".len() > self.limits.line {
            return Err(Malformed::FieldTooLong);
        }
        head.fields.push(Field {
            id: FieldName::Other,
            name,
            value,
            // The encoder never indexes `cookie` anyway.
            is_secret: false,
        });
        Ok(())
    }
}

/// Builds a response head from its decoded fields. Its spans point into lines of the form `name: value`.
pub(super) struct ResponseReader<'h> {
    head: &'h mut ResponseHead,
    lines: &'h mut Vec<u8>,
    limits: Limits,
    tally: Tally,
}

impl<'h> ResponseReader<'h> {
    /// Fills `head` and `lines`.
    pub(super) fn new(head: &'h mut ResponseHead, lines: &'h mut Vec<u8>, limits: &Limits) -> Self {
        head.clear();
        head.version = Version::Http2;
        head.keep_alive = true;
        Self {
            head,
            lines,
            limits: *limits,
            tally: Tally::default(),
        }
    }

    /// Adds a field.
    pub(super) fn add(&mut self, name: Name<'_>, value: &[u8]) {
        if self.tally.count(name, value, self.limits.head)
            && let Err(reason) = self.take(name, value)
        {
            self.tally.refuse(reason, name, value);
        }
    }

    fn take(&mut self, name: Name<'_>, value: &[u8]) -> Result<(), Malformed> {
        let Kind::Field(id) = name.kind else {
            self.tally.pseudo(name.kind, OF_RESPONSES)?;
            self.head.status = status(value)?;
            return Ok(());
        };
        self.tally.has_fields = true;
        // RFC 9113 §8.2.1 forbids whitespace at either end, but gRPC status messages end with it: a response is not refused for it.
        // CR and LF are refused: a recipient that takes them for a line end would read another message.
        let value = list::trim(value);
        check_value(value)?;
        if id.is_hop_by_hop() && id != FieldName::Trailer {
            return Err(Malformed::BadConnection);
        }
        if id == FieldName::ContentLength {
            self.tally.length(value)?;
        }
        if self.head.fields.len() == self.limits.fields {
            return Err(Malformed::TooManyFields);
        }
        let is_secret = name.is_secret;
        let (name, value) = put_line(self.lines, name.text, value);
        self.head.fields.push(Field {
            id,
            name,
            value,
            is_secret,
        });
        Ok(())
    }

    /// Checks the fields as a whole. `asked` is the method of the request, `is_whole` means that nothing follows the head. Returns the
    /// length that the body must have.
    ///
    /// # Errors
    /// [`Refused`]; the head is then unusable.
    pub(super) fn finish(mut self, is_whole: bool, asked: Method) -> Result<Option<u64>, Refused> {
        let result = self.check(is_whole, asked);
        result.map_err(|reason| self.tally.refused(reason))
    }

    fn check(&mut self, is_whole: bool, asked: Method) -> Result<Option<u64>, Malformed> {
        if let Some(flaw) = self.tally.flaw {
            return Err(flaw);
        }
        let head = &mut *self.head;
        if !self.tally.has(Kind::Status) || !(100..=599).contains(&head.status) {
            return Err(Malformed::BadStatusLine);
        }
        let length = self.tally.length;
        let has_none = asked == Method::Head || matches!(head.status, 100..=199 | 204 | 304);
        head.body = match (is_whole, length) {
            _ if has_none => BodyLength::None,
            // RFC 9113 §8.1.1.
            (true, Some(1..)) => return Err(Malformed::BadContentLength),
            (true, _) => BodyLength::Exact(0),
            (false, Some(length)) => BodyLength::Exact(length),
            (false, None) => BodyLength::UntilClose,
        };
        // RFC 9110 §8.6: of responses without a body only these may have a length.
        let is_of_head = asked == Method::Head && !matches!(head.status, 100..=199 | 204);
        head.announced_length = length.filter(|_| is_of_head || head.status == 304);
        Ok(length.filter(|_| !has_none))
    }
}

/// Builds trailer lines from decoded fields.
pub(super) struct TrailersReader {
    lines: Vec<u8>,
    tally: Tally,
    most: usize,
    /// Whether whitespace at either end of a value is trimmed, as in response heads.
    is_of_response: bool,
}

impl TrailersReader {
    pub(super) fn new(is_of_response: bool, limits: &Limits) -> Self {
        Self {
            lines: Vec::new(),
            tally: Tally::default(),
            most: limits.head,
            is_of_response,
        }
    }

    /// Adds a field.
    pub(super) fn add(&mut self, name: Name<'_>, value: &[u8]) {
        if self.tally.count(name, value, self.most)
            && let Err(reason) = self.take(name, value)
        {
            self.tally.refuse(reason, name, value);
        }
    }

    fn take(&mut self, name: Name<'_>, value: &[u8]) -> Result<(), Malformed> {
        let Kind::Field(id) = name.kind else {
            return Err(Malformed::BadFieldName);
        };
        if id.is_hop_by_hop() && id != FieldName::Trailer {
            return Err(Malformed::BadConnection);
        }
        let value = if self.is_of_response {
            list::trim(value)
        } else {
            value
        };
        check_value(value)?;
        put_line(&mut self.lines, name.text, value);
        Ok(())
    }

    /// Returns the lines.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn finish(mut self) -> Result<Vec<u8>, Refused> {
        match self.tally.flaw {
            Some(reason) => Err(self.tally.refused(reason)),
            None => Ok(self.lines),
        }
    }
}

/// Encodes a head as a field block.
pub(super) fn encode(head: &HeadFields, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    for field in head.iter() {
        match field.is_never_indexed {
            false => encoder.field(field.name, field.value, out),
            true => encoder.secret(field.name, field.value, out),
        }
    }
}

/// Encodes trailers, which are whole, checked lines, as a field block.
pub(super) fn encode_trailers(lines: &[u8], encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    let mut rest = lines;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at_checked(end + 1).unwrap_or((rest, &[]));
        rest = after;
        let colon = memchr::memchr(b':', line);
        if let Some((name, value)) = colon.and_then(|at| line.split_at_checked(at)) {
            let value = value.get(1..).unwrap_or_default();
            encoder.field(name, value.trim_ascii(), out);
        }
    }
}

/// Writes a line; returns the spans of name and value.
fn put_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) -> (Span, Span) {
    let name = put(lines, name);
    lines.extend_from_slice(b": ");
    let value = put(lines, value);
    lines.extend_from_slice(b"\r\n");
    (name, value)
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) -> Span {
    let start = bytes.len();
    bytes.extend_from_slice(text);
    Span::new(start, bytes.len())
}

/// RFC 9113 §8.2.1: no control bytes, and no whitespace at either end.
fn check_value(text: &[u8]) -> Result<(), Malformed> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    // It does not stop at the first control byte, which is rare: a loop without a branch is several times as fast.
    let is_control = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 0x7f;
    let has_control = text.iter().fold(false, |found, byte| found | is_control(byte));
    if is_blank(text.first()) || is_blank(text.last()) || has_control {
        return Err(Malformed::ControlByte);
    }
    Ok(())
}

/// RFC 3986 §3.1.
fn check_scheme(text: &[u8]) -> Result<(), Malformed> {
    let is_scheme = text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.len() <= SCHEME
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    is_scheme.then_some(()).ok_or(Malformed::BadTarget)
}

fn status(text: &[u8]) -> Result<u16, Malformed> {
    match text {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => Ok([a, b, c]
            .into_iter()
            .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))),
        _ => Err(Malformed::BadStatusLine),
    }
}

#[cfg(test)]
mod tests;
