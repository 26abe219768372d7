//! The terminal: shows the state, and hands keys to it, until somebody quits.

use std::io;
use std::slice;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use tokio::sync::mpsc::error::TryRecvError;

use super::app::App;
use super::background::Background;
use super::keys::{self, Reaction};
use super::model::Update;
use super::view;
use crate::clock::{self, Instant};

/// How long a key is waited for before updates are looked at.
const KEY_WAIT: Duration = Duration::from_millis(50);
/// It is drawn anew after this long without anything new, because of the durations that it shows.
const REDRAW: Duration = Duration::from_secs(1);

/// Shows the state until somebody quits. The terminal is as it was before afterwards, also after a panic.
///
/// # Errors
/// The terminal cannot be used.
pub(super) fn run(app: &mut App, background: &mut Background) -> io::Result<()> {
    let ended = match ratatui::try_init() {
        Ok(mut terminal) => show(&mut terminal, app, background),
        Err(error) => Err(error),
    };
    // An error of it would hide the one before.
    let restored = ratatui::try_restore();
    ended.and(restored)
}

fn show(terminal: &mut DefaultTerminal, app: &mut App, background: &mut Background) -> io::Result<()> {
    let mut drawn: Option<Instant> = None;
    loop {
        let mut is_changed = false;
        loop {
            match background.updates.try_recv() {
                Ok(Update::End) => return Ok(()),
                Ok(update) => app.update(update, clock::now()),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(io::Error::other("its thread has ended")),
            }
            is_changed = true;
        }
        while event::poll(Duration::ZERO)? {
            is_changed = true;
            if take(app, background, &event::read()?) {
                return Ok(());
            }
        }
        let now = clock::now();
        if is_changed || drawn.is_none_or(|drawn| now.saturating_duration_since(drawn) >= REDRAW) {
            terminal.draw(|frame| view::draw(frame, app, (now, clock::wall())))?;
            drawn = Some(now);
        }
        if !wait_for_key()? {
            return Ok(());
        }
    }
}

/// Waits for a key, at most [`KEY_WAIT`]. Returns whether the terminal is still there: crossterm reads one that has gone, such as
/// that of a closed window, over and over again and never returns.
fn wait_for_key() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut polled = PollFd::new(&stdin, PollFlags::IN);
    let limit = Timespec::try_from(KEY_WAIT).ok();
    match rustix::event::poll(slice::from_mut(&mut polled), limit.as_ref()) {
        // A changed size of the terminal interrupts it.
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    Ok(!polled.revents().intersects(gone))
}

/// Takes an event of the terminal; returns whether `top` ends. A new size needs nothing but that it is drawn.
fn take(app: &mut App, background: &Background, event: &Event) -> bool {
    let Event::Key(key) = event else {
        return false;
    };
    match keys::press(app, *key) {
        Reaction::Show => {}
        Reaction::Quit => return true,
        Reaction::Act(action) => {
            if background.actions.try_send(action).is_err() {
                let why = "too many actions are waiting; try again".to_owned();
                app.update(Update::Acted(Err(why)), clock::now());
            }
        }
    }
    false
}
