//! Where clients come in.

mod settings;

pub use settings::Settings;
