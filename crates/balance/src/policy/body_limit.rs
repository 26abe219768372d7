//! Limits the size of the request body. Refuses at once what announces a larger one; a body of unknown length is cut off by the
//! request path, which reads the limit from the notes.

use evenkeel_wire::head::BodyLength;

use super::{BuildError, Context, Decision, Notes, Policy, Refusal};
use crate::request::Request;
use crate::schema::{Key, Kind};

/// The error codes of its refusals.
pub(super) const CODES: &[(&str, &str)] = &[(
    "request_body_too_large",
    "the request body was larger than the policy allows (status 413)",
)];

/// The key without a name is the value of the policy itself: `body_limit: 1MiB`.
pub(super) const KEYS: &[Key] = &[Key::new(
    "",
    Kind::Size {
        least: 0,
        most: 1 << 50,
    },
    "Maximum size of the request body. The lowest of several limits applies; `limits.body` of the route cannot be exceeded. A larger body \
     is refused with 413 before a byte of it is sent to a backend if its length is known, else as soon as it exceeds the limit.",
)
.required()];

#[derive(Debug)]
struct BodyLimit(u64);

pub(super) fn build(context: Context<'_>) -> Result<Box<dyn Policy>, BuildError> {
    let limit = context.params.size("");
    let limit = limit.ok_or_else(|| BuildError::of("", "`body_limit` requires a size such as 1MiB"))?;
    Ok(Box::new(BodyLimit(limit)))
}

impl Policy for BodyLimit {
    fn check(&self, request: &Request<'_>, notes: &mut Notes) -> Decision {
        let limit = notes.body_limit.map_or(self.0, |other| other.min(self.0));
        notes.body_limit = Some(limit);
        match request.head.body {
            BodyLength::Exact(length) if length > limit => {
                let refusal = Refusal::new(413, "request_body_too_large");
                Decision::Refuse(refusal.because(format!("{length} bytes; `body_limit` is {limit}")))
            }
            _ => Decision::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::Kept;
    use crate::request::tests::{head, request};
    use crate::schema::{Params, Value};

    fn check(limit: u64, lines: &str, notes: &mut Notes) -> Option<Refusal> {
        let mut params = Params::default();
        params.set("", Value::Size(limit));
        let policy = build(Context {
            name: "small",
            params: &params,
            kept: &mut Kept::default().next(),
        });
        let head = head(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        match policy.unwrap().check(&request(&head), notes) {
            Decision::Continue => None,
            Decision::Refuse(refusal) => Some(*refusal),
            Decision::Wait(job) => panic!("{job:?}"),
        }
    }

    #[test]
    fn refuses_a_larger_content_length_at_once() {
        for (limit, length, is_refused) in [(10, 10, false), (10, 11, true), (0, 0, false), (0, 1, true)] {
            let refusal = check(
                limit,
                &format!("Content-Length: {length}\r\n"),
                &mut Notes::default(),
            );
            assert_eq!(refusal.is_some(), is_refused, "{length} of {limit}");
            if let Some(refusal) = refusal {
                assert_eq!((refusal.status, refusal.code), (413, "request_body_too_large"));
                assert_eq!(
                    refusal.detail.unwrap(),
                    format!("{length} bytes; `body_limit` is {limit}")
                );
            }
        }
    }

    #[test]
    fn the_lowest_limit_goes_into_the_notes() {
        let mut notes = Notes::default();
        for (limit, lowest) in [(20, 20), (10, 10), (30, 10)] {
            assert!(check(limit, "Transfer-Encoding: chunked\r\n", &mut notes).is_none());
            assert_eq!(notes.body_limit, Some(lowest));
        }
        assert!(check(30, "Content-Length: 11\r\n", &mut notes).is_some());
        assert!(check(30, "", &mut notes).is_none());
    }

    #[test]
    fn a_size_is_required() {
        let context = Context {
            name: "small",
            params: &Params::default(),
            kept: &mut Kept::default().next(),
        };
        assert!(build(context).is_err());
    }
}
