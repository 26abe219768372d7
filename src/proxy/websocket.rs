//! Checks the response to a WebSocket handshake (RFC 6455 §4). Over HTTP/1.1 client and backend settle that between each other; a
//! client of HTTP/2 has no key (RFC 8441 §5), so the one that the backend gets is ours, and so is the check.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use crate::head::{FieldName, RequestHead, ResponseHead};

/// What a key is hashed with (RFC 6455 §1.3).
const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A key: 16 bytes in Base64.
pub(super) const KEY: usize = 24;
/// What has to be in `Sec-WebSocket-Accept`: 20 bytes in Base64.
const ACCEPT: usize = 28;

/// Whether a 101 switches to the requested protocol and to nothing else (RFC 9110 §7.8).
pub(super) fn is_switch(head: &ResponseHead, bytes: &[u8]) -> bool {
    let mut tokens = head.values(bytes, FieldName::Upgrade);
    matches!((tokens.next(), tokens.next()), (Some(token), None) if token.eq_ignore_ascii_case(b"websocket"))
}

/// Whether a 101 has one `Sec-WebSocket-Accept`, which belongs to this key: else something responds that knows no WebSockets, or
/// that responds to another request.
pub(super) fn is_accepted(head: &ResponseHead, bytes: &[u8], key: &[u8; KEY]) -> bool {
    let mut values = head
        .fields
        .iter()
        .filter(|field| field.name.of(bytes).eq_ignore_ascii_case(b"sec-websocket-accept"))
        .map(|field| field.value.of(bytes));
    matches!((values.next(), values.next()), (Some(value), None) if *value == accept(key))
}

/// Whether a request for a WebSocket was received without a key, as on streams (RFC 8441 §5), so that one is made here.
pub(super) fn needs_key(head: &RequestHead) -> bool {
    head.version.is_multiplexed() && head.upgrade.is_some()
}

/// Whether a field of a request is a key in place of the one that is made here.
pub(super) fn is_foreign_key(head: &RequestHead, name: &[u8]) -> bool {
    needs_key(head) && name.eq_ignore_ascii_case(b"sec-websocket-key")
}

fn accept(key: &[u8; KEY]) -> [u8; ACCEPT] {
    let mut text = [0; KEY + GUID.len()];
    for (place, byte) in text.iter_mut().zip(key.iter().chain(GUID)) {
        *place = *byte;
    }
    let mut accept = [0; ACCEPT];
    // Fails only where the result has no room.
    let _ = BASE64.encode_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text), &mut accept);
    accept
}

#[cfg(test)]
mod tests {
    use super::accept;

    /// The example of RFC 6455 §1.3.
    #[test]
    fn accept_is_computed_from_the_key() {
        assert_eq!(
            &accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
