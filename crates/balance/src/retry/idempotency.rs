//! Whether a request may be processed twice.

use evenkeel_wire::head::{Method, RequestHead};

/// By this header a client says that the backend recognises a repeated request (draft-ietf-httpapi-idempotency-key-header).
const KEY: &[u8] = b"idempotency-key";

/// Whether a request may be processed twice: its method is idempotent (RFC 9110 §9.2.2), or it is a POST or PATCH with an
/// `Idempotency-Key` that is not empty.
#[inline]
pub fn is_repeatable(head: &RequestHead) -> bool {
    match head.method {
        Method::Post | Method::Patch => has_key(head),
        method => method.is_idempotent(),
    }
}

fn has_key(head: &RequestHead) -> bool {
    head.fields.iter().any(|field| {
        let name = head.text(field.name);
        // One that `Connection` lists is not forwarded, so the backend could not recognise the request.
        name.eq_ignore_ascii_case(KEY)
            && !head.text(field.value).trim_ascii().is_empty()
            && !head.connection_names(name)
    })
}

#[cfg(test)]
mod tests {
    use evenkeel_wire::head::{Field, FieldName, Span};

    use super::*;

    fn request(method: &str, name: &str, value: &str) -> RequestHead {
        let bytes = format!("{name}{value}").into_bytes();
        let (middle, end) = (name.len(), bytes.len());
        let field = Field {
            id: FieldName::Other,
            name: Span::new(0, middle),
            value: Span::new(middle, end),
            is_secret: false,
        };
        RequestHead {
            bytes,
            method: Method::from_token(method.as_bytes()),
            fields: vec![field],
            ..RequestHead::default()
        }
    }

    #[test]
    fn idempotent_methods_may_be_repeated_without_a_key() {
        for (method, expected) in [
            ("GET", true),
            ("HEAD", true),
            ("OPTIONS", true),
            ("PUT", true),
            ("DELETE", true),
            ("TRACE", true),
            ("POST", false),
            ("PATCH", false),
            ("LOCK", false),
        ] {
            assert_eq!(
                is_repeatable(&request(method, "accept", "*/*")),
                expected,
                "{method}"
            );
        }
    }

    #[test]
    fn post_and_patch_may_be_repeated_with_a_key() {
        for (method, name, value, expected) in [
            ("POST", "Idempotency-Key", "\"8e03978e\"", true),
            ("PATCH", "idempotency-key", "a", true),
            ("POST", "Idempotency-Key", "", false),
            ("POST", "Idempotency-Key", "  ", false),
            ("POST", "X-Idempotency-Key", "a", false),
            ("LOCK", "Idempotency-Key", "a", false),
        ] {
            let head = request(method, name, value);
            assert_eq!(is_repeatable(&head), expected, "{method} {name}: {value}");
        }
    }
}
