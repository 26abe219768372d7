//! Retries: the policy decides which failures are retried, the budget limits how many retries a pool makes.
//! An attempt ends in one `Outcome`. Pure.

mod backoff;
mod budget;
mod cause;
mod hedge;
mod idempotency;
mod outcome;
mod policy;
mod retry_after;
mod reuse_window;

pub use backoff::Backoff;
pub use budget::{Budget, ReservedToken};
pub use cause::{Cause, Causes};
pub use hedge::{Hedge, HedgeAfter, QuantileCache};
pub use idempotency::is_repeatable;
pub use outcome::{AttemptEnd, Outcome};
pub use policy::{Attempts, ConnectionEvent, Failure, Policy};
pub use retry_after::{HoldOff, NotBefore, may_avoid, parse as parse_retry_after};
pub use reuse_window::ReuseWindow;
