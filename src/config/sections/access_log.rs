//! `access_log`: where requests are logged.

use std::path::Path;
use std::time::Duration;

use crate::config::print::{Item, map, path, quoted, word};
use crate::config::reader::{Reader, Written, is_off, written};
use crate::config::source::{Diagnostic, Span};
use crate::config::suggest;
use crate::config::tree::{Node, Value};
use crate::schema::units::{parse_decimal, show_decimal, show_duration};
use crate::schema::{Form, Key, Kind, Section};
use crate::telemetry::access_log::{
    ALL, FACILITIES, FIELDS, FIELDS_BOUND, FIELDS_FORM, Field, FieldError, Format, OnFull, SAMPLED_CLASSES,
    SEVERITIES, SINKS_BOUND, Sample, Settings, SinkSettings, Syslog, SyslogServer, Target,
};
use crate::telemetry::check_log_file;

/// An item of a list of sinks.
pub(super) const ACCESS_LOG_SINK: Kind =
    Kind::Either(&Kind::Choice(&["stdout", "stderr"]), &Kind::Section(&ACCESS_LOG));

/// `access_log` as a map.
pub(super) const ACCESS_LOG: Section = Section {
    name: "access_log",
    about: "A sink of the access log, which has one line per request. `access_log: stdout` is the short form of a map with `path: stdout`. See [logs](operations.md#logs).",
    keys: &[
        Key::new(
            "path",
            Kind::Text(Form::new(
                "a file, or a syslog server such as syslog:udp://10.0.0.1:514 or syslog:unix:/dev/log",
            )),
            "The file that lines are appended to, a stream, or a syslog server, which gets one message per line. Write a file with the name of a stream as `./stdout`.",
        )
        .words(&["stdout", "stderr", "off"])
        .default("stdout"),
        Key::new(
            "format",
            Kind::Choice(&["json", "combined"]),
            "The form of a line: a JSON object, or the combined format of nginx and Apache.",
        )
        .default("json"),
        Key::new(
            "fields",
            Kind::List(&Kind::Text(Form::new(FIELDS_FORM))),
            "The fields of a JSON line, in this order. Headers are logged only when they are named here. Headers with credentials (`Authorization`, `Cookie`, `Set-Cookie`, `Proxy-Authorization`) cannot be named.",
        )
        .words(&["default"])
        .default("default"),
        Key::new(
            "sample",
            Kind::Section(&SAMPLE),
            "Which share of the requests is logged. Failures are always logged.",
        )
        .words(&["off"])
        .default("off"),
        Key::new(
            "on_full",
            Kind::Choice(&["drop", "block"]),
            "What to do when the log cannot keep up: `drop` drops and counts the line, `block` makes the worker wait.",
        )
        .default("drop"),
        Key::new("query", Kind::Flag, "Whether `path` in a line includes the query, which may contain secrets.").default("false"),
        Key::new("facility", Kind::Choice(&FACILITIES), "The facility of the messages to a syslog server.").default("local0"),
        Key::new("severity", Kind::Choice(&SEVERITIES), "The severity of the messages to a syslog server.").default("info"),
    ],
};

const SHARE: Kind = Kind::Text(
    Form::new("a percentage from 0% to 100% with at most three decimals, such as 1% or 0.1%")
        .matching("^([0-9]{1,2}(\\.[0-9]{1,3})?|100)%$"),
);

/// `sample` of a sink.
pub(super) const SAMPLE: Section = Section {
    name: "access_log.sample",
    about: "Which share of the requests is logged, by class of their status. Requests with a status of 500 and above or with an `error` are always logged. The choice depends on `request_id` alone: sinks and instances with the same share log the same requests.",
    keys: &[
        Key::new(
            "1xx",
            SHARE,
            "Share of the upgraded connections, such as WebSockets.",
        )
        .default("100%"),
        Key::new("2xx", SHARE, "Share of the requests with these statuses.").default("100%"),
        Key::new("3xx", SHARE, "Share of the requests with these statuses.").default("100%"),
        Key::new(
            "4xx",
            SHARE,
            "Share of the requests with these statuses and without an `error`.",
        )
        .default("100%"),
        Key::new(
            "slower_than",
            Kind::Duration {
                least: Duration::from_millis(1),
                most: Duration::from_hours(24),
            },
            "Requests that took longer are always logged.",
        )
        .words(&["none"])
        .default("none"),
    ],
};

/// Reads `access_log` as a word, a map or a list of these.
pub(super) fn read(root: &Reader<'_>) -> Settings {
    let sinks = match root.node("access_log") {
        None => vec![read_map(&Reader::absent(root.cx, &ACCESS_LOG))],
        Some(node) => match &node.value {
            Value::List(items) => read_list(root, node, items),
            _ => vec![read_one(root, node)],
        },
    };
    Settings { sinks }
}

