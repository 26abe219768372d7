//! `evenkeel ctl events`: prints what happens in the running process, line by line.

use std::io;

use clap::Args;
use serde_json::{Map, Value};

use super::call::{Failure, Process};
use super::{Outcome, Streams};
use crate::admin::EventLine;

/// The arguments of `evenkeel ctl events`.
#[derive(Debug, Clone, Args)]
pub(super) struct EventsArguments {
    /// Prints those of the last 512 events first that have a higher number; all of them with 0
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
}

/// Prints events until the process ends them, which is the failure that this returns.
///
/// # Errors
/// The output cannot be written.
pub(super) fn run(
    process: &Process,
    arguments: &EventsArguments,
    is_json: bool,
    streams: &mut Streams<'_>,
) -> io::Result<Failure> {
    let path = match arguments.after {
        Some(id) => format!("/api/v1/events?after={id}"),
        None => "/api/v1/events".to_owned(),
    };
    let events = match process.follow(&path) {
        Ok(events) => events,
        Err(failure) => return Ok(failure),
    };
    for event in events {
        let event = match event {
            Ok(event) => event,
            Err(error) => return Ok(process.unreached(&error)),
        };
        if event.kind != "event" {
            continue;
        }
        // Lines of another version of Evenkeel are printed as they are.
        match serde_json::from_str(&event.data) {
            Ok(line) if !is_json => writeln!(streams.out, "{}", text(&line))?,
            _ => writeln!(streams.out, "{}", event.data)?,
        }
    }
    Ok(Failure {
        outcome: Outcome::Unreached,
        why: "the process has ended the events: it stops, or this command was too slow to print them"
            .to_owned(),
        json: Vec::new(),
    })
}

/// One line for people.
fn text(event: &EventLine) -> String {
    let EventLine { time, level, msg, .. } = event;
    let mut text = format!("{} {level:<5} {}", plain(&time.0), message(msg));
    text.extend(fields(&event.fields));
    text
}

fn fields(fields: &Map<String, Value>) -> impl Iterator<Item = String> {
    fields.iter().map(|(name, value)| {
        let value = match value {
            Value::String(text) => plain(text),
            value => value.to_string(),
        };
        format!(" {name}={value}")
    })
}

/// A message, in which spaces need no quotation marks.
fn message(text: &str) -> String {
    text.escape_debug()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

/// A value as it is, or in quotation marks and escaped: it may come from a client or a backend, and must not control the terminal.
fn plain(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'=';
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_time_the_level_the_message_and_the_fields() {
        let event = r#"{"id":3,"time":"2026-11-30T08:00:00.000Z","level":"INFO","msg":"Backend isn't up",
            "fields":{"backend":"http://a:1","reason":"no \"200\"\u001b[31m","count":2,"empty":""}}"#;
        let text = text(&serde_json::from_str(event).unwrap());
        assert_eq!(
            text,
            "2026-11-30T08:00:00.000Z INFO  Backend isn't up backend=http://a:1 count=2 empty=\"\" \
             reason=\"no \\\"200\\\"\\u{1b}[31m\""
        );
    }
}
