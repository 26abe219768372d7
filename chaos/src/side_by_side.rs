//! Several balancers in the same scenarios, as one table: what clients saw, whatever a scenario demands of Evenkeel.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::Result;
use crate::page::{cell, write_between};
use crate::report::{Report, millis};
use crate::seen::Count;

/// The lines of the page between which the table stands.
const MARKS: [&str; 2] = [
    "<!-- side by side: written by evenkeel-chaos --peer --write -->",
    "<!-- end of side by side -->",
];

/// Names of goals and facts, and the words for them.
type Rows = &'static [(&'static str, &'static str)];
/// Goals and facts that the table shows in the last column of these scenarios.
const ALSO: &[(&[&str], Rows)] = &[
    (
        &["hang", "hang-tcp"],
        &[
            (
                "requests tried on it before it was noticed",
                "tried on the hanging backend at first",
            ),
            ("requests tried on it later", "later"),
        ],
    ),
    (
        &["cut"],
        &[(
            "cut responses that the client took for whole",
            "cut responses taken for whole",
        )],
    ),
    (
        &["all-down"],
        &[
            ("attempts while all respond 503", "attempts while all respond 503"),
            (
                "p99 of responses while all are down, in µs",
                "p99 while all are down, µs",
            ),
            (
                "first success after recovery, in µs",
                "first success after recovery, µs",
            ),
        ],
    ),
    (&["reload"], &[("configs", "configs")]),
    (
        &["upgrade"],
        &[
            ("upgrades", "upgrades"),
            (
                "upgrades with another outcome than expected",
                "with another outcome than expected",
            ),
            ("refused connects", "refused connects"),
        ],
    ),
    (
        &["drain"],
        &[
            (
                "HTTP/1.1 responses after the stop without `Connection: close`",
                "responses without `Connection: close`",
            ),
            (
                "HTTP/2 connections with two GOAWAYs, all streams and then the last one",
                "with two GOAWAYs",
            ),
            (
                "new connections served, and refused",
                "new connections served and refused",
            ),
            ("new connections accepted and not served", "not served"),
            ("cut WebSockets", "cut WebSockets"),
            ("time until the end of the process", "ended after"),
            ("exit of the process", "with"),
        ],
    ),
    (
        &["descriptors"],
        &[
            ("most connections", "limit"),
            ("most connections: the process goes on", "limit: goes on"),
            (
                "most connections: failed requests on earlier connections",
                "failed on earlier connections",
            ),
            (
                "most connections: time on a processor while full beyond that of before, in 1,000 of one",
                "‰ of a core",
            ),
            ("most connections: lines about it while full", "lines"),
            (
                "most connections: slowest response of the admin API, in µs",
                "admin API, µs",
            ),
            ("most connections: health checks", "checks"),
            (
                "most connections: a new client is served after the others have left",
                "a new client",
            ),
            ("descriptors: the process goes on", "no limit: goes on"),
            (
                "descriptors: failed requests on earlier connections",
                "failed on earlier connections",
            ),
            (
                "descriptors: time on a processor while full beyond that of before, in 1,000 of one",
                "‰ of a core",
            ),
            ("descriptors: lines about it while full", "lines"),
            (
                "descriptors: slowest response of the admin API, in µs",
                "admin API, µs",
            ),
            ("descriptors: health checks", "checks"),
            (
                "descriptors: a new client is served after the others have left",
                "a new client",
            ),
        ],
    ),
    (
        &["log-full", "log-blocked"],
        &[
            (
                "p99 of GETs while the log takes nothing, in µs",
                "p99 of GETs meanwhile, µs",
            ),
            ("time until writing resumes", "resumes after"),
            ("lines written and dropped", "lines written and dropped"),
        ],
    ),
    (&["log-full"], &[("lines that are no JSON", "no JSON")]),
    (
        &["clock"],
        &[
            ("failed requests", "failed requests"),
            ("timeouts", "timeouts"),
            ("negative durations in the access log", "negative durations"),
            ("days in the access log", "days in the log"),
        ],
    ),
];

/// No run takes this many microseconds.
const NEVER: u64 = 1_000_000_000_000;

