//! Parses a complete head into spans, strictly: anything ambiguous is refused, because the other side might read it
//! differently. `scan` has already checked line ends and control bytes.

pub(super) mod fields;

pub use super::Malformed;

use super::framing::content_length;
use super::scan::{HeadScan, METHOD_LIMIT};
use super::syntax::TOKEN;
use super::target::{self, check_authority};
use crate::head::{BodyLength, Method, RequestHead, ResponseHead, Span, Version};
use fields::{Expectation, Summary};

/// Fills `head` from the request head that `scan` found at the front of `head.bytes`, `end` bytes long. The spans point
/// into `head.bytes`, where the path is normalised in place. After an error `head` is unusable.
pub fn request(head: &mut RequestHead, scan: &HeadScan, end: usize) -> Result<(), Malformed> {
    head.clear_parsed();
    let line_end = scan.ends().first().copied().unwrap_or_default() as usize;
    request_line(head, scan.start(), line_end)?;

    let bytes = head.bytes.get(..end).unwrap_or(&head.bytes);
    let mut summary = Summary::default();
    let lines = (line_end + 2, field_ends(scan));
    fields::collect(bytes, lines, &mut head.fields, &mut summary)?;
    if summary.has_framing_alias {
        return Err(Malformed::FramingAlias);
    }
    let host = check_host(&summary, bytes, head.version, head.authority)?;
    if head.authority.is_empty() {
        head.authority = host;
    }
    head.body = summary.framing(bytes).of_request(head.version)?;
    head.expects_continue = expects_continue(&summary, head)?;
    head.upgrade = upgrade(&summary, head)?;
    if head.upgrade.is_some() {
        // `Content-Length: 0` is not forwarded with an upgrade: a recipient could read it differently.
        head.body = BodyLength::None;
    }
    head.keep_alive = summary.connection.keep_alive(head.version);
    head.connection_lists = summary.connection.lists;
    Ok(())
}

/// Fills `head` from the response head that `scan` found at the front of `bytes`, `end` bytes long. The spans point into
/// `bytes`. `asked` is the method of the request, on which the body depends (RFC 9112 §6.3). After an error `head` is
/// unusable, and the connection to the backend must be closed.
pub fn response(
    bytes: &[u8],
    scan: &HeadScan,
    end: usize,
    asked: Method,
    head: &mut ResponseHead,
) -> Result<(), Malformed> {
    head.clear();
    let bytes = bytes.get(..end).unwrap_or(bytes);
    let line_end = scan.ends().first().copied().unwrap_or_default() as usize;
    status_line(bytes, line_end, head)?;

    let mut summary = Summary::default();
    let lines = (line_end + 2, field_ends(scan));
    fields::collect(bytes, lines, &mut head.fields, &mut summary)?;
    let framing = summary.framing(bytes);
    (head.body, head.announced_length) = framing.of_response(head.version, head.status, asked)?;
    // If a recipient could see the end of the response elsewhere, the response is the last on its connection.
    let is_end_proved = match head.status {
        100..=199 | 204 => {
            framing.transfer_encoding.is_none()
                && framing
                    .content_length
                    .is_none_or(|value| content_length(value) == Ok(0))
        }
        _ => head.body != BodyLength::UntilClose,
    };
    head.keep_alive = is_end_proved && summary.connection.keep_alive(head.version);
    head.connection_lists = summary.connection.lists;
    Ok(())
}

/// The ends of the lines after the first.
fn field_ends(scan: &HeadScan) -> &[u32] {
    scan.ends().split_first().map_or(&[], |(_, fields)| fields)
}

/// `method SP request-target SP HTTP-version`, single spaces (RFC 9112 §3).
fn request_line(head: &mut RequestHead, start: usize, end: usize) -> Result<(), Malformed> {
    let line = head.bytes.get(start..end).unwrap_or_default();
    let (method, rest) = line
        .iter()
        .position(|byte| *byte == b' ')
        .and_then(|at| line.split_at_checked(at))
        .unwrap_or_default();
    let target_end = rest.iter().rposition(|byte| *byte == b' ').unwrap_or_default();
    let ([_, target @ ..], [_, version @ ..]) = rest.split_at_checked(target_end).unwrap_or_default() else {
        return Err(Malformed::BadRequestLine);
    };
    head.method = Method::from_token(method);
    if head.method == Method::Other {
        check_method(method)?;
    }
    head.version = version_of(version, Malformed::BadRequestLine)?;
    if head.method == Method::Connect {
        return Err(Malformed::ConnectRefused);
    }
    let target_start = start + method.len() + 1;
    let target_end = target_start + target.len();
    head.method_text = Span::new(start, target_start - 1);
    let target = target::parse(&mut head.bytes, target_start, target_end, head.method).map_err(|reason| {
        if has_space(&head.bytes, target_start, target_end) {
            Malformed::BadRequestLine
        } else {
            reason
        }
    })?;
    head.path = target.path;
    head.query = target.query;
    head.authority = target.authority.unwrap_or_default();
    Ok(())
}

