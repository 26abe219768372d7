//! Load and faults for a running balancer: an open-loop client that checks every response, backends that can be
//! killed, stopped and told to misbehave, and scenarios that put a balancer between the two and judge the outcome. It
//! knows nothing of the balancer's code.

pub mod scenario;

pub mod backend;
pub mod client;
pub mod fleet;
pub mod helper;
pub mod page;
pub mod peer;
pub mod report;
pub mod side_by_side;

mod clock;
mod error;
pub mod executions;
mod folder;
pub mod groups;
mod nonce;
mod process;
mod rng;
mod seen;

pub use clock::{micros, sleep_until};
pub use error::{Error, Result};
pub use folder::Folder;
pub use rng::Rng;
