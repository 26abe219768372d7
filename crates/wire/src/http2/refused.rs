//! Why a head, trailers or a body were refused, and for which field.

use crate::head::Flaw;
use crate::http1::Malformed;

/// Why a head, trailers or a body were refused, and for which field.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) reason: Malformed,
    pub(super) flaw: Box<Flaw>,
}

impl Refused {
    /// For a body that is not as long as its `content-length`.
    pub(super) fn length() -> Self {
        let flaw = Flaw {
            name: Box::from(*b"content-length"),
            ..Flaw::default()
        };
        Self {
            reason: Malformed::BadContentLength,
            flaw: Box::new(flaw),
        }
    }
}
