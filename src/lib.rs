//! Evenkeel, an HTTP load balancer. The modules in reading order, top layer first; a module uses only
//! layers below its own (`tests/architecture.rs` holds the table). The last ones come from the pure crates `evenkeel-balance`
//! and `evenkeel-wire`.

pub mod cli;

pub mod server;

pub mod explain;

pub mod config;

pub mod admin;
pub mod discovery;
pub mod listener;

pub mod proxy;

pub mod pool;

pub mod health;

pub mod message;

pub mod http2;

pub mod net;

pub mod tls;

pub mod telemetry;

pub mod backend;
pub mod clock;
pub mod tasks;

#[doc(no_inline)]
pub use evenkeel_balance::{kept, retry, rng, router, schema, strategy};
#[doc(no_inline)]
pub use evenkeel_wire::{buffer, coding, head, hpack, http1};
