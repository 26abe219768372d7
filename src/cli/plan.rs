//! `evenkeel plan`: what a reload would change against the running process, and what that touches. Changes nothing.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::Args;

use super::call::{self, Done, Failure, Process, TIMEOUT, parse};
use super::{Outcome, Streams, admin_api};
use crate::admin::{ChangeKind, LARGEST_PLANNED, Planned, PlannedChange, client};
use crate::config;
use crate::net::ListenAddress;
use crate::schema::units::show_size;

/// The arguments of `evenkeel plan`.
#[derive(Debug, Clone, Args)]
#[command(after_help = NOTES)]
pub(super) struct PlanArguments {
    /// New config file, or - for stdin [default: the file of the running process]
    #[arg(short, long, value_name = "NEW")]
    config: Option<std::path::PathBuf>,
    /// Address of the admin API of the running process, or unix:PATH [default: the variable EVENKEEL_ADMIN, or 127.0.0.1:9900]
    #[arg(long, value_name = "ADDRESS", value_parser = admin_api::parse)]
    admin: Option<ListenAddress>,
    /// Bearer token of the admin API [default: the variable EVENKEEL_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Prints what the admin API responds, as JSON
    #[arg(long)]
    json: bool,
}

const NOTES: &str = "\
The running process reads the files that NEW names, such as certificates; relative paths start at the folder of its own config.
Variables are those of its environment.

Exit codes: 0 a reload would succeed, 1 NEW is invalid (with all errors), 2 wrong usage, 3 process not reached.";

/// Asks the running process, and prints what it says.
pub(super) fn plan(arguments: &PlanArguments, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let process = match admin_api::process(arguments.admin.as_ref(), arguments.token.as_ref()) {
        Ok(process) => process,
        Err(failure) => return call::report(Err(failure), arguments.json, streams),
    };
    let name = arguments.config.as_deref().map(config::name);
    let text = match arguments.config.as_deref().map(read).transpose() {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => {
            writeln!(streams.err, "{}: error: {error}", name.unwrap_or_default())?;
            return Ok(Outcome::Failed);
        }
    };
    let result = ask(&process, &text, name.as_deref());
    call::report(result, arguments.json, streams)
}

/// Reads a config to be sent. An empty one is refused, because it would ask for the file of the process.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    let from: Box<dyn Read> = match config::is_stdin(path) {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path).map_err(cannot)?),
    };
    let mut text = Vec::new();
    from.take(LARGEST_PLANNED as u64 + 1)
        .read_to_end(&mut text)
        .map_err(cannot)?;
    match text.len() {
        0 => Err("the config is empty".to_owned()),
        1..=LARGEST_PLANNED => Ok(text),
        _ => Err(format!(
            "is larger than {}, the most that can be planned",
            show_size(LARGEST_PLANNED as u64)
        )),
    }
}

/// `name` is the name of the config in messages, if it is not that of the process.
fn ask(process: &Process, text: &[u8], name: Option<&str>) -> Result<Done, Failure> {
    let content = client::Content {
        kind: "application/yaml",
        body: text,
    };
    let answer = process.send(TIMEOUT, ("POST", "/api/v1/plan"), content);
    let named = |line: &str| match (name, line.strip_prefix("config:")) {
        (Some(name), Some(rest)) => format!("{name}:{rest}"),
        _ => line.to_owned(),
    };
    let json = answer.map_err(|failure| {
        let lines: Vec<String> = failure.why.split('\n').map(named).collect();
        Failure {
            why: lines.join("\n"),
            ..failure
        }
    })?;
    let mut planned: Planned = parse(&json)?;
    planned
        .warnings
        .iter_mut()
        .for_each(|warning| *warning = named(warning));
    Ok(Done {
        json,
        text: shown(&planned),
    })
}

fn shown(planned: &Planned) -> String {
    let mut text = String::new();
    for warning in &planned.warnings {
        text += warning;
        text += "\n\n";
    }
    // Writing to a string cannot fail.
    let _ = match planned.count {
        0 => writeln!(text, "a reload would change nothing"),
        1 => writeln!(text, "a reload would make 1 change:"),
        count => writeln!(text, "a reload would make {count} changes:"),
    };
    for change in &planned.changes {
        text += &line(change);
    }
    let more = planned.count.saturating_sub(planned.changes.len());
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    if planned.count > 0 {
        text += "what does not change is not touched; running requests finish with the config that they began with\n";
    }
    text
}

fn line(change: &PlannedChange) -> String {
    let PlannedChange {
        kind,
        name,
        differs,
        effect,
        ..
    } = change;
    let sign = match change.change {
        ChangeKind::Added => '+',
        ChangeKind::Removed => '-',
        ChangeKind::Changed => '~',
    };
    let mut line = format!("  {sign} {kind} {name}");
    if let Some(differs) = differs {
        line += ": ";
        line += differs;
    }
    if let Some(effect) = effect {
        let _ = write!(line, " ({effect})");
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(change: ChangeKind, kind: &str, differs: Option<&str>, effect: Option<&str>) -> PlannedChange {
        PlannedChange {
            change,
            kind: kind.to_owned(),
            name: "a".to_owned(),
            differs: differs.map(str::to_owned),
            effect: effect.map(str::to_owned),
        }
    }

    #[test]
    fn changes_are_shown_as_a_list() {
        let planned = Planned {
            count: 5,
            changes: vec![
                change(ChangeKind::Added, "route", None, None),
                change(ChangeKind::Removed, "pool", None, Some("its state is dropped")),
                change(ChangeKind::Changed, "pool", Some("retry"), Some("health is kept")),
            ],
            warnings: vec!["c.yaml:1:1: warning: odd".to_owned()],
        };
        let expected = "c.yaml:1:1: warning: odd

a reload would make 5 changes:
  + route a
  - pool a (its state is dropped)
  ~ pool a: retry (health is kept)
  and 2 more
what does not change is not touched; running requests finish with the config that they began with
";
        assert_eq!(shown(&planned), expected);
        assert_eq!(shown(&Planned::default()), "a reload would change nothing\n");
    }
}
