//! Building blocks of these tests: scripted backends, clients that send given bytes, and the balancer as a process.
//! Everything waits for an event, at most [`DEADLINE`].

pub(crate) mod ability;
pub(crate) mod authority;
mod backend;
pub(crate) mod background;
mod bare;
mod client;
pub(crate) mod event;
pub(crate) mod http2;
pub(crate) mod http2_backend;
mod message;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod oracle;
pub(crate) mod otlp;
mod proxy;
pub(crate) mod reload;
mod skip;
pub(crate) mod tls;

use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;

pub(crate) use backend::{Backend, Request, Response, refusing_address};
pub(crate) use bare::{Bare, Held};
pub(crate) use client::{Client, Received};
pub(crate) use event::{Gate, Log};
pub(crate) use proxy::{Builder, Proxy};

/// Longest wait for an expected event. Long enough for a machine that is busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Polls a condition that no event reports.
pub(crate) fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    wait_until_within(DEADLINE, what, is_so);
}

/// The same with another deadline.
pub(crate) fn wait_until_within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = clock::now();
    while !is_so() {
        assert!(start.elapsed() < limit, "{what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests;
