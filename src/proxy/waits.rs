//! Which timeout runs while a request waits, and whether what it waits for moves. One per exchange, over the one alarm
//! of the client's connection.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::clock::{Alarm, Ring};

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The client sends the body.
    ClientBody,
    /// Either side of a call that may go both ways, whose answer has not begun.
    Call,
    /// The backend takes the request.
    BackendTakes,
    /// The backend answers.
    FirstByte,
    /// The client takes the answer.
    ClientTakes,
    /// The backend sends the answer's body.
    AnswerBody,
    /// Either side of a tunnel moves.
    Tunnel,
    /// Nobody: the client's own deadline has passed.
    Deadline,
}

/// The wait in force.
#[derive(Debug, Default)]
pub(super) struct Waits {
    current: Option<(Wait, Duration)>,
    /// Progress when the alarm was set last.
    progress: u64,
    /// Bytes a second that a wait for the client must reach.
    min_rate: Option<u64>,
    /// Until when the client waits for an answer that has not begun.
    deadline: Option<Instant>,
}

impl Waits {
    pub(super) fn new(min_rate: Option<u64>, deadline: Option<Instant>) -> Self {
        Self {
            min_rate,
            deadline,
            ..Self::default()
        }
    }

    /// Runs `bound` for `wait` from now on, if that is another wait than before or `progress` (a count of bytes) has
    /// changed; ready with the wait whose time ran out, or with [`Wait::Deadline`].
    pub(super) fn poll(
        &mut self,
        context: &Context<'_>,
        alarm: &Alarm,
        (wait, bound): (Wait, Duration),
        progress: u64,
    ) -> Poll<Wait> {
        let is_same = self.current == Some((wait, bound));
        let moved = progress.saturating_sub(self.progress);
        let is_rated = matches!(wait, Wait::ClientBody | Wait::ClientTakes) && self.min_rate.is_some();
        if !is_same || (moved > 0 && !is_rated) {
            self.begin(alarm, (wait, bound), progress);
        }
        while let Poll::Ready(ring) = alarm.poll(context) {
            let is_fast = is_rated && moved >= self.demanded(bound);
            match ring {
                Ring::Called => {}
                Ring::Expired if self.left(alarm).is_some_and(|left| left.is_zero()) => {
                    return Poll::Ready(Wait::Deadline);
                }
                Ring::Expired if is_fast => self.begin(alarm, (wait, bound), progress),
                Ring::Expired => return Poll::Ready(wait),
            }
        }
        Poll::Pending
    }

    /// Forgets the wait, so that the next one begins anew.
    pub(super) fn reset(&mut self) {
        self.current = None;
    }

    /// The answer has begun: how long it takes is between client and backend.
    pub(super) fn forget_deadline(&mut self) {
        self.deadline = None;
    }

    fn begin(&mut self, alarm: &Alarm, current: (Wait, Duration), progress: u64) {
        self.current = Some(current);
        self.progress = progress;
        alarm.set(self.left(alarm).map_or(current.1, |left| left.min(current.1)));
    }

    /// Time up to the deadline.
    fn left(&self, alarm: &Alarm) -> Option<Duration> {
        Some(self.deadline?.saturating_duration_since(alarm.now()))
    }

    /// Bytes that a rated wait must move within `bound`, at least 1.
    fn demanded(&self, bound: Duration) -> u64 {
        let rate = self.min_rate.unwrap_or(0);
        rate.saturating_mul(bound.as_millis() as u64)
            .div_euclid(1000)
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wheel;
    use std::task::Waker;

    const SECOND: Duration = Duration::from_secs(1);

    /// Feeds one (millisecond, progress) after the other and says at which the wait ran out.
    fn ran_out_at(min_rate: Option<u64>, events: impl Iterator<Item = (u64, u64)>) -> Option<u64> {
        let start = crate::clock::now();
        let wheel = Wheel::new(start);
        let alarm = wheel.alarm();
        let mut waits = Waits::new(min_rate, None);
        let context = Context::from_waker(Waker::noop());
        for (at, progress) in events {
            wheel.advance(start + Duration::from_millis(at));
            if waits
                .poll(&context, &alarm, (Wait::ClientBody, SECOND), progress)
                .is_ready()
            {
                return Some(at);
            }
        }
        None
    }

    #[test]
    fn a_wait_that_moves_does_not_run_out() {
        assert_eq!(ran_out_at(None, (0..500).map(|step| (step * 20, step))), None);
    }

    #[test]
    fn a_wait_that_stands_still_runs_out() {
        let at = ran_out_at(None, (0..500).map(|step| (step * 20, 7))).unwrap();
        assert!((1_000..=1_060).contains(&at), "{at}");
    }

    #[test]
    fn the_deadline_ends_a_wait_that_would_go_on_and_no_wait_that_ends_before() {
        let start = crate::clock::now();
        let context = Context::from_waker(Waker::noop());
        for (deadline, wait, expected) in [
            (700, Wait::Deadline, 700..=760),
            (1_500, Wait::FirstByte, 1_000..=1_060),
        ] {
            let wheel = Wheel::new(start);
            let alarm = wheel.alarm();
            let mut waits = Waits::new(None, Some(start + Duration::from_millis(deadline)));
            let ended = (0..500).map(|step| step * 20).find_map(|at| {
                wheel.advance(start + Duration::from_millis(at));
                match waits.poll(&context, &alarm, (Wait::FirstByte, SECOND), 0) {
                    Poll::Ready(wait) => Some((wait, at)),
                    Poll::Pending => None,
                }
            });
            let (ended, at) = ended.unwrap();
            assert_eq!(ended, wait);
            assert!(expected.contains(&at), "{at}");
        }
    }

    #[test]
    fn a_wait_below_the_minimum_rate_runs_out_although_it_moves() {
        let slow = ran_out_at(Some(100), (0..500).map(|step| (step * 20, step))).unwrap();
        assert!((1_000..=1_060).contains(&slow), "50 bytes a second: {slow}");
        assert_eq!(
            ran_out_at(Some(100), (0..500).map(|step| (step * 20, step * 4))),
            None,
            "200 bytes a second"
        );
    }
}
