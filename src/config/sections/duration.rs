//! Bounds of durations that several sections share.

use std::time::Duration;

use crate::schema::Kind;

/// The longest duration that a key accepts.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A duration that is not zero.
pub(super) const ANY_DURATION: Kind = Kind::Duration {
    least: Duration::from_millis(1),
    most: DAY,
};
