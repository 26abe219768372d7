//! Admission: how many requests a backend may have in flight, and which requests wait for it. [`WaitQueue`] holds the requests of
//! a pool that no backend may take now, [`Overload`] shortens their waits when the queue does not drain, [`Recovery`] paces what
//! is sent to a backend that comes back, and [`Gradient`] finds the limit of a backend from its latency. Pure: time and chance
//! are arguments, and nothing here wakes anybody by itself.

mod gradient;
mod overload;
mod queue;
mod recovery;
mod usual;

#[cfg(test)]
mod simulation;

pub use gradient::{Adaptive, Gradient, Sample};
pub use overload::Overload;
pub use queue::{Place, QueueSettings, Refusal, Turn, WaitQueue};
pub use recovery::Recovery;
pub use usual::{Latency, STRAINED_FOR, UsualLatency};
