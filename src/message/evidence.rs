//! Evidence of a malformed message: the fault, and the bytes around it. Nothing here runs for a valid message.

use super::connection::Connection;
use super::transfer::Transfer;
use crate::head::{Flaw, RequestHead};
use crate::http1::{Fault, FaultPlace, Kind, Limits, Malformed, excerpt, framing_excerpt};

/// A fault, and what was around it.
#[derive(Debug)]
pub struct Evidence {
    /// What broke which rule, and where.
    pub fault: Fault,
    /// The bytes around the place, made printable.
    pub excerpt: String,
}

impl Evidence {
    /// Of a head, or of trailers, of HTTP/1.
    fn of_bytes(bytes: &[u8], kind: Kind, reason: Malformed, limits: &Limits) -> Self {
        let fault = Fault::find(bytes, kind, reason, limits);
        let mut binding = String::new();
        excerpt(bytes, fault.at, kind, &mut binding);
        Self {
            fault,
            excerpt: binding,
        }
    }

    /// Of fields of HTTP/2, written as lines: those in `before` and the one that was refused.
    fn of_flaw(reason: Malformed, flaw: &Flaw, mut before: Vec<u8>, limits: &Limits) -> Self {
        let mut fault = Fault::of_flaw(reason, flaw, limits);
        if flaw.number > 0 {
            fault.at = before.len();
            push_line(&mut before, &flaw.name, &flaw.value);
        }
        let mut binding = String::new();
        excerpt(&before, fault.at, Kind::Trailers, &mut binding);
        Self {
            fault,
            excerpt: binding,
        }
    }

    /// Of the framing or the trailers of a body that `source` sent.
    pub fn of_body(reason: Malformed, transfer: &Transfer, source: &Connection, limits: &Limits) -> Self {
        let input = source.input.unread();
        match transfer.fault() {
            Some((at, true)) => {
                let section = input.get(at..).unwrap_or_default();
                Self::of_bytes(section, Kind::Trailers, reason, limits)
            }
            Some((at, false)) => {
                let mut binding = String::new();
                framing_excerpt(input, at, &mut binding);
                Self {
                    fault: Fault {
                        at: 0,
                        ..Fault::in_chunks(reason, (input, at), transfer.moved, limits)
                    },
                    excerpt: binding,
                }
            }
            None => Self {
                fault: Fault::of(reason),
                excerpt: String::new(),
            },
        }
    }

    /// Of the head of a request that `connection` received. One that came as fields is in `head`.
    pub fn of_request(
        reason: Malformed,
        connection: &Connection,
        head: Option<&RequestHead>,
        limits: &Limits,
    ) -> Self {
        match head {
            Some(head) => {
                let flaw = head.flaw.as_deref().cloned().unwrap_or_default();
                Self::of_flaw(reason, &flaw, lines_of(head), limits)
            }
            None => Self::of_bytes(connection.input.unread(), Kind::Request, reason, limits),
        }
    }

    /// Of the head of a response that `connection` received.
    pub fn of_response(reason: Malformed, connection: &mut Connection, limits: &Limits) -> Self {
        if let Some(evidence) = Self::of_refused(connection, limits) {
            return evidence;
        }
        match connection.is_sequential() {
            true => Self::of_bytes(connection.input.unread(), Kind::Response, reason, limits),
            false => Self::of_flaw(reason, &Flaw::default(), Vec::new(), limits),
        }
    }

    /// Of a message whose stream was reset because of it, if that is how it ended.
    pub fn of_refused(connection: &mut Connection, limits: &Limits) -> Option<Self> {
        let (reason, flaw) = connection.take_refused()?;
        Some(Self::of_flaw(reason, &flaw, Vec::new(), limits))
    }

    /// The number of the line, or of the header where headers are no lines, counted from 1.
    pub fn line(&self) -> Option<usize> {
        match self.fault.place {
            FaultPlace::Line(number) | FaultPlace::Header(number) => Some(number),
            FaultPlace::Whole | FaultPlace::Chunks(_) => None,
        }
    }
}

/// What a head of HTTP/2 asked for, as lines.
fn lines_of(head: &RequestHead) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, text) in [
        (&b":method"[..], head.method_text),
        (b":authority", head.authority),
        (b":path", head.path),
    ] {
        if !text.is_empty() {
            push_line(&mut lines, name, head.text(text));
        }
    }
    lines
}

fn push_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        lines.extend_from_slice(part);
    }
}
