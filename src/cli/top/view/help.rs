//! The help: all keys, in a window over the rest.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Widget as _};

use super::super::keys::KEYS;
use super::style::BOLD;

/// Width and height of the window.
const SIZE: (u16, u16) = (78, KEYS.len() as u16 + 4);

/// Draws the window in the middle of `area`.
pub(super) fn draw(area: Rect, buffer: &mut Buffer) {
    let (width, height) = (SIZE.0.min(area.width), SIZE.1.min(area.height));
    let window = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let mut lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, what)| Line::from(vec![Span::styled(format!("{key:<15}"), BOLD), Span::raw(*what)]))
        .collect();
    lines.push(Line::default());
    lines.push(Line::raw(
        "Requests and failures of backends are attempts. Any key closes this.",
    ));
    Clear.render(window, buffer);
    let text = Paragraph::new(lines).block(Block::bordered().title(" Keys "));
    text.render(window, buffer);
}
