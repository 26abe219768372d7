//! HTTP/2 on the wire: the `h2` crate, with limits of our own below it, and its streams made to look like connections that
//! carry one message each way. Its heads obey the rules that `http1` holds.

mod ask;
mod client;
mod counted;
mod frames;
mod head;
mod hpack;
mod server;
mod stream;

pub use ask::{Asked, ask};
pub use client::{Driver, Shared, begin};
pub use counted::{Counted, Glitches};
pub use head::{Head, answer, lines, request, request_of, response, trailers};
pub use server::{Connection, Incoming, handshake};
pub use stream::Stream;