/// A scenario with one balancer.
#[derive(Debug)]
pub struct Run {
    /// The scenario.
    pub scenario: &'static str,
    /// The balancer.
    pub peer: &'static str,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a run.
#[derive(Debug)]
pub enum Outcome {
    /// It was made.
    Made(Box<Report>),
    /// The balancer has no such thing, and why.
    NotOffered(String),
    /// It could not be carried out, and why.
    Failed(String),
}

impl Run {
    /// Whether all goals were reached, as far as the balancer offers what the scenario is about.
    pub fn has_passed(&self) -> bool {
        match &self.outcome {
            Outcome::Made(report) => report.has_passed(),
            Outcome::NotOffered(_) => true,
            Outcome::Failed(_) => false,
        }
    }

    /// The report, if it was made.
    pub fn report(&self) -> Option<&Report> {
        match &self.outcome {
            Outcome::Made(report) => Some(report),
            _ => None,
        }
    }

    /// The outcome for people.
    pub fn text(&self) -> String {
        match &self.outcome {
            Outcome::Made(report) => report.text(),
            Outcome::NotOffered(why) => format!("{} with {}: not offered: {why}\n", self.scenario, self.peer),
            Outcome::Failed(why) => format!("{} with {}: failed: {why}\n", self.scenario, self.peer),
        }
    }

