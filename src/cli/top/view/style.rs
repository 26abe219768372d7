//! Styles. A colour never says anything that no word or sign says; `NO_COLOR` turns colours off.

use ratatui::style::{Color, Modifier, Style};

use crate::admin::BackendState;

/// Names of figures, and what is less important.
pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
/// Headings.
pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
/// The selected row, and the line of questions.
pub(super) const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);
/// What is as it should be.
pub(super) const GOOD: Style = Style::new().fg(Color::Green);
/// What needs to be looked at.
pub(super) const WARNING: Style = Style::new().fg(Color::Yellow);
/// What is wrong.
pub(super) const BAD: Style = Style::new().fg(Color::Red);
/// What somebody has decided.
pub(super) const CHOSEN: Style = Style::new().fg(Color::Blue);

/// The style of a state.
pub(super) fn of_state(state: BackendState) -> Style {
    match state {
        BackendState::Up => GOOD,
        BackendState::Unknown => Style::new(),
        BackendState::Down => BAD,
        BackendState::Ejected => WARNING,
        BackendState::Draining => CHOSEN,
    }
}

/// The style of a level of the log.
pub(super) fn of_level(level: &str) -> Style {
    match level {
        "ERROR" => BAD,
        "WARN" => WARNING,
        _ => DIM,
    }
}
