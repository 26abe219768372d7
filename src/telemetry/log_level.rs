//! The level of the operations log, which an operator can change while the process runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::Level;

/// All levels, from the one with the fewest lines on.
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// A level that all clones share.
#[derive(Debug, Clone)]
pub struct LogLevel(Arc<AtomicUsize>);

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        Self(Arc::new(AtomicUsize::new(position(level))))
    }
}

impl LogLevel {
    /// The level now.
    pub fn level(&self) -> Level {
        let position = self.0.load(Ordering::Relaxed);
        LEVELS.get(position).copied().unwrap_or(Level::INFO)
    }

    /// Changes the level of every log that has it.
    pub fn set(&self, level: Level) {
        self.0.store(position(level), Ordering::Relaxed);
        // `tracing` remembers at each place of the code whether its lines are wanted, so that an unwanted one costs a comparison.
        tracing::callsite::rebuild_interest_cache();
    }
}

fn position(level: Level) -> usize {
    // All levels are in the list.
    LEVELS.iter().position(|known| *known == level).unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_level() {
        for level in LEVELS {
            let one = LogLevel::from(Level::INFO);
            one.clone().set(level);
            assert_eq!(one.level(), level);
        }
    }
}
