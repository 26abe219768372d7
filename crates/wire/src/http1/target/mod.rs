//! Parses the request target (RFC 9112 §3.2): its form, authority, path and query.

mod authority;
mod path;

pub use authority::check as check_authority;

use super::Malformed;
use super::syntax::QUERY;
use crate::head::{Method, Span};

/// The spans of the parts of a target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The path, dot segments resolved; `*` for the server as a whole (OPTIONS).
    pub path: Span,
    /// What follows the `?`.
    pub query: Option<Span>,
    /// The authority of an absolute-form.
    pub authority: Option<Span>,
}

/// Parses the target at `start..end` of `bytes` and normalises its path in place. Bytes of the target that no returned span
/// covers are then meaningless.
///
/// # Errors
/// [`Malformed`].
pub fn parse(bytes: &mut [u8], start: usize, end: usize, method: Method) -> Result<Target, Malformed> {
    let target = bytes.get(start..end).unwrap_or_default();
    match target {
        [b'/', ..] => {
            let (path, query) = path_and_query(bytes, start, end)?;
            Ok(Target {
                path,
                query,
                authority: None,
            })
        }
        b"*" if method == Method::Options => Ok(Target {
            path: Span::new(start, end),
            query: None,
            authority: None,
        }),
        _ => absolute(bytes, start, end, method),
    }
}

/// Parses the absolute-form: `http://` or `https://`, an authority, and optionally a path and a query.
fn absolute(bytes: &mut [u8], start: usize, end: usize, method: Method) -> Result<Target, Malformed> {
    let target = bytes.get(start..end).unwrap_or_default();
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|text| text.eq_ignore_ascii_case(scheme))
        })
        .ok_or(Malformed::BadTarget)?
        .len();
    let rest = target.get(scheme..).unwrap_or_default();
    let length = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    check_authority(rest.get(..length).unwrap_or_default())?;

    let from = start + scheme;
    let authority = Some(Span::new(from, from + length));
    let rest = rest.get(length..).unwrap_or_default();
    if rest.first() == Some(&b'/') {
        let (path, query) = path_and_query(bytes, from + length, end)?;
        return Ok(Target {
            path,
            query,
            authority,
        });
    }
    let query = match rest {
        [] => None,
        [_, query @ ..] => {
            check_query(query)?;
            Some(Span::new(from + length + 1, end))
        }
    };
    // The empty path means `/`, or `*` for OPTIONS without a query (RFC 9112 §3.2.4). A span needs a byte to point at, so the
    // last `/` of `://` is used: nothing else needs the scheme.
    if let (Method::Options, None, Some(byte)) = (method, query, bytes.get_mut(from - 1)) {
        *byte = b'*';
    }
    let path = Span::new(from - 1, from);
    Ok(Target {
        path,
        query,
        authority,
    })
}

fn path_and_query(bytes: &mut [u8], start: usize, end: usize) -> Result<(Span, Option<Span>), Malformed> {
    let target = bytes.get(start..end).unwrap_or_default();
    let length = memchr::memchr(b'?', target).unwrap_or(target.len());
    let query = match target.get(length..) {
        Some([_, query @ ..]) => {
            check_query(query)?;
            Some(Span::new(start + length + 1, end))
        }
        _ => None,
    };
    let path = bytes.get_mut(start..start + length).unwrap_or_default();
    let length = path::normalise(path)?;
    Ok((Span::new(start, start + length), query))
}

/// Checks a path that was not received, such as a rewritten one, by the rules for the path of a request, and resolves its dot
/// segments.
///
/// # Errors
/// [`Malformed`]; the path is then as it was.
pub fn normalise_path(path: &mut Vec<u8>) -> Result<(), Malformed> {
    if path.first() != Some(&b'/') {
        return Err(Malformed::BadTarget);
    }
    let length = path::normalise(path)?;
    path.truncate(length);
    Ok(())
}

/// Percent-encoding is not checked: a query is data for the backend, and stray `%` are common in it.
fn check_query(query: &[u8]) -> Result<(), Malformed> {
    if QUERY.contains_all(query) {
        Ok(())
    } else {
        Err(Malformed::BadTarget)
    }
}

#[cfg(test)]
mod tests;