    /// The outcome for programs.
    pub fn json(&self) -> Value {
        let (scenario, peer) = (self.scenario, self.peer);
        match &self.outcome {
            Outcome::Made(report) => json!({ "scenario": scenario, "peer": peer, "report": report.json() }),
            Outcome::NotOffered(why) => json!({ "scenario": scenario, "peer": peer, "not_offered": why }),
            Outcome::Failed(why) => json!({ "scenario": scenario, "peer": peer, "failed": why }),
        }
    }
}

/// Writes the table into the page at `path`, in place of the one before.
///
/// # Errors
/// The page cannot be read or written, or has no place for the table.
pub fn write(path: &Path, arguments: &str, runs: &[Run]) -> Result<()> {
    write_between(path, MARKS, &table(arguments, runs))
}

/// The table as Markdown.
fn table(arguments: &str, runs: &[Run]) -> String {
    let mut text = String::new();
    // A string takes everything.
    if let Some(report) = runs.iter().find_map(Run::report) {
        let [machine, seed] = ["machine", "seed"].map(|name| report.fact_of(name));
        let mut versions: Vec<&str> = Vec::new();
        for version in runs
            .iter()
            .filter_map(Run::report)
            .map(|report| report.fact_of("balancer"))
        {
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        let versions = versions.join(", ");
        let _ = writeln!(
            text,
            "`evenkeel-chaos {arguments}`: {versions}; {machine}, seed {seed}.\n"
        );
    }
    text.push_str(
        "| scenario | balancer | failed GETs | failed POSTs | POSTs executed twice | long-lived, cut | p99 of GETs, ms | p99 ratio | also |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for run in runs {
        let cells = match &run.outcome {
            Outcome::Made(report) => match report.skipped() {
                Some(why) => format!("skipped: {} | | | | | | ", line(why)),
                None => figures(run.scenario, report),
            },
            Outcome::NotOffered(why) => format!("not offered: {} | | | | | | ", line(why)),
            Outcome::Failed(why) => format!("failed: {} | | | | | | ", line(why)),
        };
        let _ = writeln!(
            text,
            "| `{}`{} | {} | {cells} |",
            run.scenario,
            pace(run),
            run.peer
        );
    }
    text
}

/// The load of a run.
fn pace(run: &Run) -> String {
    let [rate, duration] =
        ["rate", "duration"].map(|name| run.report().map_or("", |report| report.fact_of(name)));
    match rate {
        "" => String::new(),
        _ => format!(", {rate}, {duration}"),
    }
}

/// The cells of a report.
fn figures(scenario: &str, report: &Report) -> String {
    let seen = &report.seen;
    let of = |count: Count| match count.all {
        0 => "–".to_owned(),
        all => format!("{} of {all}", count.failed),
    };
    let ratio = seen
        .compared
        .filter(|(before, _)| *before > 0)
        .map(|(before, with)| {
            let percent = with.saturating_mul(100) / before;
            let (before, with) = (millis(before), millis(with));
            format!("{}.{:02} ({before} → {with})", percent / 100, percent % 100)
        });
    [
        of(seen.gets),
        of(seen.posts),
        seen.twice.to_string(),
        seen.long_lived.map_or_else(|| "–".to_owned(), of),
        millis(seen.p99()),
        ratio.unwrap_or_else(|| "–".to_owned()),
        also(scenario, report),
    ]
    .join(" | ")
}

/// What else the table shows of this scenario. What Evenkeel is to reach stands in the page already.
fn also(scenario: &str, report: &Report) -> String {
    let groups = ALSO.iter().filter(|(of, _)| of.contains(&scenario));
    let found = groups.flat_map(|(_, rows)| *rows).filter_map(|(name, words)| {
        // A scenario with several parts has some goals once in each.
        let goals = report.goals().iter().filter(|goal| goal.name == *name);
        let figures: Vec<&str> = goals.map(|goal| short(&goal.figure)).collect();
        let figure = if figures.is_empty() {
            report.fact_of(name).to_owned()
        } else {
            figures.join(" / ")
        };
        Some(format!("{words}: {}", cell(&figure))).filter(|_| !figure.is_empty())
    });
    found.collect::<Vec<_>>().join("; ")
}

/// A figure without its limit.
fn short(figure: &str) -> &str {
    let limits = [", at most", ", at least", ", from"];
    let end = limits.iter().filter_map(|limit| figure.find(limit)).min();
    let figure = figure.get(..end.unwrap_or(figure.len())).unwrap_or_default();
    // The time of something that has not happened.
    let is_never = figure.parse().is_ok_and(|figure: u64| figure > NEVER);
    if is_never { "none" } else { figure }
}

/// The first line of a reason.
fn line(text: &str) -> String {
    cell(text.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(peer: &'static str, outcome: Outcome) -> Run {
        Run {
            scenario: "cut",
            peer,
            outcome,
        }
    }

    fn report() -> Report {
        let mut report = Report::default();
        report.fact("balancer", "nginx 1");
        report.fact("machine", "Linux, 2 cores");
        report.fact("seed", 7);
        report.fact("rate", "300/s");
        report.fact("duration", "20 s");
        report.at_most("cut responses that the client took for whole", 2, 0);
        report.seen.gets = Count { failed: 1, all: 90 };
        report.seen.compared = Some((2_000, 5_000));
        report
    }

    #[test]
    fn what_has_not_happened_is_none() {
        let mut report = Report::default();
        let goal = "first success after recovery, in µs";
        report.at_most(goal, u64::MAX - 7, 1_250_000);
        assert_eq!(
            also("all-down", &report),
            "first success after recovery, µs: none"
        );
        let mut report = Report::default();
        report.at_most(goal, 700_000, 1_250_000);
        assert_eq!(
            also("all-down", &report),
            "first success after recovery, µs: 700000"
        );
    }

    #[test]
    fn figures_of_all_parts_are_shown_without_their_limits() {
        let mut report = Report::default();
        report.goal(
            "new connections served, and refused",
            "7 and 8, at least 1 each",
            true,
        );
        report.goal(
            "new connections served, and refused",
            "9 and 0, at least 1 each",
            false,
        );
        report.fact("new connections accepted and not served", "not offered: a reason");
        assert_eq!(
            also("drain", &report),
            "new connections served and refused: 7 and 8 / 9 and 0; not served: not offered: a reason"
        );
        assert_eq!(
            short("1003.1 to 1020.0 ms, from 900.0 to 1100.0 ms"),
            "1003.1 to 1020.0 ms"
        );
    }

    #[test]
    fn every_run_has_its_row_also_one_that_was_not_made() {
        let mut skipped = Report::default();
        skipped.fact("balancer", "nginx 1");
        skipped.skip("no clock to set");
        let runs = [
            run("nginx", Outcome::Made(Box::new(report()))),
            run("caddy", Outcome::NotOffered("no checks | at all".to_owned())),
            run("envoy", Outcome::Failed("it has ended:\nits output".to_owned())),
            run("evenkeel", Outcome::Made(Box::new(skipped))),
        ];
        let text = table("cut --peer all", &runs);
        for line in [
            "`evenkeel-chaos cut --peer all`: nginx 1; Linux, 2 cores, seed 7.",
            "| `cut`, 300/s, 20 s | nginx | 1 of 90 | – | 0 | – | 0.0 | 2.50 (2.0 → 5.0) | cut responses taken for whole: 2 |",
            "| `cut` | caddy | not offered: no checks \\| at all | | | | | |  |",
            "| `cut` | envoy | failed: it has ended: | | | | | |  |",
            "| `cut` | evenkeel | skipped: no clock to set | | | | | |  |",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        let passed = runs.each_ref().map(Run::has_passed);
        assert_eq!(passed, [false, true, false, true]);
    }
}
