//! `evenkeel run`: its arguments, and the config that they select.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, TypedValueParser};

use super::{Outcome, Streams};
use crate::config::{self, Loaded, Report};
use crate::server::{self, Launch, Plan, StartError};
use crate::strategy::STRATEGIES;
use crate::telemetry::LogError;

/// Heading in the help of the options that replace a config file.
const WITHOUT_A_FILE: &str = "Options when no config file is used";

/// Accepts any text as the name of a strategy, because the config reports an unknown one in more detail. Lists the names
/// for the help and for shell completion.
#[derive(Debug, Clone)]
struct StrategyName;

impl TypedValueParser for StrategyName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        clap::builder::StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = STRATEGIES.iter().map(|entry| PossibleValue::new(entry.name));
        Some(Box::new(names))
    }
}

/// Arguments of `evenkeel run`: a config file, or listeners and backends instead.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArguments {
    /// Config file, or - for stdin [default: config/config.yaml, else /etc/evenkeel/config.yaml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// File that contains the id of the process while it serves
    #[arg(long, value_name = "PATH")]
    pub pid_file: Option<PathBuf>,
    /// Address where clients connect; may be repeated
    #[arg(
        long,
        help_heading = WITHOUT_A_FILE,
        value_name = "ADDRESS",
        conflicts_with = "config",
        requires = "backends"
    )]
    pub listen: Vec<String>,
    /// Address of the admin API, or `off`
    #[arg(
        long,
        help_heading = WITHOUT_A_FILE,
        value_name = "ADDRESS|off",
        conflicts_with = "config",
        requires = "backends"
    )]
    pub admin: Option<String>,
    /// The load balancing strategy
    #[arg(
        long,
        help_heading = WITHOUT_A_FILE,
        value_name = "NAME",
        value_parser = StrategyName,
        conflicts_with = "config",
        requires = "backends"
    )]
    pub strategy: Option<String>,
    /// The path that health checks request
    #[arg(long, help_heading = WITHOUT_A_FILE, value_name = "PATH", conflicts_with = "config", requires = "backends")]
    pub health_path: Option<String>,
    /// The number of worker threads, or `auto`
    #[arg(long, help_heading = WITHOUT_A_FILE, value_name = "N", conflicts_with = "config", requires = "backends")]
    pub workers: Option<String>,
    /// URLs of backends, such as http://localhost:8001
    #[arg(help_heading = WITHOUT_A_FILE, value_name = "URL", conflicts_with = "config", requires = "listen")]
    pub backends: Vec<String>,
}

/// Hint for a missing config file.
const HOW_TO_RUN: &str = "name one with `-c FILE`, or give backends as arguments: `evenkeel run --listen 0.0.0.0:8080 http://localhost:8001`";

/// Runs the load balancer until a signal stops it. Writes only log lines to stdout.
pub(super) fn run(arguments: &RunArguments, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let launch = Launch::take();
    let Chosen { loaded, source, name } = match arguments.choose() {
        Ok(chosen) => chosen,
        Err(refused) => {
            streams.fail(&refused.report)?;
            return Ok(refused.outcome);
        }
    };
    streams.warn(&loaded)?;
    let is_from_stdin = arguments.config.as_deref().is_some_and(config::is_stdin);
    let plan = Plan {
        config: loaded.config,
        source,
        source_name: name,
        pid_file: arguments.pid_file.clone(),
        launch,
        no_upgrade: is_from_stdin
            .then_some("the config came from standard input, which a new process cannot read again"),
    };
    let error = match server::run(plan, |_| {}) {
        Ok(0) => return Ok(Outcome::Fine),
        Ok(code) => return Ok(Outcome::Replaced(code)),
        Err(error) => error,
    };
    let text = error.to_string();
    match error {
        // The warning says where the config names the file, and why it cannot be opened.
        StartError::Log(LogError::File(error))
            if loaded.warnings.iter().any(|warning| warning.message == text) =>
        {
            let path = error.path.display();
            writeln!(streams.err, "evenkeel: cannot start without the log file {path}")?;
        }
        _ => writeln!(streams.err, "evenkeel: {text}")?,
    }
    Ok(Outcome::Failed)
}

/// The config that `run` uses.
pub struct Chosen {
    /// The config.
    pub loaded: Loaded,
    /// The file that a reload reads; `None` for arguments and standard input, which cannot be read again.
    pub source: Option<PathBuf>,
    /// Its name in the status.
    pub name: String,
}

/// The error of an invalid file or of invalid arguments.
#[derive(Debug)]
pub struct Refused {
    /// The errors, to be shown to the operator.
    pub report: Report,
    /// `Failed` for an invalid file, `Misused` for invalid arguments.
    pub outcome: Outcome,
}

impl RunArguments {
    /// The config in the given file, or the one that the arguments make.
    ///
    /// # Errors
    /// All errors of the file or the arguments.
    pub fn choose(&self) -> Result<Chosen, Refused> {
        if self.backends.is_empty() {
            return self.choose_file().map_err(|report| Refused {
                report,
                outcome: Outcome::Failed,
            });
        }
        let arguments = config::Arguments {
            listen: self.listen.clone(),
            backends: self.backends.clone(),
            admin: self.admin.clone(),
            strategy: self.strategy.clone(),
            health_path: self.health_path.clone(),
            workers: self.workers.clone(),
        };
        let loaded = config::from_arguments(&arguments).map_err(|report| Refused {
            report,
            outcome: Outcome::Misused,
        })?;
        Ok(Chosen {
            loaded,
            source: None,
            name: "command line".to_owned(),
        })
    }

    fn choose_file(&self) -> Result<Chosen, Report> {
        let path = self.config.clone().map_or_else(|| config::find(HOW_TO_RUN), Ok)?;
        let loaded = config::load(&path)?;
        Ok(Chosen {
            loaded,
            name: config::name(&path),
            source: Some(path).filter(|path| !config::is_stdin(path)),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArguments,
    }

    fn parse(arguments: &str) -> Result<RunArguments, clap::Error> {
        let words = ["run"].into_iter().chain(arguments.split_whitespace());
        Line::try_parse_from(words).map(|line| line.run)
    }

    #[test]
    fn arguments_make_a_config_without_a_file() {
        let run =
            parse("--listen 127.0.0.1:0 --listen [::1]:0 --admin off --workers 2 http://a:1 http://b:2")
                .unwrap();
        let chosen = run
            .choose()
            .unwrap_or_else(|refused| panic!("{}", refused.report));
        assert_eq!(chosen.source, None);
        assert_eq!(chosen.loaded.config.listeners.len(), 2);
        assert_eq!(chosen.loaded.config.pools[0].backends.len(), 2);
        assert!(chosen.loaded.config.admin.is_none());
    }

    #[test]
    fn invalid_values_are_misuse_of_the_command_line() {
        let refused = parse("--listen nowhere a:1").unwrap().choose().err().unwrap();
        assert_eq!(refused.outcome, Outcome::Misused);
        assert_eq!(refused.report.errors(), 2);
    }

    #[test]
    fn missing_file_is_a_failure() {
        let refused = parse("-c /nonexistent/c.yaml").unwrap().choose().err().unwrap();
        assert_eq!(refused.outcome, Outcome::Failed);
    }

    #[test]
    fn file_and_arguments_exclude_each_other() {
        for wrong in [
            "-c a.yaml http://a:1",
            "-c a.yaml --admin off",
            "--listen :1",
            "http://a:1",
            "--workers 2",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("").is_ok());
    }
}
