//! The table of pools and backends, scrolled so that the selected backend is visible.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::super::app::App;
use super::super::order::{Order, share};
use super::super::rates::Rate;
use super::super::rows::Row;
use super::super::text::{clean, count, milliseconds, percent, rate, state_sign, state_word};
use super::style::{BAD, BOLD, DIM, REVERSED, of_state};
use crate::admin::{BackendState, BackendStatus, PoolStatus};

/// A column of figures, after the backend and its state.
struct Column {
    name: &'static str,
    width: usize,
    /// Least width of the table with this column.
    from: u16,
    /// By what it is sorted.
    order: Option<Order>,
    value: fn(&BackendStatus, Option<Rate>) -> String,
}

const COLUMNS: [Column; 6] = [
    Column {
        name: "req/s",
        width: 7,
        from: 0,
        order: Some(Order::Attempts),
        value: |_, its_rate| its_rate.map_or("–".to_owned(), |its| rate(its.attempts)),
    },
    Column {
        name: "failed",
        width: 6,
        from: 0,
        order: Some(Order::Failures),
        value: |_, its_rate| its_rate.map_or("–".to_owned(), |its| percent(its.failures, its.attempts)),
    },
    Column {
        name: "in fl.",
        width: 6,
        from: 0,
        order: Some(Order::InFlight),
        value: |backend, _| count(backend.in_flight),
    },
    Column {
        name: "p50",
        width: 8,
        from: 100,
        order: None,
        value: |backend, _| milliseconds(backend.latency_ms.map(|latency| latency.p50)),
    },
    Column {
        name: "p99",
        width: 8,
        from: 0,
        order: Some(Order::Latency),
        value: |backend, _| milliseconds(backend.latency_ms.map(|latency| latency.p99)),
    },
    Column {
        name: "weight",
        width: 6,
        from: 0,
        order: None,
        value: |backend, _| count(backend.weight.into()),
    },
];

/// Width of the state: the longest word, and its sign.
const STATE: usize = 11;
/// Least width of the names, and the largest one.
const NAMES: (usize, usize) = (12, 48);
/// Least width of the table with reasons.
const REASONS_FROM: u16 = 120;

/// Draws the table.
pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let rows = app.rows();
    let shape = Shape::new(area.width, &rows);
    let [heading, body] = split(area);
    shape.heading(app.order).render(heading, buffer);
    if rows.is_empty() {
        let text = match app.filter.as_str() {
            "" => "no pools".to_owned(),
            filter => format!("nothing matches {}", clean(filter)),
        };
        return Line::styled(text, DIM).render(body, buffer);
    }
    let selected = app.selected(&rows);
    let height = usize::from(body.height);
    let offset = offset(rows.len(), selected.unwrap_or_default(), height);
    let visible = rows.iter().enumerate().skip(offset).take(height);
    for (y, (index, row)) in (body.y..).zip(visible) {
        let line = match row {
            Row::Pool(pool, its_rate) => of_pool(pool, *its_rate),
            Row::Backend(_, backend, its_rate) => shape.of_backend(backend, *its_rate),
        };
        let at = Rect { y, height: 1, ..body };
        line.render(at, buffer);
        if Some(index) == selected {
            buffer.set_style(at, REVERSED);
        }
    }
}

fn split(area: Rect) -> [Rect; 2] {
    let heading = area.height.min(1);
    [
        Rect {
            height: heading,
            ..area
        },
        Rect {
            y: area.y + heading,
            height: area.height - heading,
            ..area
        },
    ]
}

/// The first visible of `count` rows. The selected one is in the middle, except near the ends.
fn offset(count: usize, selected: usize, height: usize) -> usize {
    selected
        .saturating_sub(height / 2)
        .min(count.saturating_sub(height))
}

/// The widths of the columns.
struct Shape {
    names: usize,
    columns: Vec<&'static Column>,
    has_reasons: bool,
}

