//! Sockets: listening, connecting to a backend, resolving its name, and how bytes get to and from the network.

mod accept;
mod bind;
mod connect;
mod descriptors;
mod dial;
mod dial_file;
mod encrypted;
mod keepalive;
mod lookup;
mod pipe;
mod proxy_header;
mod proxy_protocol;
mod resolve;
mod socket;
mod stream;
mod watch;

pub use accept::{ClientAddress, Listener, StdListener};
pub use bind::{Bound, LONGEST_PATH, ListenAddress, bind};
pub use connect::{Secured, connect};
pub use descriptors::{is_reserved, reserve};
pub use dial::{DialError, dial};
pub use dial_file::dial_file;
pub use encrypted::Encrypted;
pub use lookup::Lookup;
pub use pipe::Pipe;
pub use proxy_header::{HeaderError, read_proxy_header};
pub use proxy_protocol::{BadHeader, LONGEST_HEADER, ProxyHeader, ProxyVersion};
pub use resolve::resolve;
pub use socket::Socket;
pub use stream::{Stream, is_readable_or_closed_now};
pub use watch::Watch;

/// Bound of addresses that one name can have: more are not tried within one attempt.
pub const MAX_ADDRESSES: usize = 8;
/// Bound of addresses that are known of one name: as many as an answer over TCP has in practice. Fewer than the whole answer would make
/// addresses seem to leave it where name servers answer in changing order.
pub const MAX_RESOLVED: usize = 256;
