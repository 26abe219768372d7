//! Runs scenarios against a balancer and reports whether it reached their goals.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;
use evenkeel_chaos::helper::Helper;
use evenkeel_chaos::peer;
use evenkeel_chaos::report::Report;
use evenkeel_chaos::scenario::{Context, SCENARIOS, Scenario};
use evenkeel_chaos::{Error, Result, page};
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
    /// The kind of balancer: evenkeel or nginx.
    #[arg(long, default_value = "evenkeel")]
    peer: String,
    /// Its program; for Evenkeel by default the one beside this program.
    #[arg(long)]
    balancer: Option<PathBuf>,
    /// The fault backend; by default the one beside this program.
    #[arg(long)]
    backend: Option<PathBuf>,
    /// Multiplies all limits that depend on timing, for machines that do other work too.
    #[arg(long, default_value_t = 1)]
    slack: u64,
    /// Writes the reports as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes the results into this page of the docs, in place of those of the last run, after each scenario.
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
    let names = &arguments.scenarios;
    let chosen: Vec<&Scenario> = if names.iter().any(|name| name == "all") {
        SCENARIOS.iter().collect()
    } else {
        names
            .iter()
            .map(|name| Scenario::find(name))
            .collect::<Result<_>>()?
    };
    let seed = arguments.seed.unwrap_or_else(new_seed);
    let mut reports = Vec::new();
    let mut stdout = std::io::stdout().lock();
    let mut has_passed = true;
    for scenario in chosen {
        let report = scenario.run(&context(arguments, scenario, seed)?)?;
        has_passed &= report.has_passed();
        writeln!(stdout, "{}", report.text())?;
        stdout.flush()?;
        reports.push((scenario.name, report));
        // After each one: a long run that is interrupted has not been in vain.
        if let Some(path) = &arguments.write {
            page::write(path, &shown(arguments, seed), &reports)?;
        }
    }
    if let Some(path) = &arguments.json {
        write_json(path, &reports)?;
    }
    Ok(has_passed)
}

fn context(arguments: &Arguments, scenario: &Scenario, seed: u64) -> Result<Context> {
    let this = std::env::current_exe()?;
    let beside = this.with_file_name("evenkeel-fault-backend");
    Ok(Context {
        peer: peer::peer(&arguments.peer, arguments.balancer.clone())?,
        helper: Helper::Binary(arguments.backend.clone().unwrap_or(beside)),
        seed,
        duration: Duration::from_secs(arguments.seconds.unwrap_or(scenario.seconds)),
        rate: arguments.rate.unwrap_or(scenario.rate),
        slack: arguments.slack.max(1),
        is_kept: arguments.keep,
    })
}

/// The arguments that repeat the run.
fn shown(arguments: &Arguments, seed: u64) -> String {
    let mut shown = arguments.scenarios.join(" ");
    let slack = Some(arguments.slack).filter(|slack| *slack > 1);
    let peer = Some(&arguments.peer).filter(|peer| *peer != "evenkeel");
    for (flag, value) in [
        ("--rate", arguments.rate.map(|rate| rate.to_string())),
        ("--seconds", arguments.seconds.map(|seconds| seconds.to_string())),
        ("--seed", Some(seed.to_string())),
        ("--slack", slack.map(|slack| slack.to_string())),
        ("--peer", peer.cloned()),
    ] {
        if let Some(value) = value {
            shown.push_str(&format!(" {flag} {value}"));
        }
    }
    shown
}

fn write_json(path: &PathBuf, reports: &[(&str, Report)]) -> Result<()> {
    let reports = reports
        .iter()
        .map(|(name, report)| json!({ "scenario": name, "report": report.json() }));
    let text = json!(reports.collect::<Vec<_>>()).to_string();
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
