//! Draws the state: figures and charts at the top, the table of pools and backends, the last events, and a line for keys and questions.

mod footer;
mod header;
mod help;
mod style;
mod table;

use crate::clock::Instant;
use std::time::SystemTime;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};

use super::app::{App, Mode};

/// Lines of a chart: its title, and bars.
const CHART: u16 = 4;
/// Least height with charts, and with events.
const CHARTS_FROM: u16 = 20;
const EVENTS_FROM: u16 = 16;
/// Height from which on there are more events.
const TALL: u16 = 40;

/// Draws the state at this time, by the monotonic and the wall clock.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, (now, wall): (Instant, SystemTime)) {
    let area = frame.area();
    let charts = if area.height >= CHARTS_FROM { CHART } else { 0 };
    let events = match area.height {
        height if height >= TALL => 11,
        height if height >= EVENTS_FROM => 5,
        _ => 0,
    };
    let [title, figures, chart_area, rows, detail, event_area, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(charts),
        Constraint::Min(0),
        Constraint::Length(1),
        Constraint::Length(events),
        Constraint::Length(1),
    ])
    .areas(area);
    let buffer = frame.buffer_mut();
    header::title(app, title, buffer);
    header::figures(app, figures, buffer);
    header::charts(app, chart_area, buffer);
    table::draw(app, rows, buffer);
    footer::detail(app, wall, detail, buffer);
    footer::events(app, event_area, buffer);
    footer::keys(app, now, keys, buffer);
    if app.mode == Mode::Help {
        help::draw(area, buffer);
    }
}

#[cfg(test)]
mod tests;
