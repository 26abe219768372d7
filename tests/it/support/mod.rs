//! What the tests of the whole balancer are made of: backends that do what a script says, a client that sends bytes,
//! and the balancer itself as a process. Nothing sleeps: everything waits for an event, at most [`DEADLINE`].

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
mod proxy;
pub(crate) mod tls;

use std::time::Duration;

pub(crate) use backend::{Backend, Request, Response, refusing_address};
pub(crate) use bare::{Bare, Held};
pub(crate) use client::Client;
pub(crate) use event::Gate;
pub(crate) use proxy::{Builder, Proxy};

/// How long a test waits for something that is to happen. Long enough for a machine that is busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
