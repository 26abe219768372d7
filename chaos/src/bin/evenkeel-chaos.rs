//! Runs scenarios against a balancer and reports whether it reached their goals.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;
use evenkeel_chaos::helper::Helper;
use evenkeel_chaos::peer::{self, PEERS, Place, Row};
use evenkeel_chaos::report::Report;
use evenkeel_chaos::scenario::{Context, SCENARIOS, Scenario};
use evenkeel_chaos::side_by_side::{self, Outcome, Run};
use evenkeel_chaos::{Error, Result, groups, page};
use serde_json::json;

/// The command line.
#[derive(Debug, Parser)]
#[command(about = "Load and faults for a running balancer", after_help = scenarios())]
struct Arguments {
    /// The scenarios to run, or `all`.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// Seed of everything random; a new one each time unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Time that each scenario takes, about.
    #[arg(long)]
    seconds: Option<u64>,
    /// Requests a second, at most 2,000.
    #[arg(long)]
    rate: Option<u64>,
    /// The balancers, several of them with commas, or `all`: each scenario runs with one after the other.
    #[arg(long, default_value = "evenkeel", value_delimiter = ',')]
    peer: Vec<String>,
    /// The program of the balancer, or NAME=PATH for one of several; by default that of `PATH`, for Evenkeel the one
    /// beside this program.
    #[arg(long)]
    balancer: Vec<String>,
    /// A root file system with programs of balancers in /usr/sbin or /usr/bin, which are run there by chroot.
    #[arg(long)]
    root: Option<PathBuf>,
    /// The fault backend; by default the one beside this program.
    #[arg(long)]
    backend: Option<PathBuf>,
    /// Multiplies all limits that depend on timing, for machines that do other work too.
    #[arg(long, default_value_t = 1)]
    slack: u64,
    /// Writes the reports as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes the results into this page of the docs, in place of those of the last run, after each scenario: those of
    /// several balancers as one table.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Leaves configs and logs in the temporary folder.
    #[arg(long)]
    keep: bool,
}

#[allow(clippy::print_stderr, reason = "the message of a program that cannot run")]
fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("evenkeel-chaos: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    groups::end_on_signals()?;
    let rows = arguments.rows()?;
    arguments.check_programs(&rows)?;
    let seed = arguments.seed.unwrap_or_else(new_seed);
    let mut runs = Vec::new();
    let mut stdout = std::io::stdout().lock();
    for scenario in arguments.scenarios()? {
        for row in &rows {
            let run = Run {
                scenario: scenario.name,
                peer: row.name,
                outcome: outcome(arguments, scenario, row, (seed, rows.len()))?,
            };
            writeln!(stdout, "{}", run.text())?;
            stdout.flush()?;
            runs.push(run);
            // After each one: a long run that is interrupted has not been in vain.
            if let Some(path) = &arguments.write {
                write_page(path, &shown(arguments, seed), &runs, rows.len())?;
            }
        }
    }
    if let Some(path) = &arguments.json {
        write_json(path, &runs)?;
    }
    Ok(runs.iter().all(Run::has_passed))
}

/// Runs a scenario. Among several balancers, one that cannot run is an outcome.
fn outcome(
    arguments: &Arguments,
    scenario: &Scenario,
    row: &Row,
    (seed, balancers): (u64, usize),
) -> Result<Outcome> {
    let report = context(arguments, scenario, row, seed).and_then(|context| scenario.run(&context));
    match report {
        Ok(report) => Ok(Outcome::Made(Box::new(report))),
        Err(error) if error.is_not_offered() => Ok(Outcome::NotOffered(error.to_string())),
        Err(error) if balancers > 1 => Ok(Outcome::Failed(error.to_string())),
        Err(error) => Err(error),
    }
}

