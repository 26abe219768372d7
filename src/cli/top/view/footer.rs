//! The lines below the table: the selected backend, the last events, and keys, questions and results.

use crate::clock::Instant;
use std::time::SystemTime;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::super::app::{App, Mode};
use super::super::model::{Action, Verb};
use super::super::rows::Row;
use super::super::text::{self, ago, clean, state_sign, state_word, time_of_day};
use super::style::{BAD, BOLD, DIM, GOOD, REVERSED, of_level, of_state};
use crate::admin::{BackendStatus, PoolStatus};

/// The selected backend: its state, since when and why.
pub(super) fn detail(app: &App, wall: SystemTime, area: Rect, buffer: &mut Buffer) {
    let rows = app.rows();
    let selected = app.selected(&rows).and_then(|at| rows.get(at));
    if let Some(Row::Backend(pool, backend, _)) = selected {
        of_backend(pool, backend, wall).render(area, buffer);
    }
}

fn of_backend(pool: &PoolStatus, backend: &BackendStatus, wall: SystemTime) -> Line<'static> {
    let state = format!("{} {}", state_sign(backend.state), state_word(backend.state));
    let mut facts = Vec::new();
    facts.extend(ago(&backend.since, wall).map(|time| format!("for {time}")));
    facts.extend(backend.why.as_deref().map(clean));
    if let Some(until) = &backend.ejected_until {
        facts.push(format!("until {} UTC", clean(time_of_day(&until.0))));
    }
    if let Some(check) = &backend.last_check {
        let result = if check.healthy { "passed" } else { "failed" };
        facts.push(format!("last check {result}"));
    }
    if backend.effective_weight < f64::from(backend.weight) {
        facts.push(format!("weight {} for now", text::rate(backend.effective_weight)));
    }
    Line::from(vec![
        Span::styled(format!("{} › {}  ", clean(&pool.name), clean(&backend.url)), BOLD),
        Span::styled(state, of_state(backend.state)),
        Span::raw(format!(" {}", facts.join(", "))),
    ])
}

/// The last events, the latest at the bottom.
pub(super) fn events(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(count) = usize::from(area.height).checked_sub(1) else {
        return;
    };
    let at = |y| Rect { y, height: 1, ..area };
    Line::styled("events, in UTC", DIM).render(at(area.y), buffer);
    let skipped = app.events.len().saturating_sub(count);
    for (y, event) in (area.y + 1..).zip(app.events.iter().skip(skipped)) {
        let line = Line::from(vec![
            Span::styled(format!("{} ", clean(time_of_day(&event.time))), DIM),
            Span::styled(format!("{:<5} ", clean(&event.level)), of_level(&event.level)),
            Span::raw(text::event(event)),
        ]);
        line.render(at(y), buffer);
    }
}

/// What is asked, what has been done, or which keys there are.
pub(super) fn keys(app: &App, now: Instant, area: Rect, buffer: &mut Buffer) {
    let line = match (&app.mode, app.notice(now)) {
        (Mode::Confirm(action), _) => {
            buffer.set_style(area, REVERSED);
            Line::from(question(app, action))
        }
        (Mode::Filter, _) => Line::from(vec![
            Span::styled("filter: ", BOLD),
            Span::raw(clean(&app.filter)),
            Span::styled(" ", REVERSED),
            Span::styled("  Enter keeps it, Esc removes it", DIM),
        ]),
        (_, Some(Ok(done))) => Line::styled(format!("done: {}", clean(done)), GOOD),
        (_, Some(Err(why))) => Line::styled(format!("refused: {}", clean(why)), BAD),
        _ => {
            let mut text = format!(
                "↑↓ select  s sort: {}  / filter  d drain  r ready  ? help  q quit",
                app.order.name()
            );
            if !app.filter.is_empty() {
                text = format!("filter: {}, Esc removes it  {text}", clean(&app.filter));
            }
            Line::styled(text, DIM)
        }
    };
    line.render(area, buffer);
}

fn question(app: &App, Action { verb, backend }: &Action) -> String {
    let (url, pool) = (clean(&backend.url), clean(&backend.pool));
    match verb {
        Verb::Drain => {
            let in_flight = app.backend(backend).map_or(0, |status| status.in_flight);
            format!("Drain? y/n  {url} of pool {pool}: no new requests, {in_flight} in flight will end")
        }
        Verb::Ready => format!("Ready? y/n  {url} of pool {pool}: gets requests again"),
    }
}
