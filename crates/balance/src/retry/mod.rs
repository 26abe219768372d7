//! Retries: the policy decides which failures are retried, the budget limits how many retries a pool makes.
//! An attempt ends in one `Outcome`. Pure.

mod budget;
mod outcome;
mod policy;

pub use budget::Budget;
pub use outcome::{AttemptEnd, Outcome};
pub use policy::{Attempts, Cause, Causes, ConnectionEvent, Failure, Policy};
