//! Building blocks of these tests: scripted backends, clients that send given bytes, and the balancer as a process.
//! Everything waits for an event, at most [`DEADLINE`].

pub(crate) mod authority;
mod backend;
mod bare;
mod client;
pub(crate) mod event;
pub(crate) mod http2;
pub(crate) mod http2_backend;
mod message;
pub(crate) mod network;
pub(crate) mod oracle;
pub(crate) mod otlp;
mod proxy;
pub(crate) mod tls;

use std::time::Duration;

pub(crate) use backend::{Backend, Request, Response, refusing_address};
pub(crate) use bare::{Bare, Held};
pub(crate) use client::{Client, Received};
pub(crate) use event::{Gate, Log};
pub(crate) use proxy::{Builder, Proxy};

/// Longest wait for an expected event. Long enough for a machine that is busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
