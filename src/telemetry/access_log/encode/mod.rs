//! Encodes an entry as a line of JSON. Pure; allocates nothing once the buffer has grown.
//!
//! Programs parse the log, so the keys and their order do not change. `path` includes `?query` only if `access_log.query` is on. A
//! value from outside that is longer than its bound ends with `…[truncated]`. `telemetry/json.rs` describes how bytes are escaped.

pub(super) mod combined;

use crate::telemetry::json;
use crate::telemetry::{Label, Timestamp};

use super::entry::{Client, Entry, Retry};

/// Maximum number of bytes of a path, and of a query: enough for paths that people write, and few enough that a client that sends
/// 16 KiB lines does not fill the disk.
pub const PATH_BOUND: usize = 2048;

/// Maximum number of bytes of any other value. A host name has at most 253.
pub const VALUE_BOUND: usize = Label::BOUND;

/// Maximum number of bytes of a detail: longer than any that this program generates.
const DETAIL_BOUND: usize = 512;

/// Maximum number of retries that are listed; `attempts` counts all.
pub const RETRIES_BOUND: usize = 16;

/// The settings of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the path is logged with its query. Off by default, because queries may contain secrets.
    pub query: bool,
}

/// Appends the line of `entry` with its newline. Whatever bytes the entry has, the result is exactly one line of valid JSON, whose
/// length is bounded.
pub fn encode(entry: &Entry<'_>, timestamp: &mut Timestamp, options: Options, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"time":""#);
    timestamp.write(entry.time, out);
    out.extend_from_slice(if entry.status >= 500 {
        br#"","level":"WARN","msg":"Request completed","client_ip":"#
    } else {
        br#"","level":"INFO","msg":"Request completed","client_ip":"#
    });
    client(entry, out);
    value(br#","method":""#, entry.method, out);
    path_with_key(entry, options, out);
    label(br#","backend":"#, entry.backend, out);
    out.extend_from_slice(br#","status":"#);
    json::number(out, u64::from(entry.status));
    out.extend_from_slice(br#","latency_ms":"#);
    json::millis(out, entry.latency);
    details(entry, out);
    out.extend_from_slice(b"}\n");
}

/// The client's address.
#[inline]
pub(super) fn client(entry: &Entry<'_>, out: &mut Vec<u8>) {
    match entry.client {
        Client::Direct(address) => out.extend_from_slice(address.as_json()),
        Client::Forwarded(address) => {
            out.push(b'"');
            json::ip_address(out, address);
            out.push(b'"');
        }
    }
}

fn path_with_key(entry: &Entry<'_>, options: Options, out: &mut Vec<u8>) {
    match entry.path {
        Some(path) => {
            out.extend_from_slice(br#","path":""#);
            end_path(path, entry, options, out);
        }
        None => out.extend_from_slice(br#","path":null"#),
    }
}

/// The path, with its query if that is on.
pub(super) fn path(entry: &Entry<'_>, options: Options, out: &mut Vec<u8>) {
    match entry.path {
        Some(path) => {
            out.push(b'"');
            end_path(path, entry, options, out);
        }
        None => out.extend_from_slice(b"null"),
    }
}

/// Everything of a path after its opening quotation mark.
#[inline]
fn end_path(path: &[u8], entry: &Entry<'_>, options: Options, out: &mut Vec<u8>) {
    json::text(out, path, PATH_BOUND);
    if let Some(query) = entry.query.filter(|_| options.query) {
        out.push(b'?');
        json::text(out, query, PATH_BOUND);
    }
    out.push(b'"');
}

/// Everything after `latency_ms`.
fn details(entry: &Entry<'_>, out: &mut Vec<u8>) {
    value(br#","host":""#, entry.host, out);
    code(br#","protocol":"#, entry.protocol, out);
    label(br#","route":"#, entry.route, out);
    label(br#","pool":"#, entry.pool, out);
    value(br#","request_id":""#, entry.request_id, out);
    out.extend_from_slice(br#","attempts":"#);
    json::number(out, u64::from(entry.attempts));
    out.extend_from_slice(br#","bytes_received":"#);
    json::number(out, entry.bytes_received);
    out.extend_from_slice(br#","bytes_sent":"#);
    json::number(out, entry.bytes_sent);
    out.extend_from_slice(br#","backend_ms":"#);
    match entry.backend_time {
        Some(time) => json::millis(out, time),
        None => out.extend_from_slice(b"null"),
    }
    if let Some(id) = entry.trace_id {
        value(br#","trace_id":""#, Some(&id.hex()), out);
    }
    if !entry.retries.is_empty() {
        out.extend_from_slice(br#","retries":"#);
        retries(entry.retries, out);
    }
    if let Some(status) = entry.grpc_status {
        out.extend_from_slice(br#","grpc_status":"#);
        json::number(out, u64::from(status));
    }
    if entry.client_cert.is_some() {
        label(br#","client_cert":"#, entry.client_cert, out);
    }
    if entry.user.is_some() {
        value(br#","user":""#, entry.user, out);
    }
    if let Some(policy) = entry.policy {
        value(br#","policy":""#, Some(policy.as_bytes()), out);
    }
    if entry.error.is_some() {
        code(br#","error":"#, entry.error, out);
    }
    if entry.detail.is_some() {
        out.extend_from_slice(br#","detail":"#);
        detail(entry.detail, out);
    }
}

/// The details of an error, or `null`.
pub(super) fn detail(detail: Option<&str>, out: &mut Vec<u8>) {
    json::string_or_null(out, detail.map(str::as_bytes), DETAIL_BOUND);
}

/// The retries as a list, or `null` without any.
pub(super) fn retries(retries: &[Retry<'_>], out: &mut Vec<u8>) {
    if retries.is_empty() {
        out.extend_from_slice(b"null");
        return;
    }
    let mut before = b'[';
    for retry in retries.iter().take(RETRIES_BOUND) {
        out.push(before);
        before = b',';
        label(br#"{"backend":"#, Some(retry.backend), out);
        code(br#","reason":"#, Some(retry.reason), out);
        if let Some(detail) = retry.detail {
            value(br#","detail":""#, Some(detail.as_bytes()), out);
        }
        out.push(b'}');
    }
    out.push(b']');
}

/// A key, which ends with the opening quotation mark of its value, and a value that a client or a backend sent.
#[inline(always)] // The key is a constant, so that copying it is no call.
fn value(key: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        json::text(out, value, VALUE_BOUND);
        out.push(b'"');
    } else {
        out.extend_from_slice(key.split_last().map_or(key, |(_, key)| key));
        out.extend_from_slice(b"null");
    }
}

/// A key and a constant of this program, which needs no escaping.
#[inline(always)] // As `value`.
fn code(key: &[u8], code: Option<&'static str>, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    let Some(code) = code else {
        out.extend_from_slice(b"null");
        return;
    };
    debug_assert!(
        code.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
    );
    out.push(b'"');
    out.extend_from_slice(code.as_bytes());
    out.push(b'"');
}

/// A key and a text that is escaped already.
fn label(key: &[u8], label: Option<&Label>, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.extend_from_slice(label.map_or(b"null", Label::as_json));
}

#[cfg(test)]
mod tests;