/// Checks that a method is a token (RFC 9110 §9.1) of bounded length.
///
/// # Errors
/// [`Malformed::MethodTooLong`], [`Malformed::BadMethod`].
pub fn check_method(method: &[u8]) -> Result<(), Malformed> {
    if method.len() > METHOD_LIMIT {
        return Err(Malformed::MethodTooLong);
    }
    // `PRI` is reserved for the preface (RFC 9113 §11.6).
    match !method.is_empty() && TOKEN.contains_all(method) && method != b"PRI" {
        true => Ok(()),
        false => Err(Malformed::BadMethod),
    }
}

/// Whether the part between method and version contains a space. No target may contain one, so that this is checked only
/// after the target was refused.
fn has_space(bytes: &[u8], start: usize, end: usize) -> bool {
    bytes.get(start..end).is_some_and(|target| target.contains(&b' '))
}

/// `HTTP-version SP 3DIGIT [ SP reason-phrase ]` (RFC 9112 §4). Without a reason phrase, its space may be missing too.
fn status_line(bytes: &[u8], end: usize, head: &mut ResponseHead) -> Result<(), Malformed> {
    const REASON: usize = b"HTTP/1.1 200 ".len();

    let line = bytes.get(..end).unwrap_or_default();
    let (version, rest) = line.split_at_checked(8).ok_or(Malformed::BadStatusLine)?;
    head.version = version_of(version, Malformed::BadStatusLine)?;
    head.status = match rest {
        [b' ', a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9']
        | [b' ', a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return Err(Malformed::BadStatusLine),
    };
    head.reason = Span::new(REASON.min(end), end);
    Ok(())
}

/// Parses `HTTP/1.0` and `HTTP/1.1`. Another `HTTP/DIGIT.DIGIT` is an unsupported version; all else is `bad`.
fn version_of(text: &[u8], bad: Malformed) -> Result<Version, Malformed> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Malformed::UnsupportedVersion),
        _ => Err(bad),
    }
}

/// Requires exactly one valid `Host` in HTTP/1.1, at most one in HTTP/1.0 (RFC 9112 §3.2). An authority in the target
/// overrides it, but it is still refused if it is malformed or empty. Returns its span.
fn check_host(summary: &Summary, bytes: &[u8], version: Version, authority: Span) -> Result<Span, Malformed> {
    let Some(host) = summary.host else {
        return if version == Version::Http10 {
            Ok(Span::default())
        } else {
            Err(Malformed::MissingHost)
        };
    };
    // A URI without authority has an empty `Host`; one with an authority cannot.
    if !host.is_empty() || !authority.is_empty() {
        check_authority(host.of(bytes))?;
    }
    Ok(host)
}

/// RFC 9110 §10.1.1: ignored in HTTP/1.0, and without meaning if no body follows.
fn expects_continue(summary: &Summary, head: &RequestHead) -> Result<bool, Malformed> {
    if head.version == Version::Http10 {
        return Ok(false);
    }
    match summary.expectation {
        Expectation::None => Ok(false),
        Expectation::Continue => Ok(!matches!(head.body, BodyLength::None | BodyLength::Exact(0))),
        Expectation::Unknown => Err(Malformed::UnknownExpectation),
    }
}

/// The token of a supported upgrade: exactly one `websocket`, requested with GET and `Connection: upgrade` in HTTP/1.1
/// (RFC 6455 §4.1, RFC 9110 §7.8). Any other upgrade is ignored, as a server may do.
fn upgrade(summary: &Summary, head: &RequestHead) -> Result<Option<Span>, Malformed> {
    let may_upgrade =
        head.version == Version::Http11 && head.method == Method::Get && summary.connection.upgrade;
    match summary.upgrade {
        Some(token) if may_upgrade && head.text(token).eq_ignore_ascii_case(b"websocket") => {
            // One side would read what follows the head as a body, the other as the new protocol.
            if matches!(head.body, BodyLength::None | BodyLength::Exact(0)) {
                Ok(Some(token))
            } else {
                Err(Malformed::UpgradeWithBody)
            }
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
