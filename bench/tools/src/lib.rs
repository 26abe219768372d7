//! What the backend and the load generator share: waiting for sockets, just enough HTTP/1.1 to find the end of a message,
//! and the frames of HTTP/2. All of it trusts who it talks to: neither program is to face a network.

pub mod events;
pub mod frames;
pub mod head;
