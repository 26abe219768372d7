//! The slow start of a pool's backends: which of them have just come, and which part of their weight they have now. Control plane
//! only.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Member;
use crate::clock::Instant;
use crate::health::slow_start;

/// The slow start of one backend.
#[derive(Debug)]
pub(super) struct Ramp {
    /// The part of its weight, in steps of [`slow_start::WHOLE`].
    share: AtomicU32,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Whether it was eligible when the eligible set of its pool was last built.
    was_eligible: bool,
    /// Since when it is in slow start.
    since: Option<Instant>,
}

impl Ramp {
    /// The part of its weight, in steps of [`slow_start::WHOLE`].
    pub(super) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    fn was_eligible(&self) -> bool {
        self.progress().was_eligible
    }

    /// Takes the time and the state of the backend. Returns whether it is in slow start.
    fn follow(&self, is_eligible: bool, slow_start: Option<Duration>, now: Instant, is_alone: bool) -> bool {
        let mut progress = self.progress();
        let has_come = is_eligible && !progress.was_eligible;
        progress.was_eligible = is_eligible;
        if has_come && !is_alone {
            progress.since = Some(now);
        }
        let age = progress.since.map(|since| now.saturating_duration_since(since));
        let share = match (age, slow_start) {
            (Some(age), Some(slow_start)) if is_eligible => slow_start::share(age, slow_start),
            _ => slow_start::WHOLE,
        };
        if share == slow_start::WHOLE {
            progress.since = None;
        }
        self.share.store(share, Ordering::Relaxed);
        share < slow_start::WHOLE
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Ramp {
    fn default() -> Self {
        Self {
            share: AtomicU32::new(slow_start::WHOLE),
            progress: Mutex::default(),
        }
    }
}

/// Follows all backends of a pool, before its eligible set is built. Returns whether one is in slow start. A backend that comes while
/// none of the others has been there before is not: it would get all requests anyway.
pub(super) fn follow(members: &[Arc<Member>], slow_start: Option<Duration>, now: Instant) -> bool {
    let stays = |member: &Arc<Member>| member.ramp.was_eligible() && member.is_eligible();
    let is_alone = !members.iter().any(stays);
    let mut is_any = false;
    for member in members {
        is_any |= member
            .ramp
            .follow(member.is_eligible(), slow_start, now, is_alone);
    }
    is_any
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Option<Duration> = Some(Duration::from_secs(10));

    #[test]
    fn a_backend_that_comes_while_others_stay_begins_with_a_part() {
        let (now, ramp) = (crate::clock::now(), Ramp::default());
        assert!(!ramp.follow(true, TIME, now, true), "the whole pool starts");
        assert_eq!(ramp.share(), slow_start::WHOLE);
        assert!(!ramp.follow(false, TIME, now, false));
        assert!(ramp.follow(true, TIME, now, false));
        assert_eq!(ramp.share(), slow_start::FIRST);
        assert!(ramp.follow(true, TIME, now + Duration::from_secs(5), false));
        assert_eq!(ramp.share(), 11);
        assert!(!ramp.follow(true, TIME, now + Duration::from_secs(10), false));
        assert_eq!(ramp.share(), slow_start::WHOLE);
    }

    #[test]
    fn slow_start_that_is_off_or_interrupted_leaves_the_whole_weight() {
        let (now, ramp) = (crate::clock::now(), Ramp::default());
        assert!(!ramp.follow(true, None, now, false));
        assert_eq!(ramp.share(), slow_start::WHOLE);
        ramp.follow(false, TIME, now, false);
        assert!(ramp.follow(true, TIME, now, false));
        assert!(!ramp.follow(false, TIME, now, false));
        assert!(!ramp.follow(true, TIME, now, true));
        assert_eq!(ramp.share(), slow_start::WHOLE);
    }
}
