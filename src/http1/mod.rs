//! HTTP/1.0 and HTTP/1.1 on the wire: strict parsing into a head, finding the end of bodies, writing messages.

pub mod scan;

pub mod parse;

pub mod chunked;

mod framing;
mod limits;
mod malformed;
mod syntax;
mod target;

pub use limits::Limits;
pub use malformed::Malformed;
