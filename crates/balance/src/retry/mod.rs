//! Retries: the policy decides which failures are retried, the budget limits how many retries a pool makes. Pure.

mod budget;
mod policy;

pub use budget::Budget;
pub use policy::{Attempts, Cause, Causes, ConnectionEvent, Failure, Policy};
