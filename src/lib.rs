//! Evenkeel, an HTTP load balancer. The modules in reading order, top layer first; a module uses only
//! layers below its own (`tests/architecture.rs` holds the table). The last ones come from the pure crates `evenkeel-balance`
//! and `evenkeel-wire`.

#![allow(
    rustdoc::private_intra_doc_links,
    unreachable_pub,
    reason = "nothing here is an interface; `pub` says that other modules use an item"
)]

mod cli;

#[doc(hidden)]
pub mod internals;

mod explain;

mod server;

mod config;

mod admin;
mod discovery;
mod listener;

mod proxy;

mod pool;

mod health;

mod message;

mod http2;

mod net;

mod tls;

mod telemetry;

mod backend;
mod bounded_file;
mod clock;
mod file_version;
mod priority;
mod tasks;

pub use cli::main;

use evenkeel_balance::{admission, kept, retry, rng, router, schema, strategy};
use evenkeel_wire::{buffer, coding, head, http1};
