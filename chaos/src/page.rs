//! The results of a run as a part of a page of the docs: what `evenkeel-chaos --write` puts between two lines of the page.
//! Everything outside of them stays as people have written it.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::{Error, Explain, Result};
use crate::report::{Report, Row, millis};

/// The line of the page after which the results begin.
const BEGIN: &str = "<!-- results: written by evenkeel-chaos --write -->";
/// The line of the page before which they end.
const END: &str = "<!-- end of results -->";

/// Replaces the results on the page at `path` by those of these scenarios, which were started with these arguments.
///
/// # Errors
/// The page cannot be read or written, or has no place for results.
pub fn write(path: &Path, arguments: &str, reports: &[(&str, &Report)]) -> Result<()> {
    write_between(path, [BEGIN, END], &results(arguments, reports))
}

/// Replaces what stands between these two lines of the page at `path`.
pub(crate) fn write_between(path: &Path, marks: [&str; 2], text: &str) -> Result<()> {
    let page = std::fs::read_to_string(path).explain(format!("cannot read {}", path.display()))?;
    let page = replace(&page, marks, text).ok_or_else(|| {
        let [begin, end] = marks;
        Error::new(format!(
            "{} has no place for results: add a line `{begin}` and after it a line `{end}`",
            path.display()
        ))
    })?;
    std::fs::write(path, page).explain(format!("cannot write {}", path.display()))
}

/// The page with this text between the marks; `None` if it has no place for it.
fn replace(page: &str, [begin, end]: [&str; 2], text: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{text}{end}{after}"))
}

/// The results as Markdown.
fn results(arguments: &str, reports: &[(&str, &Report)]) -> String {
    let mut text = String::new();
    // A string takes everything.
    if let Some((_, report)) = reports.first() {
        let [balancer, machine, seed] = ["balancer", "machine", "seed"].map(|name| report.fact_of(name));
        let _ = writeln!(
            text,
            "`evenkeel-chaos {arguments}`: {balancer}, {machine}, seed {seed}."
        );
    }
    text.push_str(
        "\n| scenario | rate | duration | goal | figure | |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for (name, report) in reports {
        let [rate, duration] = ["rate", "duration"].map(|name| report.fact_of(name));
        for goal in report.goals() {
            let word = if goal.is_reached { "ok" } else { "missed" };
            let (goal, figure) = (cell(&goal.name), cell(&goal.figure));
            let _ = writeln!(
                text,
                "| `{name}` | {rate} | {duration} | {goal} | {figure} | {word} |"
            );
        }
    }
    text.push_str(
        "\n| scenario | requests | number | failed | p50 ms | p99 ms | p99.9 ms |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (name, report) in reports {
        for table in report.tables() {
            for row in table.rows.iter().filter(|row| row.is_total) {
                let _ = writeln!(text, "| `{name}` | {} | {} |", cell(&table.name), figures(row));
            }
        }
    }
    text
}

/// Counts and latencies of a part of a run.
fn figures(row: &Row) -> String {
    let failed: usize = row.failures.values().sum();
    let [p50, p99, p999] = [row.p50, row.p99, row.p999].map(millis);
    format!("{} | {failed} | {p50} | {p99} | {p999}", row.count)
}

/// A text that ends no cell of a table.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.fact("balancer", "evenkeel 1");
        report.fact("machine", "Linux, 2 cores");
        report.fact("seed", 7);
        report.fact("rate", "300/s");
        report.fact("duration", "30 s");
        report.at_most("failed | late", 2, 1);
        report.table("all of them", &[], 0);
        report
    }

    #[test]
    fn results_replace_those_before_and_nothing_else() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = replace(&page, [BEGIN, END], "new\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(replace(&once, [BEGIN, END], "new\n"), Some(once.clone()));
    }

    #[test]
    fn a_page_without_a_place_for_results_is_not_written() {
        for page in ["", BEGIN, &format!("{END}\n{BEGIN}")] {
            assert_eq!(replace(page, [BEGIN, END], "new"), None, "{page}");
        }
    }

    #[test]
    fn every_goal_and_every_part_of_a_run_has_its_row() {
        let text = results("kill --rate 300", &[("kill", &report())]);
        for line in [
            "`evenkeel-chaos kill --rate 300`: evenkeel 1, Linux, 2 cores, seed 7.",
            "| `kill` | 300/s | 30 s | failed \\| late | 2, at most 1 | missed |",
            "| `kill` | all of them | 0 | 0 | 0.0 | 0.0 | 0.0 |",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
    }
}