impl Shape {
    fn new(width: u16, rows: &[Row<'_>]) -> Self {
        let columns: Vec<&Column> = COLUMNS.iter().filter(|column| column.from <= width).collect();
        let figures: usize = columns.iter().map(|column| column.width + 1).sum();
        let left = usize::from(width).saturating_sub(figures + STATE + 1);
        let names = rows.iter().filter_map(Row::backend);
        let longest = names.map(|backend| name(backend).chars().count()).max();
        let has_reasons = width >= REASONS_FROM;
        let wanted = if has_reasons {
            longest.unwrap_or_default()
        } else {
            left
        };
        Self {
            names: wanted.clamp(NAMES.0, left.min(NAMES.1).max(NAMES.0)),
            columns,
            has_reasons,
        }
    }

    fn heading(&self, order: Order) -> Line<'static> {
        let mut text = format!("{} {}", left("pool / backend", self.names), left("state", STATE));
        for column in &self.columns {
            text.push(' ');
            text.push_str(&right(column.name, column.width));
        }
        if self.has_reasons {
            text.push_str("  why");
        }
        let mut line = Line::styled(text, BOLD);
        let is_shown = self.columns.iter().any(|column| column.order == Some(order));
        if is_shown || order == Order::State {
            line.push_span(Span::styled(format!("  by {}", order.name()), DIM));
        }
        line
    }

    fn of_backend(&self, backend: &BackendStatus, its_rate: Option<Rate>) -> Line<'static> {
        let state = format!("{} {}", state_sign(backend.state), state_word(backend.state));
        let mut spans = vec![
            Span::raw(left(&name(backend), self.names)),
            Span::raw(" "),
            Span::styled(left(&state, STATE), of_state(backend.state)),
        ];
        let has_failures = share(its_rate.unwrap_or_default()) > 0.0;
        for column in &self.columns {
            let is_bad = column.order == Some(Order::Failures) && has_failures;
            let style = if is_bad { BAD } else { Style::new() };
            let value = right(&(column.value)(backend, its_rate), column.width);
            spans.push(Span::raw(" "));
            spans.push(Span::styled(value, style));
        }
        if let Some(why) = backend.why.as_ref().filter(|_| self.has_reasons) {
            spans.push(Span::raw("  "));
            spans.push(Span::raw(clean(why)));
        }
        Line::from(spans)
    }
}

/// The row of a pool: what its backends do together.
fn of_pool(pool: &PoolStatus, its_rate: Rate) -> Line<'static> {
    let mut spans = vec![Span::styled(clean(&pool.name), BOLD), Span::raw("  ")];
    for (state, number) in states(pool) {
        let text = format!("{} {number} {}  ", state_sign(state), state_word(state));
        spans.push(Span::styled(text, of_state(state)));
    }
    let mut facts = vec![
        format!("{}/s", rate(its_rate.attempts)),
        format!("failed {}", percent(its_rate.failures, its_rate.attempts)),
        format!("queue {}", count(pool.queue.depth)),
        format!("retries left {}", count(pool.retry_tokens.into())),
        clean(&pool.strategy),
    ];
    if pool.queue.waited_ms.is_some() {
        facts.insert(3, format!("waited {}", milliseconds(pool.queue.waited_ms)));
    }
    spans.push(Span::styled(facts.join("  "), DIM));
    Line::from(spans)
}

/// How many backends are in which state; states without any are left out.
fn states(pool: &PoolStatus) -> impl Iterator<Item = (BackendState, usize)> {
    const ALL: [BackendState; 5] = [
        BackendState::Up,
        BackendState::Unknown,
        BackendState::Down,
        BackendState::Ejected,
        BackendState::Draining,
    ];
    let counts = ALL.into_iter().map(|state| {
        let backends = pool.backends.iter();
        (state, backends.filter(|backend| backend.state == state).count())
    });
    counts.filter(|(_, count)| *count > 0)
}

/// The name of a backend in the table.
fn name(backend: &BackendStatus) -> String {
    let mut text = format!("  {}", clean(&backend.url));
    if let Some(name) = &backend.name {
        text = format!("  {} {}", clean(name), clean(&backend.url));
    }
    if backend.backup {
        text.push_str(" (backup)");
    }
    text
}

/// Text of exactly this width, from its left.
fn left(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return format!("{text:width$}");
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(['…']).collect()
}

fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}
