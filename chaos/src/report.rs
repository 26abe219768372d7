//! The report of a run: counts, latencies, failures with their reasons, and whether each goal was reached.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::client::{Class, Failure, Method, Record};
use crate::seen::Seen;

/// Failures of a table that are listed one by one; all are counted.
const MOST_LISTED: usize = 5;

/// The outcome of a scenario.
#[derive(Debug, Default)]
pub struct Report {
    facts: Vec<(String, String)>,
    tables: Vec<Table>,
    goals: Vec<Goal>,
    failures: Vec<String>,
    skipped: Option<String>,
    /// What clients saw, whatever the scenario is about.
    pub(crate) seen: Seen,
}

/// Counts and latencies of one part of a run.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    /// Whether it has all requests of its table.
    pub(crate) is_total: bool,
    pub(crate) count: usize,
    pub(crate) failures: BTreeMap<Failure, usize>,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
}

/// Something that must hold.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) name: String,
    pub(crate) figure: String,
    pub(crate) is_reached: bool,
}

impl Report {
    /// Adds a fact: a setting, a version, or a figure that is not judged.
    pub fn fact(&mut self, name: impl Into<String>, value: impl ToString) {
        self.facts.push((name.into(), value.to_string()));
    }

    /// Adds a goal with the figure that decides it.
    pub fn goal(&mut self, name: impl Into<String>, figure: impl ToString, is_reached: bool) {
        self.goals.push(Goal {
            name: name.into(),
            figure: figure.to_string(),
            is_reached,
        });
    }

    /// The scenario cannot be run on this machine, for this reason, and nothing is judged.
    pub fn skip(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        self.fact("skipped", &reason);
        self.skipped = Some(reason);
    }

    /// Why the scenario was not run, if it was not.
    pub fn skipped(&self) -> Option<&str> {
        self.skipped.as_deref()
    }

    /// A goal whose figure is at most `most`.
    pub fn at_most(&mut self, name: &str, figure: u64, most: u64) {
        self.goal(name, format!("{figure}, at most {most}"), figure <= most);
    }

    /// Adds counts and latencies of these requests, and lists those that failed, with times since `start`.
    pub fn table(&mut self, name: impl Into<String>, records: &[Record], start: u64) {
        let name = name.into();
        let mut rows = Vec::new();
        for method in [Method::Get, Method::Post] {
            for class in Class::ALL {
                let of = records
                    .iter()
                    .filter(|record| record.method == method && record.class == class);
                let of: Vec<&Record> = of.collect();
                if !of.is_empty() {
                    rows.push(Row::new(format!("{} {}", method.name(), class.name()), &of));
                }
            }
        }
        rows.push(Row {
            is_total: true,
            ..Row::new("all".to_owned(), &records.iter().collect::<Vec<_>>())
        });
        let failed = records.iter().filter(|record| !record.is_ok() && !record.is_cut);
        self.failures.extend(
            failed
                .take(MOST_LISTED)
                .map(|record| format!("{name}: {}", describe(record, start))),
        );
        self.tables.push(Table { name, rows });
    }

    /// The value of a fact; empty if it was not added.
    pub(crate) fn fact_of(&self, name: &str) -> &str {
        let fact = self.facts.iter().find(|(known, _)| known == name);
        fact.map_or("", |(_, value)| value)
    }

    /// All goals.
    pub(crate) fn goals(&self) -> &[Goal] {
        &self.goals
    }

