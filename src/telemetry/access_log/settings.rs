//! The settings of `access_log:`.

use super::fields::Field;
use super::sample::Sample;
use crate::telemetry::target::Target;

/// The largest number of sinks.
pub const SINKS_BOUND: usize = 8;

/// What happens to a line when the sink cannot keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// It is dropped and counted.
    Drop,
    /// The worker waits.
    Block,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// A JSON object.
    #[default]
    Json,
    /// The combined format of nginx and Apache.
    Combined,
}

/// The settings of `access_log:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where requests are logged: at least one sink, which may be off.
    pub sinks: Vec<SinkSettings>,
}

/// The settings of one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSettings {
    /// Where lines go.
    pub target: Target,
    /// What happens when the sink cannot keep up.
    pub on_full: OnFull,
    /// Whether the path is logged with its query.
    pub query: bool,
    /// The form of a line.
    pub format: Format,
    /// The fields of a JSON line; empty for those that every line has by default.
    pub fields: Vec<Field>,
    /// Which requests are logged.
    pub sample: Sample,
}

impl SinkSettings {
    /// A sink with the default settings.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            on_full: OnFull::Drop,
            query: false,
            format: Format::default(),
            fields: Vec::new(),
            sample: Sample::default(),
        }
    }
}
