//! Resolves `access_log`.

use std::path::Path;

use crate::config::reader::{Reader, Written, is_off, written};
use crate::config::reference::ACCESS_LOG;
use crate::config::source::Diagnostic;
use crate::config::tree::Value;
use crate::telemetry::access_log::{OnFull, Settings, Target};
use crate::telemetry::check_log_file;

/// Reads `access_log` as a word or a map.
pub(super) fn read(root: &Reader<'_>) -> Settings {
    let absent = Reader::absent(root.cx, &ACCESS_LOG);
    let Some(node) = root.node("access_log") else {
        return map(&absent);
    };
    match &node.value {
        Value::Map(_) => {
            Reader::open(root.cx, &ACCESS_LOG, node).map_or_else(|| map(&absent), |reader| map(&reader))
        }
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
                ..map(&absent)
            }
        }
    }
}

fn map(reader: &Reader<'_>) -> Settings {
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
