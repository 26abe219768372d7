//! What the keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::app::{App, Mode};
use super::model::{Action, Verb};

/// Backends that Page Up and Page Down move by.
const PAGE: isize = 10;

/// The keys and what they do, for the help.
pub(super) const KEYS: [(&str, &str); 10] = [
    ("↑ ↓, k j", "select a backend"),
    ("PgUp PgDn", "ten backends up or down"),
    ("Home End, g G", "the first or the last backend"),
    (
        "s",
        "next order: config, state, requests, failures, p99, in flight",
    ),
    ("/", "filter by pool, backend, state or reason"),
    ("Esc", "remove the filter"),
    ("d", "drain the selected backend: it gets no new requests"),
    ("r", "make a drained backend ready again"),
    ("?", "this help"),
    ("q, Ctrl-C", "quit"),
];

/// What follows a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Nothing but what is shown.
    Show,
    /// This is done.
    Act(Action),
    /// `top` ends.
    Quit,
}

/// Takes a key.
pub(super) fn press(app: &mut App, key: KeyEvent) -> Reaction {
    if key.kind == KeyEventKind::Release {
        return Reaction::Show;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Reaction::Quit,
            _ => Reaction::Show,
        };
    }
    match app.mode.clone() {
        Mode::Browse => browse(app, key.code),
        Mode::Filter => {
            filter(app, key.code);
            Reaction::Show
        }
        Mode::Confirm(action) => {
            app.mode = Mode::Browse;
            // Any other key is a no.
            match key.code {
                KeyCode::Char('y' | 'Y') => Reaction::Act(action),
                _ => Reaction::Show,
            }
        }
        Mode::Help => {
            app.mode = Mode::Browse;
            Reaction::Show
        }
    }
}

fn browse(app: &mut App, code: KeyCode) -> Reaction {
    match code {
        KeyCode::Char('q') => return Reaction::Quit,
        KeyCode::Up | KeyCode::Char('k') => app.move_by(-1),
        KeyCode::Down | KeyCode::Char('j') => app.move_by(1),
        KeyCode::PageUp => app.move_by(-PAGE),
        KeyCode::PageDown => app.move_by(PAGE),
        KeyCode::Home | KeyCode::Char('g') => app.move_by(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => app.move_by(isize::MAX),
        KeyCode::Char('s') => app.order = app.order.next(),
        KeyCode::Char('/') => app.mode = Mode::Filter,
        KeyCode::Esc => app.filter.clear(),
        KeyCode::Char('d') => app.ask(Verb::Drain),
        KeyCode::Char('r') => app.ask(Verb::Ready),
        KeyCode::Char('?') => app.mode = Mode::Help,
        _ => {}
    }
    Reaction::Show
}

fn filter(app: &mut App, code: KeyCode) {
    match code {
        KeyCode::Enter => app.mode = Mode::Browse,
        KeyCode::Esc => {
            app.filter.clear();
            app.mode = Mode::Browse;
        }
        KeyCode::Backspace => {
            app.filter.pop();
        }
        KeyCode::Char(typed) => app.type_filter(typed),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::super::model::BackendKey;
    use super::*;

    fn type_all(app: &mut App, text: &str) -> Reaction {
        let mut last = Reaction::Show;
        for typed in text.chars() {
            let code = match typed {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                typed => KeyCode::Char(typed),
            };
            last = press(app, KeyEvent::from(code));
        }
        last
    }

    #[test]
    fn a_backend_is_drained_after_a_yes_only() {
        let mut app = example::app(1, 3);
        let action = |verb| {
            Reaction::Act(Action {
                verb,
                backend: BackendKey {
                    pool: "pool-1".to_owned(),
                    url: "http://127.0.0.1:8002".to_owned(),
                },
            })
        };
        for no in ["jdn", "d\u{1b}", "d\n", "dd"] {
            assert_eq!(type_all(&mut app, no), Reaction::Show, "{no:?}");
            assert_eq!(app.mode, Mode::Browse);
        }
        assert_eq!(type_all(&mut app, "dy"), action(Verb::Drain));
        assert_eq!(type_all(&mut app, "ry"), action(Verb::Ready));
        assert_eq!(app.mode, Mode::Browse);
        assert_eq!(type_all(&mut app, "y"), Reaction::Show, "without a question");
    }

    #[test]
    fn letters_belong_to_the_filter_while_it_is_typed() {
        let mut app = example::app(1, 3);
        assert_eq!(type_all(&mut app, "/quad\u{8}"), Reaction::Show);
        assert_eq!((app.filter.as_str(), &app.mode), ("qua", &Mode::Filter));
        type_all(&mut app, "\n");
        assert_eq!((app.filter.as_str(), &app.mode), ("qua", &Mode::Browse));
        type_all(&mut app, "\u{1b}");
        assert_eq!(app.filter, "");
        type_all(&mut app, "/x\u{1b}");
        assert_eq!((app.filter.as_str(), &app.mode), ("", &Mode::Browse));
    }

    #[test]
    fn q_and_ctrl_c_quit_and_any_key_leaves_the_help() {
        let mut app = example::app(1, 3);
        assert_eq!(type_all(&mut app, "?"), Reaction::Show);
        assert_eq!(app.mode, Mode::Help);
        assert_eq!(type_all(&mut app, "q"), Reaction::Show);
        assert_eq!(app.mode, Mode::Browse);
        assert_eq!(type_all(&mut app, "q"), Reaction::Quit);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for mode in [Mode::Browse, Mode::Filter, Mode::Help] {
            app.mode = mode;
            assert_eq!(press(&mut app, ctrl_c), Reaction::Quit);
        }
    }
}
