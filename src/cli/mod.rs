//! The command line, one file per command. Output goes to stdout, messages for people go to stderr.

mod admin_api;
mod call;
mod check;
mod completions;
mod ctl;
pub mod demo;
mod explain;
pub mod healthcheck;
mod man;
mod number;
mod plan;
mod policies;
mod print_config;
mod printable;
pub mod run;
mod schema;
mod strategies;
mod top;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Loaded, Report};
use printable::Printable;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Fine,
    /// Exit code 1: the config or the run failed.
    Failed,
    /// Exit code 2: the command line is wrong.
    Misused,
    /// Exit code 3: the running process was not reached.
    Unreached,
    /// The exit code of the process that has replaced this one.
    Replaced(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Fine => Self::SUCCESS,
            Outcome::Failed => Self::FAILURE,
            Outcome::Misused => Self::from(2),
            Outcome::Unreached => Self::from(3),
            Outcome::Replaced(code) => Self::from(code),
        }
    }
}

#[derive(Debug, Parser)]
#[command(
    name = "evenkeel",
    version,
    about = "An HTTP load balancer",
    max_term_width = 100
)]
#[command(args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArguments,
}

/// The same with a required command, to suggest a command for a misspelt one.
#[derive(Debug, Parser)]
#[command(name = "evenkeel")]
struct CommandsOnly {
    #[command(subcommand)]
    _command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the load balancer; the default command
    Run(run::RunArguments),
    /// Starts a demo: three small backends and the load balancer in front of them
    Demo(demo::DemoArguments),
    /// Validates a config file and reports all errors at once
    Check(GivenFile),
    /// Prints the effective config, with all defaults and with secrets masked
    PrintConfig(GivenFile),
    /// Explains what would become of a request: its route, policies, changes and backends
    Explain(explain::ExplainArguments),
    /// Shows what a reload would change in the running process
    Plan(plan::PlanArguments),
    /// Shows and changes the running process: status, reload, upgrade, drain, ready, weight, log-level, events
    Ctl(ctl::CtlArguments),
    /// Shows the running process in the terminal: traffic, pools, backends and events
    Top(top::TopArguments),
    /// Checks whether the running process is ready
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Prints the JSON Schema of the config file, for editors
    Schema,
    /// Lists the load balancing strategies
    Strategies,
    /// Lists the kinds of policies that routes can have
    Policies,
    /// Prints a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes the man pages of all commands into a folder
    Man {
        /// The folder; it is created if it does not exist
        folder: PathBuf,
    },
}

/// The config file of a command.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFile {
    /// Config file, or - for stdin [default: config/config.yaml, else /etc/evenkeel/config.yaml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigFile {
    /// Loads the given file, or the default one. Returns its name as well. `hint` says what to do if there is none.
    ///
    /// # Errors
    /// All errors of the config, or the paths that do not exist.
    pub fn load(&self, hint: &str) -> Result<(String, Loaded), Report> {
        let path = self.config.clone().map_or_else(|| config::find(hint), Ok)?;
        Ok((config::name(&path), config::load(&path)?))
    }
}

/// The same for commands whose only argument is a config file: it can be given without an option.
#[derive(Debug, Clone, Default, Args)]
pub struct GivenFile {
    #[command(flatten)]
    option: ConfigFile,
    /// Config file; the same as `-c FILE`
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl GivenFile {
    fn load(&self) -> Result<(String, Loaded), Report> {
        let config = self.file.clone().or_else(|| self.option.config.clone());
        ConfigFile { config }.load("name one, or `-` for stdin")
    }
}

/// The two streams that a command writes to.
pub struct Streams<'a> {
    /// Output.
    pub out: &'a mut dyn Write,
    /// Messages for people.
    pub err: &'a mut dyn Write,
}