fn context(arguments: &Arguments, scenario: &Scenario, row: &Row, seed: u64) -> Result<Context> {
    let this = std::env::current_exe()?;
    let beside = this.with_file_name("evenkeel-fault-backend");
    Ok(Context {
        peer: (row.make)(arguments.place(row.name)),
        helper: Helper::Binary(arguments.backend.clone().unwrap_or(beside)),
        seed,
        duration: Duration::from_secs(arguments.seconds.unwrap_or(scenario.seconds)),
        rate: arguments.rate.unwrap_or(scenario.rate),
        slack: arguments.slack.max(1),
        is_kept: arguments.keep,
    })
}

impl Arguments {
    fn scenarios(&self) -> Result<Vec<&'static Scenario>> {
        if self.scenarios.iter().any(|name| name == "all") {
            return Ok(SCENARIOS.iter().collect());
        }
        self.scenarios.iter().map(|name| Scenario::find(name)).collect()
    }

    /// The balancers.
    fn rows(&self) -> Result<Vec<&'static Row>> {
        if self.peer.iter().any(|name| name == "all") {
            return Ok(PEERS.iter().collect());
        }
        self.peer.iter().map(|name| peer::row(name)).collect()
    }

    /// Whether each program that was named is one of a balancer that is run.
    fn check_programs(&self, rows: &[&Row]) -> Result<()> {
        let is_used = |value: &&String| match value.split_once('=') {
            Some((name, _)) => rows.iter().any(|row| row.name == name),
            None => rows.len() == 1,
        };
        match self.balancer.iter().find(|value| !is_used(value)) {
            None => Ok(()),
            Some(value) => Err(Error::new(format!(
                "`--balancer {value}` names the program of none of the balancers that are run; among several, write NAME=PATH"
            ))),
        }
    }

    /// Where the program of this balancer is.
    fn place(&self, name: &str) -> Place {
        let is_single = self.peer.len() == 1 && self.peer.iter().all(|only| only == name);
        let mut named = self
            .balancer
            .iter()
            .filter_map(|value| match value.split_once('=') {
                Some((of, path)) => (of == name).then_some(path),
                None => is_single.then_some(value.as_str()),
            });
        Place {
            program: named.next_back().map(PathBuf::from),
            root: self.root.clone(),
        }
    }
}

/// Writes the reports of one balancer, or the table of several.
fn write_page(path: &Path, shown: &str, runs: &[Run], peers: usize) -> Result<()> {
    if peers > 1 {
        return side_by_side::write(path, shown, runs);
    }
    let made = runs.iter().filter_map(|run| Some((run.scenario, run.report()?)));
    let reports: Vec<(&str, &Report)> = made.collect();
    page::write(path, shown, &reports)
}

/// The arguments that repeat the run.
fn shown(arguments: &Arguments, seed: u64) -> String {
    let mut shown = arguments.scenarios.join(" ");
    let slack = Some(arguments.slack).filter(|slack| *slack > 1);
    let peer = Some(arguments.peer.join(",")).filter(|peer| peer != "evenkeel");
    for (flag, value) in [
        ("--rate", arguments.rate.map(|rate| rate.to_string())),
        ("--seconds", arguments.seconds.map(|seconds| seconds.to_string())),
        ("--seed", Some(seed.to_string())),
        ("--slack", slack.map(|slack| slack.to_string())),
        ("--peer", peer),
    ] {
        if let Some(value) = value {
            shown.push_str(&format!(" {flag} {value}"));
        }
    }
    shown
}

fn write_json(path: &Path, runs: &[Run]) -> Result<()> {
    let text = json!(runs.iter().map(Run::json).collect::<Vec<_>>()).to_string();
    std::fs::write(path, text)
        .map_err(|error| Error::new(format!("cannot write {}: {error}", path.display())))
}

fn new_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map(|since| since.as_secs()).unwrap_or_default()
}

fn scenarios() -> String {
    let lines = SCENARIOS
        .iter()
        .map(|scenario| format!("  {:16}{}\n", scenario.name, scenario.about));
    format!("Scenarios:\n{}", lines.collect::<String>())
}
