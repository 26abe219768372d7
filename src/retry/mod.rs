//! When a request may be sent again: the policy (what and when) and the budget (how often). Pure.

mod budget;
mod policy;

pub use budget::Budget;
pub use policy::{Attempts, Cause, Causes, ConnectionEvent, Failure, Policy};
