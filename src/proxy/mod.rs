//! The request path.

mod settings;

pub use settings::{ClientTimeouts, Limits};
