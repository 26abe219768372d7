//! Parses a response head from any bytes in any reads: one result with one meaning, also to another parser. The options
//! select the limits (bit 0) and whether the request was `HEAD` (bit 1).

use evenkeel_wire::head::{BodyLength, Field, FieldName, Method, ResponseHead};
use evenkeel_wire::http1::{HeadScan, Kind, Limits, Malformed, parse_response};

use crate::input::Input;
use crate::reference::{self, is_token, is_value};

/// Panics if a property does not hold.
pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let limits = input.limits();
    let asked = if input.options & 2 == 0 {
        Method::Get
    } else {
        Method::Head
    };
    let whole = read(input.message, &[input.message.len()], &limits, asked);
    for lengths in input.splits() {
        let split = read(input.message, &lengths, &limits, asked);
        let is_same = match (&split, &whole) {
            (Ok(Some(one)), Ok(Some(other))) => is_same(one, other),
            (Ok(None), Ok(None)) => true,
            (Err(one), Err(other)) => one == other,
            _ => false,
        };
        assert!(is_same, "{split:?} at {lengths:?} is not {whole:?}");
    }
    if let Ok(Some((head, end))) = whole {
        let bytes = &input.message[..end];
        assert!(end <= limits.head && head.fields.len() <= limits.fields);
        is_unambiguous(&head, bytes, asked);
        means_the_same_to_another_parser(&head, bytes);
        round_trips(&head, bytes, asked);
    }
}

fn read(
    bytes: &[u8],
    lengths: &[usize],
    limits: &Limits,
    asked: Method,
) -> Result<Option<(ResponseHead, usize)>, Malformed> {
    let mut scan = HeadScan::default();
    for length in lengths {
        let seen = &bytes[..*length];
        if let Some(end) = scan.advance(seen, Kind::Response, limits)? {
            let mut head = ResponseHead::default();
            parse_response(seen, &scan, end, asked, &mut head)?;
            return Ok(Some((head, end)));
        }
    }
    Ok(None)
}

/// Whether both results are equal, up to the same byte.
fn is_same((one, end): &(ResponseHead, usize), (other, other_end): &(ResponseHead, usize)) -> bool {
    let line = |head: &ResponseHead| (head.version, head.status, head.reason);
    let meaning = |head: &ResponseHead| {
        (
            head.body,
            head.announced_length,
            head.keep_alive,
            head.connection_lists,
        )
    };
    let spans = |field: &Field| (field.id, field.name, field.value);
    end == other_end
        && line(one) == line(other)
        && meaning(one) == meaning(other)
        && one.fields.iter().map(spans).eq(other.fields.iter().map(spans))
}

/// A valid status, one framing, and kept open only if the end is known.
fn is_unambiguous(head: &ResponseHead, bytes: &[u8], asked: Method) {
    assert!((100..=599).contains(&head.status));
    assert!(
        !head
            .reason
            .of(bytes)
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    );
    for field in &head.fields {
        assert!(is_token(field.name.of(bytes)));
        assert!(is_value(field.value.of(bytes)));
    }
    let count = |id| head.values(bytes, id).count();
    let (lengths, codings) = (
        count(FieldName::ContentLength),
        count(FieldName::TransferEncoding),
    );
    assert!(lengths + codings <= 1);
    let has_body = asked != Method::Head && head.status >= 200 && !matches!(head.status, 204 | 304);
    match head.body {
        BodyLength::None => assert!(!has_body),
        BodyLength::Exact(_) => assert!(has_body && lengths == 1),
        BodyLength::Chunked => assert!(has_body && codings == 1),
        BodyLength::UntilClose => assert!(has_body && lengths + codings == 0 && !head.keep_alive),
    }
}

fn means_the_same_to_another_parser(head: &ResponseHead, bytes: &[u8]) {
    let mut slots = reference::slots();
    let mut other = httparse::Response::new(&mut slots);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(other.code, Some(head.status));
    assert_eq!(
        other.version.map(|minor| format!("HTTP/1.{minor}")).as_deref(),
        Some(head.version.as_str())
    );
    let reason = head.reason.of(bytes);
    // The other parser returns no reason if it is not ASCII.
    if reason.is_ascii() {
        assert_eq!(other.reason.map(str::as_bytes), Some(reason));
    }
    let theirs: Vec<_> = other
        .headers
        .iter()
        .map(|field| (field.name.as_bytes(), field.value))
        .collect();
    assert_eq!(theirs, fields(head, bytes));
}

fn round_trips(head: &ResponseHead, bytes: &[u8], asked: Method) {
    let again = written(head, bytes);
    let roomy = Limits {
        head: usize::MAX,
        line: usize::MAX,
        ..Limits::default()
    };
    let (read, end) = read(&again, &[again.len()], &roomy, asked)
        .expect("what was accepted is accepted")
        .expect("it is whole");
    assert_eq!(end, again.len());
    assert_eq!(written(&read, &again), again);
    let meaning = |head: &ResponseHead| {
        (
            head.status,
            head.version,
            head.body,
            head.announced_length,
            head.keep_alive,
            head.connection_lists,
        )
    };
    assert_eq!(meaning(&read), meaning(head));
    assert_eq!(fields(&read, &again), fields(head, bytes));
}

fn fields<'a>(head: &ResponseHead, bytes: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    let text = |field: &Field| (field.name.of(bytes), field.value.of(bytes));
    head.fields.iter().map(text).collect()
}

fn written(head: &ResponseHead, bytes: &[u8]) -> Vec<u8> {
    let line = format!("{} {} ", head.version.as_str(), head.status);
    let mut out = [line.as_bytes(), head.reason.of(bytes), b"\r\n"].concat();
    for (name, value) in fields(head, bytes) {
        out.extend([name, b": ", value, b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
    out
}