/// Prints the access log.
pub(super) fn show(log: &Settings) -> Item {
    match log.sinks.as_slice() {
        [sink] => show_sink(sink),
        sinks => Item::List(sinks.iter().map(show_sink).collect()),
    }
}

fn read_list(root: &Reader<'_>, node: &Node, items: &[Node]) -> Vec<SinkSettings> {
    if items.is_empty() || items.len() > SINKS_BOUND {
        let message = format!("`access_log` has {} sinks", items.len());
        let note = format!("accepted: 1 to {SINKS_BOUND} sinks; `access_log: off` logs no requests");
        root.cx.report(Diagnostic::error(node.span, message).note(note));
    }
    let mut sinks: Vec<SinkSettings> = Vec::new();
    for item in items {
        let sink = read_one(root, item);
        let target = sink.target.name();
        if sink.target == Target::Off && items.len() > 1 {
            let message = "`off` cannot be one of several sinks";
            root.cx
                .report(Diagnostic::error(item.span, message).note("remove this item"));
        } else if sinks.iter().any(|other| other.target.name() == target) {
            let message = format!("two sinks write to `{target}`");
            let note = "their lines could mix: write to another path, or remove one of them";
            root.cx.report(Diagnostic::error(item.span, message).note(note));
        }
        sinks.push(sink);
    }
    sinks
}

fn read_one(root: &Reader<'_>, node: &Node) -> SinkSettings {
    let absent = Reader::absent(root.cx, &ACCESS_LOG);
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
                        text if SyslogServer::is_meant(text) => {
                            Some(format!("write a syslog server as `{{ path: \"{text}\" }}`"))
                        }
                        text if text.contains(['/', '.']) => {
                            Some(format!("write a file as `{{ path: {text} }}`"))
                        }
                        _ => None,
                    };
                    root.refuse("access_log", written, hint);
                }
                (None, None) => root.refuse_node("access_log", node),
            }
            SinkSettings {
                target: target.unwrap_or(Target::Stdout),
                ..read_map(&absent)
            }
        }
    }
}

fn show_sink(log: &SinkSettings) -> Item {
    let target = match &log.target {
        Target::Stdout => word("stdout"),
        Target::Stderr => word("stderr"),
        Target::Off => word("off"),
        Target::File(file) => path(file),
        Target::Syslog(syslog) => word(quoted(&syslog.server.to_string())),
    };
    let format = match log.format {
        Format::Json => "json",
        Format::Combined => "combined",
    };
    let on_full = match log.on_full {
        OnFull::Drop => "drop",
        OnFull::Block => "block",
    };
    let mut keys = vec![
        ("path", target),
        ("format", word(format)),
        ("fields", show_fields(&log.fields)),
        ("sample", show_sample(&log.sample)),
        ("on_full", word(on_full)),
        ("query", word(log.query)),
    ];
    if let Target::Syslog(syslog) = &log.target {
        keys.extend([
            ("facility", word(syslog.facility)),
            ("severity", word(syslog.severity)),
        ]);
    }
    map(keys)
}

fn show_fields(fields: &[Field]) -> Item {
    match fields {
        [] => word("default"),
        fields => Item::Line(fields.iter().map(|field| word(quoted(&field.name()))).collect()),
    }
}

fn show_sample(sample: &Sample) -> Item {
    if *sample == Sample::default() {
        return word("off");
    }
    let shares = SAMPLED_CLASSES.into_iter().zip(sample.shares);
    let mut keys: Vec<(&str, Item)> = shares
        .map(|(class, share)| (class, word(format!("{}%", show_decimal(share)))))
        .collect();
    let slower_than = sample
        .slower_than
        .map_or_else(|| "none".to_owned(), show_duration);
    keys.push(("slower_than", word(slower_than)));
    map(keys)
}

fn read_map(reader: &Reader<'_>) -> SinkSettings {
    let format = match reader.choice("format", None) {
        "combined" => Format::Combined,
        _ => Format::Json,
    };
    let fields = read_fields(reader);
    if format == Format::Combined
        && !fields.is_empty()
        && let Some(span) = reader.key_span("fields")
    {
        let message = "`fields` cannot be combined with `format: combined`, which has fields of its own";
        reader
            .cx
            .report(Diagnostic::error(span, message).note("remove `fields`, or use `format: json`"));
    }
    SinkSettings {
        target: read_target(reader),
        on_full: match reader.choice("on_full", None) {
            "block" => OnFull::Block,
            _ => OnFull::Drop,
        },
        query: reader.flag("query", None),
        format,
        fields,
        sample: read_sample(reader),
    }
}

