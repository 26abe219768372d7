//! `guard` and `watch_config`: how reloads begin and end.

use std::time::Duration;

use evenkeel_balance::reload_guard::{LONGEST, SHORTEST};

use crate::config::print::{Item, word};
use crate::schema::units::show_duration;
use crate::schema::{Key, Kind};

/// `guard`.
pub(super) const GUARD: Key = Key::new(
    "guard",
    Kind::Duration {
        least: SHORTEST,
        most: LONGEST,
    },
    "How long failures are watched after a reload that has changed something. If the share of 5xx responses, or of attempts that could not connect, jumps against the minute before, the previous configuration becomes active again. It jumps when it has at least doubled and grown by 10 percentage points, among at least 20.",
)
.words(&["off"])
.default("off");

/// `watch_config`.
pub(super) const WATCH_CONFIG: Key = Key::new(
    "watch_config",
    Kind::Flag,
    "Whether the config is reloaded when the content of its file has changed and then stayed the same for a second.",
)
.default("false");

/// Prints `guard`.
pub(super) fn show_guard(guard: Option<Duration>) -> Item {
    word(guard.map_or_else(|| "off".to_owned(), show_duration))
}
