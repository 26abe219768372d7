//! `Via` (RFC 9110 §7.6.3): how a request shows that it passed through this process, and how one that comes back is
//! recognised. A process calls itself `evenkeel-ID`, with an id that it draws when it starts.

use std::sync::OnceLock;

use memchr::memmem;

use crate::head::{FieldName, RequestHead, Version, list};
use crate::rng::Rng;

/// What the names of all instances begin with.
const FAMILY: &[u8] = b"evenkeel-";
/// Hex digits of an id: 64 bits, so that no two instances of a chain have the same.
const ID_LENGTH: usize = 16;

/// The lines that this process adds, by the version of the request that came.
struct Lines {
    name: String,
    http10: String,
    http11: String,
    http2: String,
}

/// One name for all workers, and for as long as the process runs.
fn lines() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let name = format!("evenkeel-{:0ID_LENGTH$x}", Rng::fresh().bits());
        let line = |version| format!("Via: {version} {name}\r\n");
        Lines {
            http10: line("1.0"),
            http11: line("1.1"),
            http2: line("2.0"),
            name,
        }
    })
}

/// The line that this process adds to a request of this version.
pub(super) fn line(version: Version) -> &'static [u8] {
    let lines = lines();
    match version {
        Version::Http10 => &lines.http10,
        Version::Http11 => &lines.http11,
        Version::Http2 => &lines.http2,
    }
    .as_bytes()
}

/// Whether a request has passed through this process before. Nobody else knows the id, so it counts wherever it stands.
pub(super) fn is_loop(head: &RequestHead) -> bool {
    head.values(FieldName::Via)
        .any(|value| memmem::find(value, lines().name.as_bytes()).is_some())
}

/// The elements of `Via` that go on from a client that is not trusted: those of other instances, or a request that goes
/// round several of them would go round for ever. They say nothing of the client. Our own ends the request: see [`is_loop`].
pub(super) fn of_instances(head: &RequestHead) -> impl Iterator<Item = &[u8]> {
    head.values(FieldName::Via)
        .flat_map(list::elements)
        .filter(|element| is_of_instance(element) && !element.ends_with(lines().name.as_bytes()))
}

/// Whether an element is exactly as [`line`] writes it.
fn is_of_instance(element: &[u8]) -> bool {
    let name = [&b"1.0 "[..], b"1.1 ", b"2.0 "]
        .iter()
        .find_map(|version| element.strip_prefix(*version));
    let id = name.and_then(|name| name.strip_prefix(FAMILY));
    id.is_some_and(|id| id.len() == ID_LENGTH && id.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_of_an_instance_is_exactly_as_one_writes_it() {
        let ours = line(Version::Http2).strip_prefix(b"Via: ").unwrap();
        assert!(is_of_instance(ours.strip_suffix(b"\r\n").unwrap()));
        for other in [
            "1.1 evenkeel",
            "1.1 evenkeel-0123456789abcde",
            "1.1 evenkeel-0123456789abcdef0",
            "1.1 evenkeel-0123456789abcdeg",
            "1.1 evenkeel-0123456789abcdef (x)",
            "3.0 evenkeel-0123456789abcdef",
            "1.1  evenkeel-0123456789abcdef",
            "1.1 edge",
        ] {
            assert!(!is_of_instance(other.as_bytes()), "{other}");
        }
    }
}
