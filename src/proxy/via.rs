//! `Via` (RFC 9110 §7.6.3): marks requests that passed through this process, and recognises those that return. A process
//! calls itself `evenkeel-ID`, with a random ID that it chooses when it starts.

use std::sync::OnceLock;

use memchr::memmem;

use crate::head::{FieldName, RequestHead, Version, list};
use crate::rng::Rng;

/// The prefix of the names of all instances.
const FAMILY: &[u8] = b"evenkeel-";
/// Hex digits of an ID: 64 bits, so that no two instances of a chain share one.
const ID_LENGTH: usize = 16;

/// The elements that this process adds, by the version of the received request.
struct Elements {
    name: String,
    texts: [String; Version::ALL.len()],
}

/// One name for all workers, and for as long as the process runs.
fn elements() -> &'static Elements {
    static ELEMENTS: OnceLock<Elements> = OnceLock::new();
    ELEMENTS.get_or_init(|| {
        let name = format!("evenkeel-{:0ID_LENGTH$x}", Rng::fresh().bits());
        Elements {
            texts: Version::ALL.map(|version| format!("{} {name}", version.number())),
            name,
        }
    })
}

/// The element that this process adds to a request of this version.
pub(super) fn element(version: Version) -> &'static [u8] {
    let text = elements().texts.get(version as usize);
    text.map_or(b"", |text| text.as_bytes())
}

/// Whether a request has passed through this process before. The ID is known to no other process, so it counts anywhere in the
/// value.
pub(super) fn is_loop(head: &RequestHead) -> bool {
    head.values(FieldName::Via)
        .any(|value| memmem::find(value, elements().name.as_bytes()).is_some())
}

/// The elements of `Via` that are forwarded for a client that is not trusted: those of other instances, since otherwise a
/// request could loop through several of them for ever. They say nothing about the client. Our own element ends the request:
/// see [`is_loop`].
pub(super) fn of_instances(head: &RequestHead) -> impl Iterator<Item = &[u8]> {
    head.values(FieldName::Via)
        .flat_map(list::elements)
        .filter(|element| is_of_instance(element) && !element.ends_with(elements().name.as_bytes()))
}

/// Whether an element is exactly as [`element`] writes it.
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
        assert!(is_of_instance(element(Version::Http2)));
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
