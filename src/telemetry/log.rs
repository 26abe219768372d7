//! The operations log: writes `tracing` events as JSON lines that start with the same three keys as the access log. Not optimized
//! for speed: events are rare.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::clock;

use super::feed::Feed;
use super::json;
use super::log_level::LogLevel;
use super::timestamp::Timestamp;
use super::writer::Queue;

/// Maximum number of bytes of a message or a value. The longest are config errors.
const VALUE_BOUND: usize = 8 * 1024;

/// Maximum number of bytes of a field's name. Names come from this source code.
const NAME_BOUND: usize = 64;

/// The keys that each line begins with, which are therefore not names of fields.
const OWN_KEYS: [&str; 3] = ["time", "level", "msg"];

/// Maximum number of fields of one event; `tracing` allows 32.
const FIELDS_BOUND: usize = 32;

/// Writes events as `{"time":…,"level":…,"msg":…}`, followed by their fields. Never waits: when the sink is blocked, lines are
/// dropped and counted.
#[derive(Debug)]
pub struct OperationsLog {
    queue: Queue,
    level: LogLevel,
    /// The latest lines of INFO and above, whatever the level is, for the admin API.
    events: Arc<Feed>,
}

impl OperationsLog {
    /// Writes events of `level` and above to `queue`.
    pub fn new(queue: Queue, level: impl Into<LogLevel>, events: Arc<Feed>) -> Self {
        let level = level.into();
        Self { queue, level, events }
    }

    /// The least level that is used, for the lines or for the events.
    fn least(&self) -> Level {
        self.level.level().max(Level::INFO)
    }

    /// Makes it the log of this process. Fails if the process already has one.
    pub fn install(self) -> Result<(), tracing::subscriber::SetGlobalDefaultError> {
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(self))
    }
}

impl<S: Subscriber> Layer<S> for OperationsLog {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.least() && (*metadata.level() <= Level::INFO || is_own(metadata.target()))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.least()))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let start = start(level, &fields.message);
        if level <= self.level.level() {
            let line = [&start, fields.others.as_slice(), b"}\n"].concat();
            self.queue.urgent(line);
        }
        if level <= Level::INFO {
            self.events.push(|id| event_text(id, &start, &fields.others));
        }
    }
}

/// Whether an event is from this source code. Details from libraries are left out, because they can have secrets in them: an
/// HTTP library traces whole header fields.
fn is_own(target: &str) -> bool {
    let krate = target.split("::").next().unwrap_or_default();
    krate == "evenkeel" || krate.starts_with("evenkeel_")
}

