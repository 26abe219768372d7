//! Which timeout runs while a request waits, and whether what it waits for moves. One per exchange, over the one alarm
//! of the client's connection.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::{Instant, Timer, TimerEvent};

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    /// The client sends the body.
    ClientBody,
    /// Either side of a call that may go both ways, whose response has not begun.
    Call,
    /// The backend takes the request.
    BackendTakes,
    /// The backend responds.
    FirstByte,
    /// The client takes the response.
    ClientTakes,
    /// The backend sends the response's body.
    ResponseBody,
    /// Either side of a tunnel moves.
    Tunnel,
    /// A backend may take the request.
    Slot,
    /// Nobody: the client's own deadline has passed.
    Client,
    /// Nobody: the next attempt is to begin.
    Backoff,
    /// Nobody: the attempt has taken too long.
    Attempt,
}

/// What bounds one attempt as a whole.
#[derive(Debug)]
struct AttemptBound {
    bound: Duration,
    /// When the time runs out; `None` while the attempt waits for the client.
    until: Option<Instant>,
}

/// The active deadline.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    current: Option<(Deadline, Duration)>,
    /// Progress when the alarm was set last.
    progress: u64,
    /// Bytes a second that a wait for the client must reach.
    min_rate: Option<u64>,
    /// Until when the client waits for a response that has not begun.
    client_deadline: Option<Instant>,
    /// The bound of the attempt that is under way, if it has one.
    attempt: Option<AttemptBound>,
}

impl Deadlines {
    pub(super) fn new(min_rate: Option<u64>, client_deadline: Option<Instant>) -> Self {
        Self {
            min_rate,
            client_deadline,
            ..Self::default()
        }
    }

    /// Runs `bound` for `deadline` from now on, if that is another wait than before or `progress` (a count of bytes) has
    /// changed; ready with the wait whose time ran out, with [`Deadline::Client`] or with [`Deadline::Attempt`].
    pub(super) fn poll(
        &mut self,
        context: &Context<'_>,
        timer: &Timer,
        (deadline, bound): (Deadline, Duration),
        progress: u64,
    ) -> Poll<Deadline> {
        let is_same = self.current == Some((deadline, bound));
        let moved = progress.saturating_sub(self.progress);
        let is_rated =
            matches!(deadline, Deadline::ClientBody | Deadline::ClientTakes) && self.min_rate.is_some();
        if !is_same || (moved > 0 && !is_rated) {
            self.begin(timer, (deadline, bound), progress);
            // A wait that keeps moving never lets the alarm ring.
            if let Some(ended) = self.over(timer) {
                return Poll::Ready(ended);
            }
        }
        while let Poll::Ready(event) = timer.poll(context) {
            let is_fast = is_rated && moved >= self.required(bound);
            match event {
                TimerEvent::Notified => {}
                TimerEvent::Expired => match self.over(timer) {
                    Some(ended) => return Poll::Ready(ended),
                    None if is_fast => self.begin(timer, (deadline, bound), progress),
                    None => return Poll::Ready(deadline),
                },
            }
        }
        Poll::Pending
    }

    /// Forgets the wait, so that the next one begins anew.
    pub(super) fn reset(&mut self) {
        self.current = None;
    }

    /// An attempt begins, which may take this long, apart from waits for the client.
    pub(super) fn begin_attempt(&mut self, bound: Option<Duration>, now: Instant) {
        self.attempt = bound.map(|bound| AttemptBound {
            bound,
            until: now.checked_add(bound),
        });
    }

    /// It has ended.
    pub(super) fn end_attempt(&mut self) {
        self.attempt = None;
    }

    /// The response has begun: how long it takes is between client and backend.
    pub(super) fn forget_client_deadline(&mut self) {
        self.client_deadline = None;
    }

    fn begin(&mut self, timer: &Timer, current: (Deadline, Duration), progress: u64) {
        self.current = Some(current);
        self.progress = progress;
        if let Some(attempt) = &mut self.attempt {
            attempt.until = match current.0 {
                Deadline::ClientBody | Deadline::Call => None,
                _ => attempt.until.or_else(|| timer.now().checked_add(attempt.bound)),
            };
        }
        let deadlines = [self.client_deadline, self.attempt_deadline()];
        let first = deadlines.into_iter().flatten().min();
        let time_left = first.map(|first| first.saturating_duration_since(timer.now()));
        let after = time_left.map_or(current.1, |time_left| time_left.min(current.1));
        match current.0 {
            // Meanwhile the backend may be marked down.
            Deadline::BackendTakes | Deadline::FirstByte => timer.set_and_listen(after),
            _ => timer.set(after),
        }
    }

    /// The deadline that has passed whatever moves.
    fn over(&self, timer: &Timer) -> Option<Deadline> {
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= timer.now());
        if is_over(self.client_deadline) {
            return Some(Deadline::Client);
        }
        is_over(self.attempt_deadline()).then_some(Deadline::Attempt)
    }

    fn attempt_deadline(&self) -> Option<Instant> {
        self.attempt.as_ref()?.until
    }

    /// Bytes that a rated wait must move within `bound`, at least 1.
    fn required(&self, bound: Duration) -> u64 {
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
        let timer = wheel.timer();
        let mut deadlines = Deadlines::new(min_rate, None);
        let context = Context::from_waker(Waker::noop());
        for (at, progress) in events {
            wheel.advance(start + Duration::from_millis(at));
            if deadlines
                .poll(&context, &timer, (Deadline::ClientBody, SECOND), progress)
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
        for (client_deadline, deadline, expected) in [
            (700, Deadline::Client, 700..=760),
            (1_500, Deadline::FirstByte, 1_000..=1_060),
        ] {
            let wheel = Wheel::new(start);
            let timer = wheel.timer();
            let mut deadlines = Deadlines::new(None, Some(start + Duration::from_millis(client_deadline)));
            let ended = (0..500).map(|step| step * 20).find_map(|at| {
                wheel.advance(start + Duration::from_millis(at));
                match deadlines.poll(&context, &timer, (Deadline::FirstByte, SECOND), 0) {
                    Poll::Ready(deadline) => Some((deadline, at)),
                    Poll::Pending => None,
                }
            });
            let (ended, at) = ended.unwrap();
            assert_eq!(ended, deadline);
            assert!(expected.contains(&at), "{at}");
        }
    }

    #[test]
    fn an_attempt_ends_although_its_waits_move_unless_it_waits_for_the_client() {
        let start = crate::clock::now();
        let context = Context::from_waker(Waker::noop());
        for (is_client_slow, expected) in [(false, 500..=560), (true, 1_500..=1_560)] {
            let wheel = Wheel::new(start);
            let timer = wheel.timer();
            let mut deadlines = Deadlines::new(None, None);
            deadlines.begin_attempt(Some(SECOND / 2), start);
            let ended = (0..500).map(|step| step * 20).find_map(|at| {
                wheel.advance(start + Duration::from_millis(at));
                let wait = match is_client_slow && at < 1_000 {
                    true => Deadline::ClientBody,
                    false => Deadline::BackendTakes,
                };
                match deadlines.poll(&context, &timer, (wait, SECOND), at) {
                    Poll::Ready(deadline) => Some((deadline, at)),
                    Poll::Pending => None,
                }
            });
            let (ended, at) = ended.unwrap();
            assert_eq!(ended, Deadline::Attempt);
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
