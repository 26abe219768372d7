//! Simulates a pool of backends in virtual time, without sockets. The decisions are those of `evenkeel-balance`; backends and
//! clients are models, and everything follows from a seed. [`check`] looks for broken invariants in many random runs;
//! [`experiments`] compares the strategies for `docs/strategies.md`.
#![forbid(unsafe_code)]
#![allow(
    clippy::indexing_slicing,
    reason = "indices are of members and slots that the run itself made; nothing comes from outside"
)]

pub mod check;
pub mod experiments;

pub mod world;

pub mod defect;
pub mod invariant;
pub mod scenario;

mod pool;

pub mod backend;
pub mod request;
pub mod stats;
pub mod trace;

pub mod clock;
mod events;
mod sample;
