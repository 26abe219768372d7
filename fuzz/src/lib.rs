//! The checks of the fuzz targets, one module per target, as functions of bytes that panic if a property does not hold.
//! They use only the public interface of the balancer.

pub mod request_head;

pub mod response_head;

pub mod chunked;

pub mod differential;

pub mod connection;

pub mod config;

pub mod proxy_header;

pub mod hpack;

pub mod http2;

mod input;
mod reference;

#[cfg(test)]
mod seeds;
