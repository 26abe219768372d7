//! What the backend and the load generator share: waiting for sockets, and just enough HTTP/1.1 to find the end of a
//! message. Both trust who they talk to: neither is to face a network.

pub mod events;
pub mod head;
