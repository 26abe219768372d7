//! The HTTP/2 protocol. Each stream looks like a connection that carries one message in each direction. Heads obey the rules of
//! `http1`. In reading order: [`stream`](Stream) is what the request path uses; `server` and `client` move the bytes of a
//! connection; `engine` is the protocol state machine: frames, stream states and windows, without a socket.

mod budget;
mod client;
mod engine;
mod fields;
mod frame;
mod head;
mod history;
mod reason;
mod refused;
mod round_trip;
mod server;
mod stream;
mod transport;

pub use client::{Driver, Shared, begin};
pub use engine::BrokeOff;
pub use fields::{HeadField, HeadFields};
pub use frame::is_begin_of_server;
pub use reason::Reason;
pub use round_trip::{RoundTrip, RoundTripError, round_trip};
pub use server::{Connection, Event};
pub use stream::{HeadResult, Stream};
