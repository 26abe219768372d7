//! `access_log`: where requests are logged.

use std::path::Path;

use crate::config::print::{Item, map, path, word};
use crate::config::reader::{Reader, Written, is_off, written};
use crate::config::source::Diagnostic;
use crate::config::tree::Value;
use crate::schema::{Form, Key, Kind, Section};
use crate::telemetry::access_log::{OnFull, Settings, Target};
use crate::telemetry::check_log_file;

/// `access_log` as a map.
pub(super) const ACCESS_LOG: Section = Section {
    name: "access_log",
    about: "The access log has one JSON object per request. `access_log: stdout` is the short form of a map with `path: stdout`.",
    keys: &[
        Key::new(
            "path",
            Kind::Text(Form::new("a file")),
            "The file that lines are appended to, or a stream. Write a file with the name of a stream as `./stdout`.",
        )
        .words(&["stdout", "stderr", "off"])
        .default("stdout"),
        Key::new(
            "on_full",
            Kind::Choice(&["drop", "block"]),
            "What to do when the log cannot keep up: `drop` drops and counts the line, `block` makes the worker wait.",
        )
        .default("drop"),
        Key::new("query", Kind::Flag, "Whether `path` in a line includes the query, which may contain secrets.").default("false"),
    ],
};

/// Reads `access_log` as a word or a map.
pub(super) fn read(root: &Reader<'_>) -> Settings {
    let absent = Reader::absent(root.cx, &ACCESS_LOG);
    let Some(node) = root.node("access_log") else {
        return read_map(&absent);
    };
    match &node.value {
        Value::Map(_) => Reader::open(root.cx, &ACCESS_LOG, node)
            .map_or_else(|| read_map(&absent), |reader| read_map(&reader)),
        value => {
            let stream = written(node).and_then(|written| stream(written.text));
            let target = stream.or_else(|| is_off(value).then_some(Target::Off));
            match (&target, written(node)) {
                (Some(_), _) => {}
                (None, Some(written)) => {
                    let hint = match written.text {
                        "true" | "on" | "yes" => Some("did you mean `stdout`?".to_owned()),
                        "none" | "no" => Some("did you mean `off`?".to_owned()),
                        text if text.contains(['/', '.']) => {
                            Some(format!("write a file as `{{ path: {text} }}`"))
                        }
                        _ => None,
                    };
                    root.refuse("access_log", written, hint);
                }
                (None, None) => root.refuse_node("access_log", node),
            }
            Settings {
                target: target.unwrap_or(Target::Stdout),
                ..read_map(&absent)
            }
        }
    }
}

/// Prints the access log.
pub(super) fn show(log: &Settings) -> Item {
    let path = match &log.target {
        Target::Stdout => word("stdout"),
        Target::Stderr => word("stderr"),
        Target::Off => word("off"),
        Target::File(file) => path(file),
    };
    let on_full = match log.on_full {
        OnFull::Drop => "drop",
        OnFull::Block => "block",
    };
    map([
        ("path", path),
        ("on_full", word(on_full)),
        ("query", word(log.query)),
    ])
}

fn read_map(reader: &Reader<'_>) -> Settings {
    let target = match reader.text("path") {
        None => Target::Stdout,
        Some(written) if written.text == "false" => Target::Off,
        Some(written) => stream(written.text).unwrap_or_else(|| {
            if written.text.is_empty() || written.text.contains('\0') {
                reader.refuse("path", written, None);
            }
            let path = reader.cx.path(written.text);
            check_file(reader, written, &path);
            Target::File(path)
        }),
    };
    Settings {
        target,
        on_full: match reader.choice("on_full", None) {
            "block" => OnFull::Block,
            _ => OnFull::Drop,
        },
        query: reader.flag("query", None),
    }
}

/// Reports a log file that could not be opened, without creating it.
fn check_file(reader: &Reader<'_>, written: Written<'_>, path: &Path) {
    if reader.cx.is_on_this_machine
        && let Err(error) = check_log_file(path)
    {
        let diagnostic = Diagnostic::overdue(written.span, error.to_string());
        reader.cx.report(diagnostic);
    }
}

fn stream(word: &str) -> Option<Target> {
    match word {
        "stdout" => Some(Target::Stdout),
        "stderr" => Some(Target::Stderr),
        "off" => Some(Target::Off),
        _ => None,
    }
}