impl Streams<'_> {
    /// Prints warnings, each followed by an empty line.
    fn warn(&mut self, loaded: &Loaded) -> io::Result<()> {
        for warning in &loaded.warnings {
            write!(self.err, "{warning}\n\n")?;
        }
        Ok(())
    }

    /// Prints why a config cannot be used.
    fn fail(&mut self, report: &Report) -> io::Result<Outcome> {
        writeln!(self.err, "{report}")?;
        Ok(Outcome::Failed)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // Not locked: the commands write their logs to the same streams.
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let (mut shown_out, mut shown_err) = (Printable(io::stdout()), Printable(io::stderr()));
    let mut streams = Streams {
        out: if out.is_terminal() {
            &mut shown_out
        } else {
            &mut out
        },
        err: if err.is_terminal() {
            &mut shown_err
        } else {
            &mut err
        },
    };
    execute(std::env::args_os(), &mut streams).into()
}

/// Runs a command line, whose first argument is the program's name.
fn execute(arguments: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> Outcome {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let done = match CommandLine::try_parse_from(&words) {
        Ok(line) => dispatch(line.command.unwrap_or(Command::Run(line.run)), streams),
        Err(error) => print_usage(&unknown_command(&words).unwrap_or(error), streams)
            .and_then(|outcome| hint_at_file(&words, outcome, streams)),
    };
    let done = done.and_then(|outcome| streams.out.flush().map(|()| outcome));
    match done {
        Ok(outcome) => outcome,
        // The reader of our output has stopped reading: `evenkeel schema | head` is not a failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Outcome::Fine,
        Err(error) => {
            // If stderr is closed too, only the exit code reports it.
            let _ = writeln!(streams.err, "evenkeel: cannot write output: {error}");
            Outcome::Failed
        }
    }
}

fn dispatch(command: Command, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    match command {
        Command::Run(arguments) => run::run(&arguments, streams),
        Command::Demo(arguments) => demo::demo(&arguments, streams),
        Command::Healthcheck(arguments) => healthcheck::healthcheck(&arguments, streams),
        Command::Check(file) => check::check(&file, streams),
        Command::Ctl(arguments) => ctl::ctl(&arguments, streams),
        Command::Top(arguments) => top::top(&arguments, streams),
        Command::Explain(arguments) => explain::explain(&arguments, streams),
        Command::Plan(arguments) => plan::plan(&arguments, streams),
        Command::PrintConfig(file) => print_config::print_config(&file, streams),
        Command::Schema => schema::schema(streams),
        Command::Strategies => strategies::strategies(streams),
        Command::Policies => policies::policies(streams),
        Command::Completions { shell } => completions::completions::<CommandLine>(shell, streams),
        Command::Man { folder } => man::man::<CommandLine>(&folder, streams),
    }
}

/// The error for a first word that looks like a command but is not one. Without this, clap would treat it as the URL of a
/// backend and ask for `--listen`.
fn unknown_command(words: &[OsString]) -> Option<clap::Error> {
    let word = words.get(1)?.to_str()?;
    let is_name = word
        .bytes()
        .all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    if !is_name || word.starts_with('-') {
        return None;
    }
    let error = CommandsOnly::try_parse_from(words).err()?;
    (error.kind() == clap::error::ErrorKind::InvalidSubcommand).then_some(error)
}

/// Prints a tip when a config file was given in place of backend URLs.
fn hint_at_file(words: &[OsString], outcome: Outcome, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let texts = words.iter().skip(1).filter_map(|word| word.to_str());
    let mut files = texts.filter(|text| text.ends_with(".yaml") || text.ends_with(".yml"));
    let is_named = words.iter().any(|word| word == "-c" || word == "--config");
    if let (Outcome::Misused, false, Some(file)) = (outcome, is_named, files.next()) {
        writeln!(streams.err, "\n  tip: use `-c {file}` for a config file")?;
    }
    Ok(outcome)
}

/// Prints help and version to stdout, and errors to stderr.
fn print_usage(error: &clap::Error, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let text = error.render();
    if error.use_stderr() {
        write!(streams.err, "{text}")?;
        return Ok(Outcome::Misused);
    }
    write!(streams.out, "{text}")?;
    Ok(Outcome::Fine)
}

#[cfg(test)]
mod tests;
