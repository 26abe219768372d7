//! A route with a plan (rewrite, headers of both directions, compression), and the undoing of what the plan does. What is left must
//! be as without it.

use std::io::Read;

use super::grammar::{Fields, Framing, Step, trim, values};
use super::message::{Request, Response};

/// The route. What clients send goes into the values, so that a line that it could inject would be seen.
pub(crate) const CONFIG: &str = "\
routes:
  - pool: default
    rewrite: { path_regex: { match: '^/', replace: '/planned/' } }
    request_headers: { set: { X-Planned: '${path}|${query.a}|${header.user-agent}|${cookie.a}|end' } }
    response_headers: { set: { X-Planned: '${host}|${path}|${header.x-nonce}|end' } }
    policies: [{ compress: { min_size: 1B, encodings: [gzip] } }]
";

/// The header that the plan adds.
const ADDED: &str = "x-planned";
/// What the rewrite puts before a path.
const PREFIX: &[u8] = b"/planned";

/// The headers that compression changes beside `Vary`.
const OF_REPRESENTATION: [&str; 9] = [
    "accept-ranges",
    "content-digest",
    "content-encoding",
    "content-md5",
    "digest",
    "etag",
    "repr-digest",
    "signature",
    "signature-input",
];

/// Undoes what the plan does to a request.
pub(super) fn undo_request(step: Step<Request>) -> Step<Request> {
    const NOT_APPLIED: &str = "the plan was not applied";
    match step {
        Step::Whole(request, length) => match undone(request.clone()) {
            Some(request) => Step::Whole(request, length),
            None => Step::Broken(NOT_APPLIED, Some(request)),
        },
        Step::Partial(Some(request)) => match undone(request.clone()) {
            Some(request) => Step::Partial(Some(request)),
            None => Step::Broken(NOT_APPLIED, Some(request)),
        },
        other => other,
    }
}

fn undone(mut request: Request) -> Option<Request> {
    take_added(&mut request.fields)?;
    if request.target != b"*" {
        request.target = request.target.strip_prefix(PREFIX)?.to_vec();
    }
    Some(request)
}

/// Undoes what the plan does to the response `sent`, and removes the headers that compression changes from both. Returns whether
/// the plan was applied.
pub(super) fn undo_response(got: &mut Response, sent: &mut Response) -> bool {
    let is_applied = take_added(&mut got.fields).is_some();
    let is_coded = |response: &Response| !values(&response.fields, "content-encoding").is_empty();
    let mut changed = vec!["vary"];
    if is_coded(got) && !is_coded(sent) {
        changed.extend(OF_REPRESENTATION);
        let mut decoded = Vec::new();
        // A truncated body gives what came before; the caller compares it.
        let _ = flate2::read::MultiGzDecoder::new(got.body.decoded.as_slice()).read_to_end(&mut decoded);
        got.body.decoded = decoded;
        if let (Framing::Length(_), Framing::Chunked | Framing::UntilEnd) = (sent.framing, got.framing) {
            got.framing = sent.framing;
        }
    }
    for fields in [
        &mut got.fields,
        &mut sent.fields,
        &mut got.body.trailers,
        &mut sent.body.trailers,
    ] {
        let is_changed = |name: &[u8]| {
            changed
                .iter()
                .any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
        };
        fields.retain(|(name, _)| !is_changed(name));
    }
    is_applied
}

/// Removes the header of the plan, which must be there once and end as the plan says.
fn take_added(fields: &mut Fields) -> Option<()> {
    let added = values(fields, ADDED);
    let is_applied = added.len() == 1 && trim(added[0]).ends_with(b"|end");
    fields.retain(|(name, _)| !name.eq_ignore_ascii_case(ADDED.as_bytes()));
    is_applied.then_some(())
}
