//! The health of a backend: what its checks say ([`Tracker`]), what its requests say ([`ejection`]), the state that follows from
//! both ([`BackendState`]), how it gets its share back ([`slow_start`]), and when it does not respond at all ([`silence`]).

mod body;
pub mod ejection;
pub mod silence;
pub mod slow_start;
mod state;
mod tracker;

pub use body::BodyMatch;
pub use state::BackendState;
pub use tracker::{State, Thresholds, Tracker};
