//! HTTP/2 over sockets: what moves the bytes of the engine in `evenkeel-wire`. [`Stream`] is what the request path
//! uses: it looks like a connection that carries one message in each direction. `server` and `client` move the bytes of a
//! connection.

mod client;
mod round_trip;
mod server;
mod transport;

pub use client::{Driver, Shared, begin};
pub use evenkeel_wire::http2::{BrokeOff, HeadFields, Reason, Stream, is_begin_of_server};
pub use round_trip::{RoundTrip, RoundTripError, round_trip};
pub use server::{Connection, Event};
