//! Sockets: listening, connecting to backends, resolving names, TLS streams, and reading and writing bytes.

mod accept;
mod begin_closing;
mod bind;
mod connect;
mod descriptors;
mod dial;
mod dial_unix;
mod encrypted;
mod inherited;
mod keepalive;
mod kernel_timer;
mod lookup;
mod pipe;
mod proxy_header;
mod relay;
mod resolve;
mod socket;
mod stream;
mod watch;

pub use accept::{ClientAddress, Listener, StdListener};
pub use bind::{
    Bound, FileIdentity, LONGEST_PATH, ListenAddress, address_of, adopt, bind, is_removed, listen_beside,
};
pub use connect::{Secured, connect, connect_at};
pub use descriptors::{is_reserved, reserve};
pub use dial::{DialError, dial};
pub use dial_unix::dial_unix;
pub use encrypted::Encrypted;
pub use evenkeel_wire::proxy_protocol::{BadHeader, LONGEST_HEADER, ProxyHeader, ProxyVersion};
pub use inherited::{
    receive_descriptors, replace_standard_error, send_descriptors, take_activated, take_standard_input,
};
pub use kernel_timer::KernelTimer;
pub use lookup::Lookup;
pub use pipe::Pipe;
pub use proxy_header::{HeaderError, read_proxy_header};
pub use relay::{Relay, Relays};
pub use resolve::resolve;
pub use socket::Socket;
pub use stream::{Stream, is_readable_or_closed_now};
pub use watch::Watch;

/// Maximum number of addresses of a name that one attempt tries.
pub const MAX_ADDRESSES: usize = 8;
/// Maximum number of addresses kept of one name: as many as a DNS response over TCP holds in practice. If fewer were kept,
/// addresses would seem to disappear whenever a name server changes their order.
pub const MAX_RESOLVED: usize = 256;
