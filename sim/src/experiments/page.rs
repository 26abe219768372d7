//! The generated part of the page: what strategies there are, and what was measured.

use std::fmt::Write;

use evenkeel_balance::strategy::STRATEGIES;

use crate::clock::Time;

use super::{IMAGES, Measured, Row, SITUATIONS};

/// The page, from the root of the repository.
pub const PAGE: &str = "docs/strategies.md";

/// The line before the generated part.
pub const BEGIN: &str = "<!-- begin: written by `cargo run --bin evenkeel-sim -- experiments` -->";

/// The line after it.
pub const END: &str = "<!-- end -->";

/// The page with these results in its generated part; `None` if it lacks the markers.
pub(super) fn with_results(page: &str, rows: &[Row], seed: u64) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}{END}{after}", results(rows, seed)))
}

/// The lines of the generated part that do not depend on what was measured: headings, plots, and the names in the tables.
pub fn structure(part: &str) -> Vec<&str> {
    let first_cell = |line: &'_ str| {
        line.starts_with("| `")
            .then(|| line.split(" |").next())
            .flatten()
            .map(str::len)
    };
    let kept = part.lines().filter_map(|line| match first_cell(line) {
        Some(length) => line.get(..length),
        None if line.starts_with('#') || line.starts_with("![") => Some(line),
        None => None,
    });
    kept.collect()
}

fn results(rows: &[Row], seed: u64) -> String {
    let mut text = String::new();
    let folder = IMAGES.strip_prefix("docs/").unwrap_or(IMAGES);
    let requests = rows
        .iter()
        .flatten()
        .map(|measured| measured.requests)
        .max()
        .unwrap_or(0);
    add(&mut text, "\n### Overview\n");
    add(
        &mut text,
        &format!("![p99 latency and errors of every strategy in every situation]({folder}/overview.svg)\n"),
    );
    add(
        &mut text,
        &format!(
            "Seed {seed}; up to {} requests for each strategy and situation.\n",
            thousands(requests)
        ),
    );
    for (situation, row) in SITUATIONS.iter().zip(rows) {
        add(&mut text, &format!("### {}\n", situation.title));
        add(&mut text, &format!("{}\n", situation.text));
        let (title, name) = (situation.title, situation.name);
        add(
            &mut text,
            &format!("![{title}: latency and errors of every strategy]({folder}/{name}.svg)\n"),
        );
        add(
            &mut text,
            "| strategy | p50 | p99 | p99.9 | errors |\n| --- | ---: | ---: | ---: | ---: |",
        );
        for (entry, measured) in STRATEGIES.iter().zip(row) {
            let Measured { p50, p99, p999, .. } = *measured;
            let [p50, p99, p999] = [p50, p99, p999].map(latency);
            add(
                &mut text,
                &format!(
                    "| `{}` | {p50} | {p99} | {p999} | {} |",
                    entry.name,
                    errors(measured.errors)
                ),
            );
        }
        text.push('\n');
    }
    text
}

fn add(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

/// A latency for people, with three digits at most.
pub(super) fn latency(time: Time) -> String {
    let millis = time.0 as f64 / 1e6;
    match time.0 {
        0..10_000_000 => format!("{millis:.1} ms"),
        10_000_000..999_500_000 => format!("{millis:.0} ms"),
        _ => format!("{:.2} s", millis / 1e3),
    }
}

/// A part of requests for people.
pub(super) fn errors(part: f64) -> String {
    match part * 100.0 {
        0.0 => "0".to_owned(),
        percent if percent < 0.01 => format!("{percent:.4} %"),
        percent if percent < 1.0 => format!("{percent:.3} %"),
        percent => format!("{percent:.1} %"),
    }
}

/// The same in few letters.
pub(super) fn errors_short(part: f64) -> String {
    match part * 100.0 {
        percent if percent < 0.01 => "<0.01 %".to_owned(),
        percent if percent < 1.0 => format!("{percent:.2} %"),
        percent => format!("{percent:.1} %"),
    }
}

fn thousands(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_people_read() {
        assert_eq!(latency(Time(9_440_000)), "9.4 ms");
        assert_eq!(latency(Time(123_600_000)), "124 ms");
        assert_eq!(latency(Time(2_004_000_000)), "2.00 s");
        assert_eq!(
            [0.0, 0.000_02, 0.001_5, 0.123].map(errors),
            ["0", "0.0020 %", "0.150 %", "12.3 %"]
        );
        assert_eq!(thousands(120_034), "120,034");
    }

    #[test]
    fn only_the_part_between_the_markers_changes() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nz\n");
        let written = with_results(&page, &[], 7).unwrap();
        assert!(written.starts_with(&format!("a\n{BEGIN}\n")) && written.ends_with(&format!("{END}\nz\n")));
        assert!(!written.contains("old") && written.contains("Seed 7"));
        assert_eq!(with_results("a\n", &[], 7), None);
    }
}
