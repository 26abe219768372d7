//! Shared by the backend and the load generator: waiting for sockets, enough HTTP/1.1 to find the end of a message, and
//! HTTP/2 frames. All of it trusts its peer: neither program may face a network.

pub mod events;
pub mod frames;
pub mod head;
