//! Evenkeel, an HTTP load balancer. The modules in reading order, top layer first; a module uses only
//! layers below its own (`tests/architecture.rs` holds the table).

pub mod cli;

pub mod server;

pub mod config;

pub mod admin;
pub mod discovery;
pub mod listener;

pub mod proxy;

pub mod pool;

pub mod health;

pub mod message;

pub mod http2;

pub mod http1;

pub mod net;

pub mod tls;

pub mod hpack;
pub mod retry;
pub mod router;
pub mod strategy;
pub mod telemetry;

pub mod backend;
pub mod buffer;
pub mod clock;
pub mod head;
pub mod rng;
pub mod schema;
pub mod tasks;
