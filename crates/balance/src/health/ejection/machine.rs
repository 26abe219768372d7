//! The ejection of one backend: well, ejected for a while, on trial, and well again.

use std::fmt;
use std::time::Duration;

use evenkeel_wire::instant::Instant;

use super::observed::Observed;
use super::window::{Counts, Window};
use super::{Failure, Settings, Signal};
use crate::backend::BackendId;

/// Trial requests that are let through at once, and that have to pass.
pub(super) const TRIAL_REQUESTS: u32 = 3;

/// Time after which a trial lets another request through, because those before may have been lost with their clients.
const TRIAL_STEP: Duration = Duration::from_secs(1);

/// Maximum number of requests of one trial. If all of them got lost, another trial follows after [`TRIAL_PATIENCE`].
const MAX_TRIAL_REQUESTS: u32 = 10;

/// How long a trial waits for the results of its requests.
const TRIAL_PATIENCE: Duration = Duration::from_mins(1);

/// The part of an ejection that a backend serves that could not be reached, if its checks reach it again.
const EARLY_PART: u32 = 10;

/// Maximum number of ejections in a row that are counted: the time has long reached its maximum.
const MAX_TIMES: u32 = 1 << 16;

/// A backend was ejected, or came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The backend.
    pub backend: BackendId,
    /// What has happened.
    pub kind: ChangeKind,
}

/// What has happened to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// It gets no requests until this time.
    Ejected {
        /// When its trial begins.
        until: Instant,
        /// How long that is.
        length: Duration,
        /// The number of ejections in a row.
        times: u32,
        /// Why.
        reason: Reason,
        /// Whether it was ejected before, and failed its trial.
        is_again: bool,
    },
    /// It gets trial requests.
    OnTrial,
    /// It gets its share of requests again.
    Back(Returned),
    /// Its requests fail, but it may not be ejected: too many are, or no other backend is left. Reported once.
    Spared(Reason),
}

/// Why a backend is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Failures in a row, the last of which was this one.
    Consecutive(Option<Failure>),
    /// Too many failures in the window.
    Ratio {
        /// Percentage of failed requests.
        percent: u32,
        /// Requests in the window.
        requests: u64,
        /// The window.
        window: Duration,
    },
    /// A trial request failed like this.
    Trial(Option<Failure>),
}

/// Why a backend is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// Its trial requests have succeeded.
    Passed,
    /// It could not be reached, its checks noticed that too, and now they succeed.
    Checks,
    /// No other backend of the pool is left.
    LastOne,
    /// Fewer backends may be ejected now.
    TooMany,
    /// Ejection was switched off.
    Off,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, last) = match self {
            Self::Consecutive(last) => ("requests failed in a row", last),
            Self::Trial(last) => ("trial request failed", last),
            Self::Ratio {
                percent,
                requests,
                window,
            } => {
                return write!(f, "{percent}% of {requests} requests failed within {window:?}");
            }
        };
        match last {
            Some(last) => write!(f, "{what}: {last}"),
            None => f.write_str(what),
        }
    }
}

impl Returned {
    /// The reason for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "trial requests succeeded",
            Self::Checks => "health checks succeed again",
            Self::LastOne => "no other backend is eligible",
            Self::TooMany => "max_ejected is exceeded",
            Self::Off => "ejection is off",
        }
    }
}

/// The ejection of one backend.
#[derive(Debug)]
pub(super) struct Machine {
    phase: Phase,
    /// Ejections in a row, as of `well_since`.
    times: u32,
    well_since: Instant,
    /// Whether its checks had it down when it was last judged.
    was_down: bool,
    /// When it last should have been ejected and could not be: reported once, until it has not failed for a window.
    spared: Option<Instant>,
    pub(super) window: Window,
    /// The counters when it was last judged.
    pub(super) counts: Counts,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Well,
    Ejected {
        since: Instant,
        /// When this ejection of several in a row began.
        began: Instant,
        until: Instant,
        reason: Reason,
        /// When it was last judged.
        judged: Instant,
    },
    Trial {
        since: Instant,
        reason: Reason,
        /// When it began.
        began: Instant,
        /// When a permit was last given.
        permitted: Instant,
        /// Permits given so far.
        permits: u32,
    },
}

impl Machine {
    pub(super) fn new(now: Instant, counts: Counts) -> Self {
        let mut window = Window::default();
        window.restart(now, counts);
        Self {
            phase: Phase::Well,
            times: 0,
            well_since: now,
            was_down: false,
            spared: None,
            window,
            counts,
        }
    }

    /// Whether it is neither ejected nor on trial.
    pub(super) fn is_well(&self) -> bool {
        matches!(self.phase, Phase::Well)
    }