fn read_target(reader: &Reader<'_>) -> Target {
    let (facility, severity) = (reader.choice("facility", None), reader.choice("severity", None));
    let target = match reader.text("path") {
        None => Target::Stdout,
        Some(written) if written.text == "false" => Target::Off,
        Some(written) if SyslogServer::is_meant(written.text) => match SyslogServer::parse(written.text) {
            Some(server) => Target::Syslog(Syslog {
                server,
                facility,
                severity,
            }),
            None => {
                let is_tcp = written.text.starts_with("syslog:tcp");
                let hint = "syslog over TCP is not supported: use UDP, or a syslog server on this machine that forwards";
                reader.refuse("path", written, is_tcp.then(|| hint.to_owned()));
                return Target::Stdout;
            }
        },
        Some(written) => stream(written.text).unwrap_or_else(|| {
            if written.text.is_empty() || written.text.contains('\0') {
                reader.refuse("path", written, None);
            }
            let path = reader.cx.path(written.text);
            check_file(reader, written, &path);
            Target::File(path)
        }),
    };
    if !matches!(target, Target::Syslog(_)) {
        for key in ["facility", "severity"] {
            if let Some(span) = reader.key_span(key) {
                let message = format!("`{key}` is only for a syslog server");
                let note = format!("remove `{key}`, or write a server as `path: \"syslog:unix:/dev/log\"`");
                reader.cx.report(Diagnostic::error(span, message).note(note));
            }
        }
    }
    target
}

/// Reads `fields`; empty for the default ones.
fn read_fields(reader: &Reader<'_>) -> Vec<Field> {
    let is_default =
        |node: &Node| written(node).is_some_and(|written| written.text == "default" && !written.is_expanded);
    if reader.node("fields").is_none_or(is_default) {
        return Vec::new();
    }
    let items = reader.list("fields").unwrap_or_default();
    if let Some(span) = reader.key_span("fields")
        && !(1..=FIELDS_BOUND).contains(&items.len())
        && reader
            .node("fields")
            .is_some_and(|node| matches!(node.value, Value::List(_)))
    {
        let message = format!("`fields` has {} fields", items.len());
        let note = format!("accepted: 1 to {FIELDS_BOUND} fields; `fields: default` has the usual ones");
        reader.cx.report(Diagnostic::error(span, message).note(note));
    }
    let mut fields: Vec<Field> = Vec::new();
    for item in items {
        let Some(written) = written(item) else {
            reader.refuse_node("fields", item);
            continue;
        };
        match Field::parse(written.text) {
            Ok(field) if fields.contains(&field) => {
                let message = format!("{} is in `fields` already", reader.cx.quote(written.span));
                reader.cx.report(Diagnostic::error(written.span, message));
            }
            Ok(field) => fields.push(field),
            Err(FieldError::Credentials) => refuse_credentials(reader, written.span),
            Err(FieldError::Unknown | FieldError::Name) => {
                let known = FIELDS.iter().map(|field| field.name);
                reader.refuse("fields", written, suggest::did_you_mean(written.text, known));
            }
        }
    }
    fields
}

fn refuse_credentials(reader: &Reader<'_>, span: Span) {
    let message = format!("{} would write credentials to the log", reader.cx.quote(span));
    let note = "headers that are never logged: Authorization, Cookie, Set-Cookie, Proxy-Authorization";
    reader.cx.report(Diagnostic::error(span, message).note(note));
}

fn read_sample(reader: &Reader<'_>) -> Sample {
    if reader.is_off("sample") {
        return Sample::default();
    }
    let reader = reader.section("sample", &SAMPLE);
    let sample = Sample {
        shares: SAMPLED_CLASSES.map(|class| read_share(&reader, class)),
        slower_than: reader.optional_duration("slower_than", None),
    };
    if let (true, Some(span)) = (sample.is_all(), reader.key_span("slower_than")) {
        let message = "`slower_than` has no effect: all requests are logged";
        let note = "set a share, such as `2xx: 1%`";
        reader.cx.report(Diagnostic::warning(span, message).note(note));
    }
    sample
}

/// Reads a percentage in thousandths of a percent.
fn read_share(reader: &Reader<'_>, class: &str) -> u32 {
    let Some(written) = reader.text(class) else {
        return ALL;
    };
    let share = written.text.strip_suffix('%').and_then(parse_decimal);
    share.filter(|share| *share <= ALL).unwrap_or_else(|| {
        let number = parse_decimal(written.text).filter(|share| *share <= ALL);
        let hint = number.map(|number| format!("did you mean `{}%`?", show_decimal(number)));
        reader.refuse(class, written, hint);
        ALL
    })
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
