//! Headers that the config cannot change, because framing, the connection or the identity of the client depends on them, and
//! the key that does the job instead.

use super::{Direction, is_same_name, is_token};

/// A header, or all whose names begin alike.
struct Reserved {
    /// In lower case; with a `*` at the end it is a prefix.
    name: &'static str,
    /// `None` for both.
    direction: Option<Direction>,
    /// Whether it may be removed nevertheless.
    may_remove: bool,
    /// The reason, and what to use instead.
    instead: &'static str,
}

const fn reserved(name: &'static str, direction: Option<Direction>, instead: &'static str) -> Reserved {
    Reserved {
        name,
        direction,
        may_remove: false,
        instead,
    }
}

const fn removable(name: &'static str, instead: &'static str) -> Reserved {
    Reserved {
        name,
        direction: None,
        may_remove: true,
        instead,
    }
}

const REQUEST: Option<Direction> = Some(Direction::Request);
const FRAMING: &str = "it says where the body ends, which is derived from the message itself";
const HOP: &str =
    "it concerns one connection only (RFC 9110 section 7.6.1), and is written where it is needed";
const FORWARDED: &str =
    "it identifies the client: `forwarded` selects such headers, and `trusted_proxies` says whose are kept";
const CERTIFICATE: &str = "backends rely on it for the certificate of the client, which `tls.client_auth` asks for: use another name with ${client_cert_subject}";

/// The first one that matches counts.
const RESERVED: &[Reserved] = &[
    reserved("host", REQUEST, "use `rewrite.host`"),
    reserved("content-length", None, FRAMING),
    reserved("transfer-encoding", None, FRAMING),
    reserved("connection", None, HOP),
    reserved("keep-alive", None, HOP),
    reserved("upgrade", None, HOP),
    reserved("te", None, HOP),
    reserved("trailer", None, HOP),
    reserved("http2-settings", None, HOP),
    reserved("proxy-connection", None, HOP),
    removable(
        "proxy-*",
        "it is for proxies and not for backends; it can be removed",
    ),
    removable(
        "proxy",
        "applications take it for the variable `HTTP_PROXY`; it can be removed",
    ),
    reserved(
        "expect",
        REQUEST,
        "it is written where the client waits for 100 (Continue)",
    ),
    reserved(
        "max-forwards",
        REQUEST,
        "it counts proxies, and is counted down where a request has it",
    ),
    reserved("x-forwarded*", REQUEST, FORWARDED),
    reserved("forwarded", REQUEST, FORWARDED),
    reserved("x-real-ip", REQUEST, FORWARDED),
    reserved(
        "x-request-id",
        REQUEST,
        "every request has one, which the access log shows too; `trusted_proxies` says whose ids are kept. Use another name with ${request_id}",
    ),
    reserved("client-cert", REQUEST, CERTIFICATE),
    reserved("client-cert-chain", REQUEST, CERTIFICATE),
    reserved(
        "x-evenkeel-mirrored",
        REQUEST,
        "`mirror` marks copies with it, so that they are not copied again",
    ),
    reserved("via", None, "it protects against loops (RFC 9110 section 7.6.3)"),
    reserved(
        "date",
        Some(Direction::Response),
        "it is the time at which the backend made the response (RFC 9110 section 6.6.1)",
    ),
    reserved(
        "sec-websocket-key",
        None,
        "the handshake of a WebSocket depends on it",
    ),
    reserved(
        "sec-websocket-accept",
        None,
        "the handshake of a WebSocket depends on it",
    ),
    reserved(
        "sec-websocket-version",
        None,
        "the handshake of a WebSocket depends on it",
    ),
    removable(
        "sec-websocket-*",
        "client and backend agree on it; it can be removed",
    ),
];

/// Whether a header may be set or added.
pub(super) fn check_write(name: &str, direction: Direction) -> Result<(), String> {
    check_name(name)?;
    match find(name, direction) {
        Some(found) => Err(format!("`{name}` cannot be set: {}", found.instead)),
        None => Ok(()),
    }
}

/// Whether a header may be removed.
pub(super) fn check_remove(name: &str, direction: Direction) -> Result<(), String> {
    check_name(name)?;
    match find(name, direction).filter(|found| !found.may_remove) {
        Some(found) => Err(format!("`{name}` cannot be removed: {}", found.instead)),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    match is_token(name.as_bytes()) {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is not the name of a header: letters, digits and any of !#$%&'*+-.^_`|~ are allowed"
        )),
    }
}

/// Variants with other marks are reserved in both directions: nobody needs them, and somebody could read them as the header.
fn find(name: &str, direction: Direction) -> Option<&'static Reserved> {
    let name = name.as_bytes();
    RESERVED.iter().find(|reserved| {
        let matches = match reserved.name.strip_suffix('*') {
            Some(prefix) => name
                .get(..prefix.len())
                .is_some_and(|start| is_same_name(Direction::Request, start, prefix.as_bytes())),
            None => is_same_name(Direction::Request, name, reserved.name.as_bytes()),
        };
        matches && reserved.direction.is_none_or(|only| only == direction)
    })
}
