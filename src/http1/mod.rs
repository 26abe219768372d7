//! HTTP/1.0 and HTTP/1.1 on the wire: strict parsing into a head, finding the end of bodies, writing messages.

mod limits;

pub use limits::Limits;
