//! HTTP/2 on the wire: an engine of our own, whose streams look like connections that carry one message each way. Its heads
//! obey the rules that `http1` holds. In reading order: [`stream`](Stream) is what the request path sees; `server` and `client`
//! move the bytes of a connection; `engine` knows frames, states and windows, and no socket.

mod budget;
mod client;
mod engine;
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
pub use frame::is_begin_of_server;
pub use head::NEVER_INDEXED;
pub use reason::Reason;
pub use round_trip::{RoundTrip, RoundTripError, round_trip};
pub use server::{Connection, Event};
pub use stream::{HeadResult, Stream};
