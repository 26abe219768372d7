//! A pool: backends that are interchangeable for a request, and the rules for asking them.

mod settings;

pub use settings::{BackendSettings, Settings, Timeouts};
