//! What wakes a worker at each tick, and in between for the sleeps of its thread. It is one timer of the kernel, in place of the
//! timers of the runtime: see [`SleepDriver`].

use std::io;
use std::task::{Context, Poll, ready};

use crate::clock::{self, Instant, SleepDriver, TICK};
use crate::net::KernelTimer;

/// The ticks of one worker.
pub(super) struct Ticks {
    timer: KernelTimer,
    sleeps: SleepDriver,
    next: Instant,
    /// For when the timer is set.
    is_set_for: Option<Instant>,
}

impl Ticks {
    /// Begins with the ticks of this thread.
    ///
    /// # Errors
    /// The process or the system is out of descriptors or memory.
    pub(super) fn begin() -> io::Result<Self> {
        Ok(Self {
            timer: KernelTimer::new()?,
            sleeps: SleepDriver::new(),
            next: clock::now() + TICK,
            is_set_for: None,
        })
    }

    /// Waits for the next tick. Those that were missed are skipped.
    pub(super) async fn next(&mut self) {
        std::future::poll_fn(|context| self.poll_next(context)).await;
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = clock::now();
            self.sleeps.advance(now);
            if self.next <= now {
                self.next = first_after(now, self.next);
                return Poll::Ready(());
            }
            let wakes_at = self.sleeps.next(context, self.next);
            if self.is_set_for != Some(wakes_at) {
                self.timer.set(wakes_at - now);
                self.is_set_for = Some(wakes_at);
            }
            if ready!(self.timer.poll_expired(context)).is_err() {
                // The runtime is shutting down, and with it this task.
                return Poll::Pending;
            }
            self.is_set_for = None;
        }
    }
}

/// The first tick after `now`, counted from one that is due.
fn first_after(now: Instant, due: Instant) -> Instant {
    let missed = now.nanos_since(due) / TICK.as_nanos() as u64;
    due + TICK * u32::try_from(missed).unwrap_or(u32::MAX) + TICK
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[test]
    fn ticks_that_were_missed_are_skipped() {
        let due = clock::now();
        for (late, expected) in [(0, 1), (19, 1), (20, 2), (39, 2), (1_000, 51)] {
            let now = due + Duration::from_millis(late);
            assert_eq!(first_after(now, due), due + TICK * expected, "{late} ms late");
        }
    }

    #[test]
    fn sleeps_end_between_ticks_and_without_the_timers_of_the_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.unwrap().block_on(async {
            let started = clock::now();
            let mut ticks = Ticks::begin().unwrap();
            let (ticked, short) = (Cell::new(0), Duration::from_millis(1));
            // Such a sleep ends before the next tick, unless the machine is too busy just then.
            let sleeping = async {
                let mut before = None;
                while before != Some(ticked.get()) {
                    before = Some(ticked.get());
                    clock::sleep(short).await;
                }
                while ticked.get() < 3 {
                    clock::sleep(short).await;
                }
            };
            let ticking = async {
                for count in 1..=u32::MAX {
                    ticks.next().await;
                    ticked.set(count);
                }
            };
            tokio::select! { () = sleeping => {}, () = ticking => {} }
            let took = clock::now() - started;
            assert!(TICK * ticked.get() <= took, "{} ticks in {took:?}", ticked.get());
        });
    }
}
