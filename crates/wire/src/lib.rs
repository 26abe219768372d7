//! HTTP/1, HTTP/2, content codings and the PROXY protocol on the wire: bytes in, messages out, and back. No sockets, no tasks, no clock, no
//! randomness; time is an argument. In reading order, each module uses those below it only, but for
//! `http1`, whose rules the heads of `http2` obey too.
#![forbid(unsafe_code)]

pub mod http2;

pub mod hpack;

pub mod http1;

pub mod coding;
pub mod proxy_protocol;

pub mod buffer;
pub mod head;
pub mod instant;

#[cfg(test)]
mod clock;
#[cfg(test)]
use evenkeel_balance::rng;
