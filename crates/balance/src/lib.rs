//! The decisions of a load balancer: which route, which backend, whether to try again, and whether a backend is healthy. No
//! sockets, no tasks, no clock; time and chance are arguments.
#![forbid(unsafe_code)]

pub mod router;

pub mod action;

pub mod edits;
pub mod rewrite;

pub mod template;

pub mod policy;

pub mod retry;
pub mod strategy;

pub mod admission;

pub mod health;
pub mod local;

pub mod key;
pub mod notes;
pub mod request;

pub mod block;
pub mod query;

pub mod backend;
pub mod latency;
pub mod reload_guard;

pub mod kept;
pub mod per_worker;
pub mod rng;
pub mod schema;
pub mod sticky;
pub mod suggest;

pub use evenkeel_wire::instant;

#[cfg(test)]
mod clock;
