//! Tests of parsing heads: helpers shared by the tests of requests and responses.

mod connection;
mod corpus;
mod requests;
mod responses;
mod splits;

use super::{request, response};
use crate::head::{FieldName, Method, RequestHead, ResponseHead};
use crate::http1::scan::{HeadScan, Kind};
use crate::http1::{Limits, Malformed};

/// Scans and parses a request head; bytes after it are ignored.
pub(in crate::http1) fn parse_request(bytes: &[u8]) -> Result<Option<RequestHead>, Malformed> {
    let mut scan = HeadScan::default();
    let Some(end) = scan.advance(bytes, Kind::Request, &Limits::default())? else {
        return Ok(None);
    };
    let mut head = RequestHead {
        bytes: bytes.to_vec(),
        ..RequestHead::default()
    };
    request(&mut head, &scan, end)?;
    Ok(Some(head))
}

/// Scans and parses the head of a response to a request with method `asked`.
pub(in crate::http1) fn parse_response_in_test(
    bytes: &[u8],
    asked: Method,
) -> Result<Option<ResponseHead>, Malformed> {
    let mut scan = HeadScan::default();
    let Some(end) = scan.advance(bytes, Kind::Response, &Limits::default())? else {
        return Ok(None);
    };
    let mut head = ResponseHead::default();
    response(bytes, &scan, end, asked, &mut head)?;
    Ok(Some(head))
}

/// The head of a complete request.
fn accepted(bytes: impl AsRef<[u8]>) -> RequestHead {
    let bytes = bytes.as_ref();
    match parse_request(bytes) {
        Ok(Some(head)) => head,
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

/// The reason for which a complete request is refused.
fn refused(bytes: impl AsRef<[u8]>) -> Malformed {
    let bytes = bytes.as_ref();
    match parse_request(bytes) {
        Err(reason) => reason,
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

/// A GET in HTTP/1.1 with these field lines after `Host`.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// A POST in HTTP/1.1 with these field lines after `Host`.
fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

fn text(head: &RequestHead, id: FieldName) -> Vec<String> {
    head.values(id)
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect()
}