    /// Since when it has been ejected.
    pub(super) fn ejected_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Well => None,
            Phase::Ejected { since, .. } | Phase::Trial { since, .. } => Some(since),
        }
    }

    /// Notes whether its checks have it down, and follows time, checks and trial requests.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        seen: &Observed<'_>,
        settings: &Settings,
    ) -> Option<ChangeKind> {
        let Observed { signal, is_down, .. } = *seen;
        let has_recovered = std::mem::replace(&mut self.was_down, is_down) && !is_down;
        match &mut self.phase {
            Phase::Well => {
                if has_recovered {
                    signal.restart(now);
                    self.window.restart(now, self.counts);
                }
                None
            }
            _ if is_down => None,
            Phase::Ejected { reason, .. } | Phase::Trial { reason, .. }
                if has_recovered && reason.is_unreachable() =>
            {
                Some(self.bring_back(now, signal, Returned::Checks))
            }
            Phase::Ejected {
                began,
                until,
                reason,
                judged,
                ..
            } => {
                *judged = now;
                let is_reached = seen.last_good_check.is_some_and(|last| last > *began);
                let is_early = is_reached && reason.is_unreachable() && now >= early_end(*began, *until);
                let is_over = has_recovered || is_early || now >= *until;
                is_over.then(|| self.try_out(now, signal))
            }
            Phase::Trial { .. } => self.follow_trial(now, signal, settings),
        }
    }

    fn follow_trial(&mut self, now: Instant, signal: &Signal, settings: &Settings) -> Option<ChangeKind> {
        let (passed, failed) = signal.trial_results();
        if failed > 0 {
            return Some(self.eject(now, Reason::Trial(signal.last_failure()), signal, settings));
        }
        if passed >= TRIAL_REQUESTS {
            return Some(self.bring_back(now, signal, Returned::Passed));
        }
        let Phase::Trial {
            began,
            permitted,
            permits,
            ..
        } = &mut self.phase
        else {
            return None;
        };
        if now.saturating_duration_since(*began) >= TRIAL_PATIENCE && *permits >= MAX_TRIAL_REQUESTS {
            return Some(self.try_out(now, signal));
        }
        if now.saturating_duration_since(*permitted) >= TRIAL_STEP && *permits < MAX_TRIAL_REQUESTS {
            *permitted = now;
            // Those that nobody has taken are offered to requests of any method from now on.
            if signal.permits() == 0 {
                *permits += 1;
                signal.add_permit();
            } else {
                signal.open_to_all();
            }
        }
        None
    }

    /// Ejects it, for longer than the last time if that is not long ago.
    pub(super) fn eject(
        &mut self,
        now: Instant,
        reason: Reason,
        signal: &Signal,
        settings: &Settings,
    ) -> ChangeKind {
        let (since, is_again) = match self.phase {
            Phase::Well => (now, false),
            Phase::Ejected { since, .. } | Phase::Trial { since, .. } => (since, true),
        };
        if !is_again {
            self.forgive(now, settings);
        }
        self.times = (self.times + 1).min(MAX_TIMES);
        let length = settings.duration(self.times);
        let until = now + length;
        self.phase = Phase::Ejected {
            since,
            began: now,
            until,
            reason,
            judged: now,
        };
        self.spared = None;
        signal.restart(now);
        ChangeKind::Ejected {
            until,
            length,
            times: self.times,
            reason,
            is_again,
        }
    }

    /// Ends its ejection.
    pub(super) fn bring_back(&mut self, now: Instant, signal: &Signal, why: Returned) -> ChangeKind {
        self.phase = Phase::Well;
        self.well_since = now;
        self.window.restart(now, self.counts);
        signal.restart(now);
        ChangeKind::Back(why)
    }

    /// It should be ejected and cannot be. Returns whether that has to be reported.
    pub(super) fn spare(&mut self, now: Instant) -> bool {
        self.spared.replace(now).is_none()
    }

    /// It need not be ejected.
    pub(super) fn acquit(&mut self, now: Instant, settings: &Settings) {
        let is_recent = |spared: &Instant| now.saturating_duration_since(*spared) <= settings.window;
        self.spared = self.spared.filter(is_recent);
    }

    /// When it has to be judged again without news.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.phase {
            // What its checks say is news.
            _ if self.was_down => None,
            Phase::Well => None,
            Phase::Ejected {
                began,
                until,
                reason,
                judged,
                ..
            } if reason.is_unreachable() => Some(early_end(began, until).max(judged + TRIAL_STEP).min(until)),
            Phase::Ejected { until, .. } => Some(until),
            Phase::Trial {
                permitted, permits, ..
            } if permits < MAX_TRIAL_REQUESTS => Some(permitted + TRIAL_STEP),
            Phase::Trial { began, .. } => Some(began + TRIAL_PATIENCE),
        }
    }

    fn try_out(&mut self, now: Instant, signal: &Signal) -> ChangeKind {
        let (since, reason) = match self.phase {
            Phase::Ejected { since, reason, .. } | Phase::Trial { since, reason, .. } => (since, reason),
            Phase::Well => (now, Reason::Trial(None)),
        };
        self.phase = Phase::Trial {
            since,
            reason,
            began: now,
            permitted: now,
            permits: TRIAL_REQUESTS,
        };
        signal.begin_trial(now, TRIAL_REQUESTS);
        ChangeKind::OnTrial
    }

    /// Forgets one ejection in a row for as long as it lasted.
    fn forgive(&mut self, now: Instant, settings: &Settings) {
        let mut well = now.saturating_duration_since(self.well_since);
        while self.times > 0 {
            let Some(left) = well.checked_sub(settings.duration(self.times)) else {
                break;
            };
            well = left;
            self.times -= 1;
        }
    }
}

/// When the trial of a backend may begin that could not be reached, if its checks reach it again: a restart need not cost the whole
/// time.
fn early_end(began: Instant, until: Instant) -> Instant {
    began + until.saturating_duration_since(began) / EARLY_PART
}

impl Reason {
    /// Whether the backend could not be reached. Checks notice that as well as requests do, so they are believed.
    fn is_unreachable(self) -> bool {
        matches!(
            self,
            Self::Consecutive(Some(Failure::Connect)) | Self::Trial(Some(Failure::Connect))
        )
    }
}