    /// All tables.
    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Whether all goals were reached.
    pub fn has_passed(&self) -> bool {
        self.goals.iter().all(|goal| goal.is_reached)
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A string takes everything.
        for (name, value) in &self.facts {
            let _ = writeln!(text, "{name}: {value}");
        }
        for table in &self.tables {
            let _ = writeln!(
                text,
                "\n{:28} {:>8} {:>8} {:>9} {:>9} {:>9}",
                table.name, "requests", "failed", "p50 ms", "p99 ms", "p99.9 ms"
            );
            for row in &table.rows {
                let failed: usize = row.failures.values().sum();
                let [p50, p99, p999] = [row.p50, row.p99, row.p999].map(millis);
                let (name, count) = (&row.name, row.count);
                let _ = writeln!(
                    text,
                    "{name:28} {count:>8} {failed:>8} {p50:>9} {p99:>9} {p999:>9}"
                );
                for (failure, count) in &row.failures {
                    let _ = writeln!(text, "  {count} × {failure}");
                }
            }
        }
        if !self.failures.is_empty() {
            let _ = writeln!(text, "\nfirst failures");
        }
        for line in &self.failures {
            let _ = writeln!(text, "  {line}");
        }
        text.push('\n');
        for goal in &self.goals {
            let word = if goal.is_reached { "ok    " } else { "MISSED" };
            let _ = writeln!(text, "{word} {}: {}", goal.name, goal.figure);
        }
        text
    }

    /// The report for programs.
    pub fn json(&self) -> Value {
        let facts: BTreeMap<_, _> = self.facts.iter().cloned().collect();
        let tables = self.tables.iter().map(|table| {
            let rows: Vec<Value> = table.rows.iter().map(Row::json).collect();
            json!({ "name": table.name, "rows": rows })
        });
        let goals = self
            .goals
            .iter()
            .map(|goal| json!({ "name": goal.name, "figure": goal.figure, "reached": goal.is_reached }));
        json!({
            "facts": facts,
            "tables": tables.collect::<Vec<_>>(),
            "failures": self.failures,
            "goals": goals.collect::<Vec<_>>(),
            "seen": self.seen.json(),
            "passed": self.has_passed(),
        })
    }
}

impl Row {
    fn new(name: String, records: &[&Record]) -> Self {
        let mut failures = BTreeMap::new();
        for failure in records.iter().filter_map(|record| record.failure) {
            *failures.entry(failure).or_default() += 1;
        }
        let latencies: Vec<u64> = records.iter().map(|record| record.latency()).collect();
        let [p50, p99, p999] = [500, 990, 999].map(|permille| quantile(&latencies, permille));
        Self {
            name,
            is_total: false,
            count: records.len(),
            failures,
            p50,
            p99,
            p999,
        }
    }

    fn json(&self) -> Value {
        let failures: BTreeMap<String, usize> = self
            .failures
            .iter()
            .map(|(failure, count)| (failure.to_string(), *count))
            .collect();
        json!({
            "name": self.name, "requests": self.count, "failures": failures,
            "p50_us": self.p50, "p99_us": self.p99, "p999_us": self.p999,
        })
    }
}

/// The value that `permille` of 1,000 values do not exceed; 0 without values.
pub fn quantile(values: &[u64], permille: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * permille).div_ceil(1_000);
    let index = rank.saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

/// Microseconds as milliseconds, for people.
pub fn millis(micros: u64) -> String {
    format!("{}.{}", micros / 1_000, micros % 1_000 / 100)
}

fn describe(record: &Record, start: u64) -> String {
    let failure = record
        .failure
        .map(|failure| failure.to_string())
        .unwrap_or_default();
    format!(
        "{} {:016x} over {}, due at {} ms: {failure} after {} ms",
        record.method.name(),
        record.nonce,
        record.class.name(),
        record.due.saturating_sub(start) / 1_000,
        millis(record.latency())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<u64> = (1..=1_000).rev().collect();
        assert_eq!(quantile(&values, 500), 500);
        assert_eq!(quantile(&values, 990), 990);
        assert_eq!(quantile(&[7], 999), 7);
        assert_eq!(quantile(&[], 500), 0);
    }

    #[test]
    fn one_missed_goal_fails_the_report() {
        let mut report = Report::default();
        report.at_most("failed", 0, 0);
        assert!(report.has_passed());
        report.at_most("late", 2, 1);
        assert!(!report.has_passed());
        assert!(
            report.text().contains("MISSED late: 2, at most 1"),
            "{}",
            report.text()
        );
    }
}
