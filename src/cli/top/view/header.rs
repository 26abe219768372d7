//! The lines at the top: the process, its figures, and charts of requests and latency.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, Widget as _};

use super::super::app::{App, Link};
use super::super::model::Sample;
use super::super::text::{clean, count, duration, milliseconds, percent, rate};
use super::style::{BAD, BOLD, DIM, GOOD, WARNING};

/// Figures are means of this many seconds.
const RECENT: usize = 5;

/// The process and the connection to it.
pub(super) fn title(app: &App, area: Rect, buffer: &mut Buffer) {
    let process = &app.status.process;
    let state = match &app.link {
        Link::Lost(why) => Span::styled(format!("■ not connected, trying again: {}", clean(why)), BAD),
        Link::WithoutStream(why) => Span::styled(
            format!("▲ no samples and events, trying again: {}", clean(why)),
            WARNING,
        ),
        Link::Connected if process.ready => Span::styled("● ready", GOOD),
        Link::Connected => Span::styled("▲ not ready", WARNING),
    };
    let line = Line::from(vec![
        Span::styled("evenkeel top  ", BOLD),
        Span::raw(format!("{}  ", clean(&app.address))),
        state,
        Span::styled(
            format!(
                "  up {}  version {}  {}",
                duration(process.uptime_seconds),
                clean(&process.version),
                clean(&process.config.source)
            ),
            DIM,
        ),
    ]);
    line.render(area, buffer);
}

/// The figures of the last seconds.
pub(super) fn figures(app: &App, area: Rect, buffer: &mut Buffer) {
    let skipped = app.samples.len().saturating_sub(RECENT);
    let recent: Vec<&Sample> = app.samples.iter().skip(skipped).collect();
    let sum = |value: fn(&Sample) -> u64| recent.iter().map(|sample| value(sample)).sum::<u64>() as f64;
    let slowest = |value: fn(&Sample) -> Option<f64>| {
        let values = recent.iter().filter_map(|sample| value(sample));
        milliseconds(values.reduce(f64::max))
    };
    let (requests, errors) = (sum(|sample| sample.requests), sum(|sample| sample.errors));
    let per_second = if recent.is_empty() {
        0.0
    } else {
        requests / recent.len() as f64
    };
    let is_wrong = if errors > 0.0 { BAD } else { BOLD };
    // The newest of both sources: the status is older when it is asked for less often.
    let last = app.samples.back();
    let process = &app.status.process;
    let in_flight = last.map_or(process.requests.in_flight, |sample| sample.in_flight);
    let connections = last.map_or(process.connections.active, |sample| sample.connections);
    let mut spans = Vec::new();
    for (name, value, style) in [
        ("requests/s", rate(per_second), BOLD),
        ("errors", percent(errors, requests), is_wrong),
        ("p50", slowest(|sample| sample.p50_ms), BOLD),
        ("p99", slowest(|sample| sample.p99_ms), BOLD),
        ("in flight", count(in_flight), BOLD),
        ("conns", count(connections), BOLD),
    ] {
        spans.push(Span::styled(format!("{name} "), DIM));
        spans.push(Span::styled(value, style));
        spans.push(Span::raw("  "));
    }
    Line::from(spans).render(area, buffer);
}

/// Requests per second and p99 as bars, the last second on the right.
pub(super) fn charts(app: &App, area: Rect, buffer: &mut Buffer) {
    let [left, _, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let most = app.samples.iter().map(|sample| sample.requests).max();
    let retries = app.samples.back().map_or(0, |sample| sample.retries);
    let name = format!(
        "requests/s, at most {}; retries/s {}",
        count(most.unwrap_or_default()),
        count(retries)
    );
    chart(
        &name,
        app.samples.iter().map(|sample| sample.requests),
        left,
        buffer,
    );
    let p99 = |sample: &Sample| sample.p99_ms.unwrap_or_default();
    let most = app.samples.iter().map(p99).reduce(f64::max);
    let name = format!("p99, at most {}", milliseconds(most));
    let microseconds = |sample: &Sample| (p99(sample) * 1000.0) as u64;
    chart(&name, app.samples.iter().map(microseconds), right, buffer);
}

fn chart(name: &str, values: impl DoubleEndedIterator<Item = u64> + Clone, area: Rect, buffer: &mut Buffer) {
    let [heading, bars] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    Line::styled(name, DIM).render(heading, buffer);
    // The maximum of all, so that the name says what a full bar is.
    let most = values.clone().max().unwrap_or_default().max(1);
    let zeros = std::iter::repeat(0);
    let mut shown: Vec<u64> = values.rev().chain(zeros).take(bars.width.into()).collect();
    shown.reverse();
    Sparkline::default().data(shown).max(most).render(bars, buffer);
}
