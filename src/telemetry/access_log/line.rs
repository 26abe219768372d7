//! Encodes the lines of one sink as its settings say.

use super::encode::combined::{self, LocalTime};
use super::encode::{Options, encode};
use super::entry::Entry;
use super::fields::Selected;
use super::settings::{Format, SinkSettings};
use crate::telemetry::Timestamp;
use crate::telemetry::syslog::Header;
use crate::telemetry::target::Target;

/// What lines are encoded with.
#[derive(Debug)]
pub(super) struct LineEncoder {
    timestamp: Timestamp,
    options: Options,
    /// `None`: JSON lines with the default fields, each of which is written in one go.
    custom: Option<Box<Custom>>,
}

/// What differs from the default.
#[derive(Debug)]
struct Custom {
    /// The header of each line, if it goes to a syslog server.
    syslog: Option<Header>,
    layout: Layout,
}

#[derive(Debug)]
enum Layout {
    Default,
    Selected(Selected),
    Combined(LocalTime),
}

impl LineEncoder {
    /// JSON lines with the default fields.
    pub(super) fn new(options: Options) -> Self {
        Self {
            timestamp: Timestamp::default(),
            options,
            custom: None,
        }
    }

    /// The lines of a sink.
    pub(super) fn of_sink(settings: &SinkSettings) -> Self {
        let layout = match settings.format {
            Format::Combined => Layout::Combined(LocalTime::default()),
            Format::Json if settings.fields.is_empty() => Layout::Default,
            Format::Json => Layout::Selected(Selected::new(&settings.fields)),
        };
        let syslog = match &settings.target {
            Target::Syslog(syslog) => Some(Header::of_this_process(syslog)),
            _ => None,
        };
        let is_custom = syslog.is_some() || !matches!(layout, Layout::Default);
        Self {
            custom: is_custom.then(|| Box::new(Custom { syslog, layout })),
            ..Self::new(Options {
                query: settings.query,
            })
        }
    }

    /// Whether the lines need [`Extra::response`](super::Extra::response).
    pub(super) fn needs_response(&self) -> bool {
        match self.custom.as_deref().map(|custom| &custom.layout) {
            None | Some(Layout::Default) => false,
            Some(Layout::Selected(fields)) => fields.has_response_header(),
            Some(Layout::Combined(_)) => true,
        }
    }

    /// Appends the line of `entry` with its newline.
    #[inline]
    pub(super) fn encode(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        match &mut self.custom {
            None => encode(entry, &mut self.timestamp, self.options, out),
            Some(custom) => custom.encode(entry, (&mut self.timestamp, self.options), out),
        }
    }
}

impl Custom {
    fn encode(
        &mut self,
        entry: &Entry<'_>,
        (timestamp, options): (&mut Timestamp, Options),
        out: &mut Vec<u8>,
    ) {
        if let Some(header) = &self.syslog {
            out.extend_from_slice(&header.before_time);
            timestamp.write(entry.time, out);
            out.extend_from_slice(&header.after_time);
        }
        match &mut self.layout {
            Layout::Default => encode(entry, timestamp, options, out),
            Layout::Selected(fields) => fields.encode(entry, timestamp, options, out),
            Layout::Combined(time) => combined::encode(entry, time, options, out),
        }
    }
}
