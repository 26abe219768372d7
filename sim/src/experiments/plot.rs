//! The plots: one for each situation, with the latencies and errors of every strategy, and an overview of all situations.

use evenkeel_balance::strategy::STRATEGIES;

use crate::clock::Time;
use crate::sample::ln;

use super::page::{errors, errors_short, latency};
use super::svg::{Anchor, Svg, WIDTH};
use super::{Measured, Row, SITUATIONS, Situation};

/// The latencies that the axis shows, in milliseconds, and its labels.
const AXIS: (f64, f64) = (3.0, 10_000.0);
const TICKS: [(f64, &str); 8] = [
    (5.0, "5 ms"),
    (10.0, "10"),
    (20.0, "20"),
    (50.0, "50"),
    (100.0, "100"),
    (500.0, "500"),
    (1_000.0, "1 s"),
    (5_000.0, "5 s"),
];

/// Where the axis begins and ends.
const PLOT: (f64, f64) = (150.0, 690.0);
const LINE: f64 = 30.0;

/// The plot of one situation: a line for each strategy, from the median to the 99.9th percentile, and its errors.
pub(super) fn situation(situation: &Situation, row: &Row) -> String {
    let title = format!("{}: latency of successful requests, and errors", situation.title);
    let top = 92.0;
    let bottom = top + LINE * row.len() as f64;
    let mut svg = Svg::new(bottom + 56.0, &title);
    svg.text((20.0, 32.0), Anchor::Start, "title", situation.title);
    legend(&mut svg, 60.0);
    svg.text((WIDTH - 20.0, 78.0), Anchor::End, "note", "errors");
    for number in (0..row.len()).step_by(2) {
        let y = top + LINE * number as f64;
        svg.rect((12.0, y), (WIDTH - 24.0, LINE), "band");
    }
    for (millis, label) in TICKS {
        let x = place(millis);
        svg.line((x, top), (x, bottom), "grid");
        svg.text((x, bottom + 18.0), Anchor::Middle, "note", label);
    }
    let middle = f64::midpoint(PLOT.0, PLOT.1);
    let axis = "latency of successful requests (logarithmic; further left is better)";
    svg.text((middle, bottom + 40.0), Anchor::Middle, "note", axis);
    for ((entry, measured), number) in STRATEGIES.iter().zip(row).zip(0..) {
        let y = top + LINE * (f64::from(number) + 0.5);
        svg.text((20.0, y + 5.0), Anchor::Start, "", entry.name);
        let [p50, p99, p999] = [measured.p50, measured.p99, measured.p999].map(millis).map(place);
        svg.line((p50, y), (p999, y), "range");
        // The median is drawn last: where marks overlap, that of the most requests is seen.
        for (x, quantity) in [(p999, 2), (p99, 1), (p50, 0)] {
            svg.mark((x, y), quantity);
        }
        let class = if measured.errors > 0.0 { "strong" } else { "note" };
        svg.text(
            (WIDTH - 20.0, y + 5.0),
            Anchor::End,
            class,
            errors(measured.errors),
        );
    }
    svg.finish()
}

fn legend(svg: &mut Svg, y: f64) {
    let entries = [
        (20.0, "half of the requests are faster (p50)"),
        (290.0, "99 of 100 are (p99)"),
        (455.0, "999 of 1,000 are (p99.9)"),
    ];
    for ((x, text), quantity) in entries.into_iter().zip(0..) {
        svg.mark((x + 8.0, y - 5.0), quantity);
        svg.text((x + 22.0, y), Anchor::Start, "note", text);
    }
}

/// Columns of the overview begin here, and are this wide.
const COLUMNS: f64 = 130.0;

/// The overview: the 99th percentile and the errors of every strategy in every situation.
pub(super) fn overview(rows: &[Row]) -> String {
    let width = (WIDTH - 14.0 - COLUMNS) / rows.len() as f64;
    let (top, height) = (156.0, 44.0);
    let bottom = top + height * STRATEGIES.len() as f64;
    let mut svg = Svg::new(
        bottom + 70.0,
        "p99 and errors of every strategy in every situation",
    );
    svg.text(
        (20.0, 32.0),
        Anchor::Start,
        "title",
        "p99 latency and errors of every strategy in every situation",
    );
    for ((situation, row), column) in SITUATIONS.iter().zip(rows).zip(0..) {
        let x = COLUMNS + width * f64::from(column);
        let centre = x + width / 2.0;
        for (word, line) in lines(situation.title).iter().zip(0..) {
            let y = 62.0 + 16.0 * f64::from(line);
            svg.text((centre, y), Anchor::Middle, "note", word);
        }
        for (measured, number) in row.iter().zip(0..) {
            let y = top + height * f64::from(number);
            svg.rect(
                (x + 1.5, y + 1.5),
                (width - 3.0, height - 3.0),
                class(measured, row),
            );
            svg.text((centre, y + 19.0), Anchor::Middle, "", latency(measured.p99));
            if measured.errors > 0.0 {
                svg.text(
                    (centre, y + 36.0),
                    Anchor::Middle,
                    "strong",
                    errors_short(measured.errors),
                );
            }
        }
    }
    for (entry, number) in STRATEGIES.iter().zip(0..) {
        let y = top + height * (f64::from(number) + 0.5) + 5.0;
        svg.text((20.0, y), Anchor::Start, "", entry.name);
    }
    let legend = [
        ("good", "near the best of its column"),
        ("fair", "p99 over 1.5 times the best, or 0.005 % more errors"),
        ("poor", "p99 over 4 times, or 0.1 % more errors"),
        ("bad", "p99 over 20 times, or 2 % more errors"),
    ];
    let places = [(20.0, 18.0), (370.0, 18.0), (20.0, 40.0), (370.0, 40.0)];
    for ((class, text), (x, y)) in legend.into_iter().zip(places) {
        svg.rect((x, bottom + y), (14.0, 14.0), class);
        svg.text((x + 20.0, bottom + y + 12.0), Anchor::Start, "note", text);
    }
    svg.finish()
}

/// How good a strategy is, compared with the best in its situation.
fn class(measured: &Measured, row: &Row) -> &'static str {
    let best = row.iter().map(|other| millis(other.p99)).fold(f64::MAX, f64::min);
    let least = row.iter().map(|other| other.errors).fold(1.0, f64::min);
    let (ratio, errors) = (millis(measured.p99) / best, measured.errors - least);
    let levels = [("bad", 20.0, 0.02), ("poor", 4.0, 0.001), ("fair", 1.5, 0.000_05)];
    let level = levels
        .into_iter()
        .find(|(_, most, part)| ratio > *most || errors > *part);
    level.map_or("good", |(class, ..)| class)
}

/// A title in lines of one or two words.
fn lines(title: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in title.split(' ') {
        match lines.last_mut().filter(|line| line.len() + word.len() < 10) {
            Some(line) => *line = format!("{line} {word}"),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Where a latency is on the axis.
fn place(millis: f64) -> f64 {
    let (least, most) = AXIS;
    let part = ln(millis.clamp(least, most) / least) / ln(most / least);
    PLOT.0 + part * (PLOT.1 - PLOT.0)
}

fn millis(time: Time) -> f64 {
    time.0 as f64 / 1e6
}
