//! The command line: one file a command. What was asked for goes to stdout, messages for people to stderr.
//!
//! A command that is not built is no variant of `Command`, so that `--help` does not show it.

mod check;
mod completions;
pub mod demo;
pub mod healthcheck;
mod print_config;
pub mod run;
mod schema;
mod strategies;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Loaded, Report};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Fine,
    /// Exit code 1: the config or the run failed.
    Failed,
    /// Exit code 2: the command line is wrong.
    Misused,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Fine => Self::SUCCESS,
            Outcome::Failed => Self::FAILURE,
            Outcome::Misused => Self::from(2),
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

/// The same without what may be left out, to find out what a wrong command was meant to be.
#[derive(Debug, Parser)]
#[command(name = "evenkeel")]
struct CommandsOnly {
    #[command(subcommand)]
    _command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the balancer; what `evenkeel` does without a command
    Run(run::RunArguments),
    /// Tries it out: starts three small backends and the balancer before them
    Demo(demo::DemoArguments),
    /// Validates a config file and shows every error at once
    Check(GivenFile),
    /// Prints the effective config, with all defaults written out and secrets masked
    PrintConfig(GivenFile),
    /// Succeeds when the running process is ready
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Prints the JSON Schema of the config file, for editors
    Schema,
    /// Lists the balancing strategies
    Strategies,
    /// Prints a script that completes commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which config file a command is about.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFile {
    /// Config file, or - for stdin [default: config/config.yaml, else /etc/evenkeel/config.yaml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigFile {
    /// Loads the file that was named, or the default one; gives its name too. `hint` says what to do when there is none.
    ///
    /// # Errors
    /// Everything that is wrong with it, or the places looked in.
    pub fn load(&self, hint: &str) -> Result<(String, Loaded), Report> {
        let path = self.config.clone().map_or_else(|| config::find(hint), Ok)?;
        Ok((config::name(&path), config::load(&path)?))
    }
}

/// The same for commands that are about nothing but a config file: it may be named without an option.
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
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// Messages for people.
    pub err: &'a mut dyn Write,
}

impl Streams<'_> {
    /// Tells people of problems, each followed by an empty line.
    fn warn(&mut self, loaded: &Loaded) -> io::Result<()> {
        for warning in &loaded.warnings {
            write!(self.err, "{warning}\n\n")?;
        }
        Ok(())
    }

    /// Tells people why a config cannot be used.
    fn fail(&mut self, report: &Report) -> io::Result<Outcome> {
        writeln!(self.err, "{report}")?;
        Ok(Outcome::Failed)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // Not locked: what runs below writes its logs to the same streams.
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
    };
    execute(std::env::args_os(), &mut streams).into()
}

/// Runs a command line, whose first argument is the program's name.
fn execute(arguments: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> Outcome {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let done = match CommandLine::try_parse_from(&words) {
        Ok(line) => dispatch(line.command.unwrap_or(Command::Run(line.run)), streams),
        Err(error) => explain(&unknown_command(&words).unwrap_or(error), streams)
            .and_then(|outcome| hint_at_file(&words, outcome, streams)),
    };
    let done = done.and_then(|outcome| streams.out.flush().map(|()| outcome));
    match done {
        Ok(outcome) => outcome,
        // Whoever read our output has seen enough of it: `evenkeel schema | head` is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Outcome::Fine,
        Err(error) => {
            // When stderr is gone too, the exit code is all that is left to say it with.
            let _ = writeln!(streams.err, "evenkeel: cannot write: {error}");
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
        Command::PrintConfig(file) => print_config::print_config(&file, streams),
        Command::Schema => schema::schema(streams),
        Command::Strategies => strategies::strategies(streams),
        Command::Completions { shell } => completions::completions::<CommandLine>(shell, streams),
    }
}

/// The mistake of a first word that is meant as a command and is none. With `run` left out it would count as the URL of
/// a backend, for which `--listen` would be asked for.
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

/// Says how a config file is named to who has written one where URLs of backends are expected.
fn hint_at_file(words: &[OsString], outcome: Outcome, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let texts = words.iter().skip(1).filter_map(|word| word.to_str());
    let mut files = texts.filter(|text| text.ends_with(".yaml") || text.ends_with(".yml"));
    let is_named = words.iter().any(|word| word == "-c" || word == "--config");
    if let (Outcome::Misused, false, Some(file)) = (outcome, is_named, files.next()) {
        writeln!(streams.err, "\n  tip: a config file is named with `-c {file}`")?;
    }
    Ok(outcome)
}

/// Shows help and version on stdout, where they were asked for, and mistakes on stderr.
fn explain(error: &clap::Error, streams: &mut Streams<'_>) -> io::Result<Outcome> {
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