/// `{"time":…,"level":…,"msg":…`, the start of each line.
fn start(level: Level, message: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(br#"{"time":""#);
    Timestamp::default().write(clock::wall(), &mut out);
    out.extend_from_slice(br#"","level":"#);
    json::string(&mut out, level.as_str().as_bytes(), NAME_BOUND);
    out.extend_from_slice(br#","msg":"#);
    json::string(&mut out, message.as_bytes(), VALUE_BOUND);
    out
}

/// The same line as an event: `{"id":…,"time":…,"level":…,"msg":…,"fields":{…}}`.
fn event_text(id: u64, start: &[u8], fields: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let start = text(start.get(1..).unwrap_or_default());
    let fields = text(fields.get(1..).unwrap_or_default());
    format!(r#"{{"id":{id},{start},"fields":{{{fields}}}}}"#)
}

/// Collects an event's fields. The message may be at any position among them.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<u8>,
    count: usize,
}

impl Fields {
    /// Appends the name of a field. Returns false when there are too many.
    fn name(&mut self, field: &Field) -> bool {
        self.count += 1;
        if self.count > FIELDS_BOUND {
            return false;
        }
        debug_assert!(
            !OWN_KEYS.contains(&field.name()),
            "each line has this key already"
        );
        self.others.push(b',');
        json::string(&mut self.others, field.name().as_bytes(), NAME_BOUND);
        self.others.push(b':');
        true
    }

    fn text(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else if self.name(field) {
            json::string(&mut self.others, value.as_bytes(), VALUE_BOUND);
        }
    }

    fn literal(&mut self, field: &Field, value: impl std::fmt::Display) {
        if self.name(field) {
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = write!(text, "{value}");
            self.others.extend_from_slice(text.as_bytes());
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.literal(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.literal(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.literal(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.literal(field, value);
        } else {
            self.text(field, &value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Writer;
    use crate::telemetry::access_log::Target;
    use serde_json::Value;
    use std::time::Duration;

    /// The lines that `events` write to a log of `level`.
    fn logged(name: &str, level: Level, events: impl FnOnce()) -> Vec<String> {
        logged_to(name, (level.into(), Arc::new(Feed::new(8))), events)
    }

    /// The lines that `act` writes to a log of this level, which puts events into this feed.
    fn logged_to(name: &str, (level, feed): (LogLevel, Arc<Feed>), act: impl FnOnce()) -> Vec<String> {
        let path = std::env::temp_dir().join(format!("evenkeel-log-{}-{name}", std::process::id()));
        let writer = Writer::start(&Target::File(path.clone()))
            .expect("it opens")
            .expect("it is not off");
        let log = OperationsLog::new(writer.queue(), level, feed);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), act);
        assert!(writer.close(Duration::from_secs(20)));
        let text = std::fs::read_to_string(&path).expect("a text file");
        std::fs::remove_file(&path).expect("it is there");
        text.lines().map(str::to_owned).collect()
    }

    fn read(line: &str) -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    #[test]
    fn an_event_starts_like_a_line_of_the_access_log() {
        let lines = logged("order", Level::INFO, || {
            tracing::info!(address = "127.0.0.1:8080", workers = 4_u64, "Listening");
        });
        let [line] = lines.as_slice() else {
            panic!("one line: {lines:?}")
        };
        assert!(line.starts_with(r#"{"time":"2"#), "{line}");
        let end = r#"Z","level":"INFO","msg":"Listening","address":"127.0.0.1:8080","workers":4}"#;
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn lines_of_info_and_above_are_events() {
        let writer = Writer::start(&Target::File("/dev/null".into())).unwrap().unwrap();
        let events = Arc::new(Feed::new(8));
        let log = OperationsLog::new(writer.queue(), Level::DEBUG, Arc::clone(&events));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
            tracing::debug!("Detail");
            tracing::warn!(pool = "a\"b", count = 2_u64, "Backend is down");
            tracing::info!("Plain");
        });
        let entries = events.entries();
        let read: Vec<_> = entries.iter().map(|entry| read(&entry.json)).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((&read[0]["id"], &read[0]["level"]), (&1.into(), &"WARN".into()));
        assert_eq!(
            read[0]["fields"],
            serde_json::json!({ "pool": "a\"b", "count": 2 })
        );
        assert_eq!(
            (&read[1]["msg"], &read[1]["fields"]),
            (&"Plain".into(), &serde_json::json!({}))
        );
        assert!(writer.close(Duration::from_secs(20)));
    }

    #[test]
    fn the_level_can_be_changed_and_events_do_not_depend_on_it() {
        let events = Arc::new(Feed::new(8));
        let (feed, level) = (Arc::clone(&events), LogLevel::from(Level::INFO));
        let changed = level.clone();
        let lines = logged_to("changed", (level, feed), || {
            for (level, msg) in [
                (Level::ERROR, "quiet"),
                (Level::DEBUG, "loud"),
                (Level::INFO, "usual"),
            ] {
                changed.set(level);
                tracing::debug!("Detail, {msg}");
                tracing::info!("Info, {msg}");
            }
        });
        let lines: Vec<String> = lines
            .iter()
            .map(|line| read(line)["msg"].as_str().expect("text").to_owned())
            .collect();
        assert_eq!(lines, ["Detail, loud", "Info, loud", "Info, usual"]);
        let entries = events.entries();
        let shown = entries.iter().map(|entry| read(&entry.json)["msg"].clone());
        assert_eq!(
            shown.collect::<Vec<_>>(),
            ["Info, quiet", "Info, loud", "Info, usual"]
        );
    }

    #[test]
    fn details_of_libraries_are_left_out() {
        let lines = logged("libraries", Level::TRACE, || {
            tracing::trace!(target: "h2::codec", "authorization: Bearer secret");
            tracing::debug!(target: "evenkeeler", "Another crate");
            tracing::warn!(target: "rustls::client", "Warning");
            tracing::trace!("Own");
            tracing::debug!(target: "evenkeel_wire::head", "Own crate");
        });
        let lines: Vec<_> = lines.iter().map(|line| read(line)["msg"].clone()).collect();
        assert_eq!(lines, ["Warning", "Own", "Own crate"]);
    }

    #[test]
    fn values_keep_their_types() {
        let lines = logged("types", Level::INFO, || {
            let error = std::io::Error::other("broken");
            tracing::warn!(yes = true, minus = -3_i64, part = 0.5, none = f64::NAN, %error, debug = ?Some(1), "Types");
        });
        let line = read(&lines[0]);
        assert_eq!(line["yes"], true);
        assert_eq!(line["minus"], -3);
        assert_eq!(line["part"], 0.5);
        assert_eq!(line["none"], "NaN");
        assert_eq!(line["error"], "broken");
        assert_eq!(line["debug"], "Some(1)");
        assert_eq!(line["level"], "WARN");
    }

    #[test]
    fn text_of_a_backend_or_a_file_cannot_break_a_line() {
        let nasty = "\"}\n{\"level\":\"ERROR\"\u{1b}[31m\u{202e}";
        let lines = logged("nasty", Level::INFO, || {
            tracing::warn!(response = nasty, long = "x".repeat(1_000_000), "{nasty}");
        });
        assert_eq!(lines.len(), 1);
        let line = read(&lines[0]);
        assert_eq!((&line["msg"], &line["response"]), (&nasty.into(), &nasty.into()));
        assert!(!lines[0].contains('\u{1b}') && !lines[0].contains('\u{202e}'));
        assert!(lines[0].len() < 4 * VALUE_BOUND, "{}", lines[0].len());
    }

    #[test]
    fn events_below_the_level_are_left_out() {
        let events = || {
            tracing::debug!("Debug");
            tracing::info!("Info");
            tracing::error!("Error");
        };
        let levels = |lines: Vec<String>| -> Vec<String> {
            lines
                .iter()
                .map(|line| read(line)["msg"].as_str().expect("text").to_owned())
                .collect()
        };
        assert_eq!(levels(logged("info", Level::INFO, events)), ["Info", "Error"]);
        assert_eq!(
            levels(logged("debug", Level::DEBUG, events)),
            ["Debug", "Info", "Error"]
        );
    }
}
