//! Parses a request head from any bytes in any reads: one result; an accepted head has one meaning, for us and for
//! another parser, before and after it is written anew.

use evenkeel_wire::head::{BodyLength, Field, FieldName, RequestHead};
use evenkeel_wire::http1::{HeadScan, Kind, Limits, Malformed, parse_request};

use crate::input::Input;
use crate::reference::{self, is_token, is_value};

/// Panics if a property does not hold.
pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let limits = input.limits();
    let whole = read(input.message, &[input.message.len()], &limits);
    for lengths in input.splits() {
        let split = read(input.message, &lengths, &limits);
        let is_same = match (&split, &whole) {
            (Ok(Some(one)), Ok(Some(other))) => is_same(one, other),
            (Ok(None), Ok(None)) => true,
            (Err(one), Err(other)) => one == other,
            _ => false,
        };
        assert!(is_same, "{split:?} at {lengths:?} is not {whole:?}");
    }
    if let Ok(Some((head, end))) = whole {
        keeps_limits(&head, end, &limits);
        is_unambiguous(&head);
        means_the_same_to_another_parser(&head, &input.message[..end]);
        round_trips(&head);
    }
}

/// Reads as a connection does: the scan sees a growing prefix, the parser the whole head.
pub(crate) fn read(
    bytes: &[u8],
    lengths: &[usize],
    limits: &Limits,
) -> Result<Option<(RequestHead, usize)>, Malformed> {
    let mut scan = HeadScan::default();
    for length in lengths {
        if let Some(end) = scan.advance(&bytes[..*length], Kind::Request, limits)? {
            let mut head = RequestHead::default();
            head.bytes.extend_from_slice(&bytes[..end]);
            parse_request(&mut head, &scan, end)?;
            return Ok(Some((head, end)));
        }
    }
    Ok(None)
}

/// Whether both results are equal, up to the same byte.
fn is_same((one, end): &(RequestHead, usize), (other, other_end): &(RequestHead, usize)) -> bool {
    let line = |head: &RequestHead| {
        (
            head.method,
            head.method_text,
            head.path,
            head.query,
            head.authority,
            head.version,
        )
    };
    let meaning = |head: &RequestHead| {
        (
            head.body,
            head.keep_alive,
            head.expects_continue,
            head.upgrade,
            head.connection_lists,
        )
    };
    let spans = |field: &Field| (field.id, field.name, field.value);
    end == other_end
        && line(one) == line(other)
        && meaning(one) == meaning(other)
        && one.bytes == other.bytes
        && one.fields.iter().map(spans).eq(other.fields.iter().map(spans))
}

fn keeps_limits(head: &RequestHead, end: usize, limits: &Limits) {
    assert!(end <= limits.head);
    assert!(head.fields.len() <= limits.fields);
    let line = head.bytes.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
    assert!(line.unwrap_or_default() < limits.line);
}

/// At most one framing and one host, and no byte in a name or value that another reader could take for a line end.
fn is_unambiguous(head: &RequestHead) {
    let count = |id| head.values(id).count();
    let framing = (
        count(FieldName::ContentLength),
        count(FieldName::TransferEncoding),
    );
    match head.body {
        BodyLength::None => assert_eq!(framing, (0, 0)),
        BodyLength::Exact(_) => assert_eq!(framing, (1, 0)),
        BodyLength::Chunked => assert_eq!(framing, (0, 1)),
        BodyLength::UntilClose => panic!("a request that ends with the connection"),
    }
    assert!(count(FieldName::Host) <= 1 && count(FieldName::FramingAlias) == 0);
    assert!(is_token(head.text(head.method_text)));
    for field in &head.fields {
        assert!(is_token(head.text(field.name)));
        assert!(is_value(head.text(field.value)));
    }
    let is_visible = |text: &[u8]| text.iter().all(u8::is_ascii_graphic);
    assert!(is_visible(head.text(head.path)) && is_visible(head.text(head.authority)));
    assert!(head.query.is_none_or(|query| is_visible(head.text(query))));
}

/// What the other parser reads from the received bytes.
fn means_the_same_to_another_parser(head: &RequestHead, bytes: &[u8]) {
    let mut slots = reference::slots();
    let mut other = httparse::Request::new(&mut slots);
    let status = other.parse(bytes);
    assert_eq!(status, Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(other.method.map(str::as_bytes), Some(head.text(head.method_text)));
    assert_eq!(
        other.version.map(|minor| format!("HTTP/1.{minor}")).as_deref(),
        Some(head.version.as_str())
    );
    let target = reference::Target::read(other.path.unwrap_or_default(), other.method.unwrap_or_default());
    assert_eq!(target.path.as_bytes(), head.text(head.path));
    assert_eq!(
        target.query.as_deref().map(str::as_bytes),
        head.query.map(|query| head.text(query))
    );
    if let Some(authority) = target.authority {
        assert_eq!(authority.as_bytes(), head.text(head.authority));
    }
    let theirs: Vec<_> = other
        .headers
        .iter()
        .map(|field| (field.name.as_bytes(), field.value))
        .collect();
    assert_eq!(theirs, fields(head));
}

/// A head written from the parsed one parses to the same.
fn round_trips(head: &RequestHead) {
    let bytes = written(head);
    let roomy = Limits {
        head: usize::MAX,
        line: usize::MAX,
        ..Limits::default()
    };
    let (again, end) = read(&bytes, &[bytes.len()], &roomy)
        .expect("what was accepted is accepted")
        .expect("it is whole");
    assert_eq!(end, bytes.len());
    assert_eq!(
        written(&again).escape_ascii().to_string(),
        bytes.escape_ascii().to_string()
    );
    assert_eq!(fields(&again), fields(head));
    let meaning = |head: &RequestHead| {
        (
            head.method,
            head.version,
            head.body,
            head.keep_alive,
            head.expects_continue,
        )
    };
    assert_eq!(meaning(&again), meaning(head));
    assert_eq!(again.upgrade.is_some(), head.upgrade.is_some());
    means_the_same_to_another_parser(&again, &bytes);
}

fn fields(head: &RequestHead) -> Vec<(&[u8], &[u8])> {
    let text = |field: &Field| (head.text(field.name), head.text(field.value));
    head.fields.iter().map(text).collect()
}

fn written(head: &RequestHead) -> Vec<u8> {
    let mut out = [head.text(head.method_text), b" ", head.text(head.path)].concat();
    if let Some(query) = head.query {
        out.extend([b"?", head.text(query)].concat());
    }
    out.extend([b" ", head.version.as_str().as_bytes(), b"\r\n"].concat());
    for (name, value) in fields(head) {
        out.extend([name, b": ", value, b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
    out
}
