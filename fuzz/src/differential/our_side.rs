//! Reads messages with the balancer's parsers, combined as its listener and its attempts do.

use std::collections::BTreeMap;

use evenkeel_wire::head::{BodyLength, Method, RequestHead, ResponseHead};
use evenkeel_wire::http1::{Decoder, HeadScan, Kind, Limits, Piece, parse_request, parse_response};

use super::Message;

/// All requests up to the first one that is refused, truncated or the last on its connection, each with its target as
/// received.
pub(super) fn requests(bytes: &[u8]) -> Vec<(Message, String)> {
    let limits = Limits::default();
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((head, end)) = request_head(rest, &limits) {
        let target = String::from_utf8_lossy(&rest[..end]);
        let target = target
            .trim_start()
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        rest = &rest[end..];
        let body = body(&mut rest, head.body, Kind::Request, &limits);
        let is_last = body.is_none() || !head.keep_alive || head.upgrade.is_some();
        found.push((request(&head, body), target));
        if is_last {
            break;
        }
    }
    found
}

fn request_head(bytes: &[u8], limits: &Limits) -> Option<(RequestHead, usize)> {
    let mut scan = HeadScan::default();
    let end = scan.advance(bytes, Kind::Request, limits).ok()??;
    let mut head = RequestHead::default();
    head.bytes.extend_from_slice(&bytes[..end]);
    parse_request(&mut head, &scan, end).ok()?;
    Some((head, end))
}

fn request(head: &RequestHead, body: Option<Vec<u8>>) -> Message {
    let text = |span| String::from_utf8_lossy(head.text(span)).into_owned();
    let query = head
        .query
        .map(|query| format!("?{}", text(query)))
        .unwrap_or_default();
    Message {
        line: super::line(&text(head.method_text), &text(head.path), &query),
        version: head.version.as_str().to_owned(),
        fields: by_name(
            head.fields
                .iter()
                .map(|field| (head.text(field.name), head.text(field.value))),
        ),
        body,
    }
}

/// The response, if it is final.
pub(super) fn response(bytes: &[u8], is_head: bool) -> Option<Message> {
    let limits = Limits::default();
    let asked = if is_head { Method::Head } else { Method::Get };
    let mut rest = bytes;
    // The limit of interim responses is the balancer's; hyper has none.
    loop {
        let mut scan = HeadScan::default();
        let end = scan.advance(rest, Kind::Response, &limits).ok()??;
        let mut head = ResponseHead::default();
        parse_response(rest, &scan, end, asked, &mut head).ok()?;
        let bytes = rest;
        rest = &rest[end..];
        match head.status {
            101 => return None,
            100..=199 => continue,
            _ => {}
        }
        let body = body(&mut rest, head.body, Kind::Response, &limits);
        return Some(Message {
            line: head.status.to_string(),
            version: head.version.as_str().to_owned(),
            fields: by_name(
                head.fields
                    .iter()
                    .map(|field| (field.name.of(bytes), field.value.of(bytes))),
            ),
            body,
        });
    }
}

/// Takes a body off the front of `rest`; `None` if it is truncated or malformed.
fn body(rest: &mut &[u8], length: BodyLength, kind: Kind, limits: &Limits) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(length, kind, limits);
    let mut payload = Vec::new();
    loop {
        match decoder.next(rest, true).ok()? {
            Piece::Data { skip, len } => {
                payload.extend_from_slice(&rest[skip..skip + len]);
                *rest = &rest[skip + len..];
            }
            Piece::NeedMore { .. } => return None,
            Piece::End { skip, .. } => {
                *rest = &rest[skip..];
                return Some(payload);
            }
        }
    }
}

fn by_name<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut by_name: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in fields {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        by_name.entry(name).or_default().push(value.to_vec());
    }
    by_name
}
