//! What the fuzz targets check, one module a target, as functions of bytes that panic when something does not hold. They
//! use the public interface of the balancer only.

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
