//! A timer wheel: one per worker instead of a runtime timer per request. Setting a timer to a later time, as every request
//! does, costs two stores: the wheel reschedules it when its old bucket is due. Time is an argument of [`Wheel::advance`],
//! so the wheel can be tested without waiting.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel_wire::instant::Instant;
use slab::Slab;

/// Resolution of the wheel: a timer may fire this much late.
pub const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const TICK_MILLIS: u64 = 20;
const NANOS_PER_MILLI: u64 = 1_000_000;
/// Number of buckets. Timers beyond the last bucket wait in it and are rescheduled from there.
const BUCKETS: u64 = 512;
/// Initial capacity of a bucket, so that under light load the first turn of the wheel allocates nothing.
const ROOM: usize = 8;
const NEVER: u64 = u64::MAX;

/// Why a timer fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerEvent {
    /// Its deadline has passed.
    Expired,
    /// [`Wheel::notify`] was notified for it, to wake its owner for another reason.
    Notified,
}

/// Whole milliseconds, saturating.
fn millis(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1000)
        .saturating_add(u64::from(duration.subsec_millis()))
}

#[derive(Debug)]
struct Slot {
    /// Tick at which it fires.
    deadline: u64,
    /// Tick of the earliest bucket that contains it; at most `deadline` while one is set.
    scheduled: u64,
    waker: Option<Waker>,
    is_called: bool,
    /// Whether its owner wants to be woken by [`Wheel::wake_listeners`].
    hears_changes: bool,
    /// State of a wait for the next tick.
    tick: Tick,
}

/// A wait for the next tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tick {
    Idle,
    Waiting,
    Elapsed,
}

impl Slot {
    fn set_waker(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
    }
}

#[derive(Debug)]
struct Slots {
    slots: Slab<Slot>,
    buckets: Vec<Vec<usize>>,
    /// Slots that wait for the next tick.
    tick_waiters: Vec<usize>,
    /// The last tick that was processed.
    tick: u64,
}

/// The timers of one worker.
#[derive(Debug)]
pub struct Wheel {
    start: Instant,
    now: Cell<Instant>,
    /// `now` in milliseconds since `start`.
    elapsed: Cell<u64>,
    slots: RefCell<Slots>,
}

impl Wheel {
    /// Makes a wheel that starts at `now`.
    pub fn new(now: Instant) -> Rc<Self> {
        let buckets = (0..BUCKETS).map(|_| Vec::with_capacity(ROOM)).collect();
        let slots = RefCell::new(Slots {
            slots: Slab::new(),
            buckets,
            tick_waiters: Vec::with_capacity(ROOM),
            tick: 0,
        });
        Rc::new(Self {
            start: now,
            now: Cell::new(now),
            elapsed: Cell::new(0),
            slots,
        })
    }

    /// The time of the last [`Self::advance`] or [`Self::observe`]: at most about one tick old.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Updates the time with one that was read for another reason, which makes deadlines more exact at no cost.
    pub fn observe(&self, now: Instant) {
        self.now.set(now);
        self.elapsed.set(now.nanos_since(self.start) / NANOS_PER_MILLI);
    }

    /// Makes a timer that is not set.
    pub fn timer(self: &Rc<Self>) -> Timer {
        let slot = Slot {
            deadline: NEVER,
            scheduled: NEVER,
            waker: None,
            is_called: false,
            hears_changes: false,
            tick: Tick::Idle,
        };
        let key = self.slots.borrow_mut().slots.insert(slot);
        Timer {
            wheel: Rc::clone(self),
            key,
        }
    }

    /// Number of existing timers.
    pub fn timers(&self) -> usize {
        self.slots.borrow().slots.len()
    }

    /// Fires every timer whose deadline has passed.
    pub fn advance(&self, now: Instant) {
        self.observe(now);
        let target = self.elapsed.get() / TICK_MILLIS;
        if self.slots.borrow().tick < target {
            self.wake_tick_waiters();
        }
        loop {
            let mut slots = self.slots.borrow_mut();
            if slots.tick >= target {
                return;
            }
            // After a jump over the whole wheel (a suspended machine) every bucket is visited once.
            slots.tick = (slots.tick + 1).max(target.saturating_sub(BUCKETS));
            let tick = slots.tick;
            let mut due = match slots.buckets.get_mut((tick % BUCKETS) as usize) {
                Some(bucket) => std::mem::take(bucket),
                None => return,
            };
            drop(slots);
            for key in due.drain(..) {
                if let Some(waker) = self.visit(key, tick, target) {
                    waker.wake();
                }
            }
            if let Some(bucket) = self.slots.borrow_mut().buckets.get_mut((tick % BUCKETS) as usize)
                && bucket.is_empty()
            {
                *bucket = due;
            }
        }
    }

    /// Wakes the slots that wait for a tick.
    fn wake_tick_waiters(&self) {
        let mut tick_waiters = std::mem::take(&mut self.slots.borrow_mut().tick_waiters);
        for key in tick_waiters.drain(..) {
            let waker = match self.slots.borrow_mut().slots.get_mut(key) {
                Some(slot) if slot.tick == Tick::Waiting => {
                    slot.tick = Tick::Elapsed;
                    slot.waker.take()
                }
                _ => None,
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        let mut slots = self.slots.borrow_mut();
        if slots.tick_waiters.is_empty() {
            slots.tick_waiters = tick_waiters;
        }
    }

    /// Fires the timer with this key now, with [`TimerEvent::Notified`].
    pub fn notify(&self, key: usize) {
        let waker = self.slots.borrow_mut().slots.get_mut(key).and_then(|slot| {
            slot.is_called = true;
            slot.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes the owners of all timers that were set by [`Timer::set_and_listen`], so that they look at what has changed. It fires
    /// no timer.
    pub fn wake_listeners(&self) {
        let mut slots = self.slots.borrow_mut();
        let listeners = slots.slots.iter_mut().filter(|(_, slot)| slot.hears_changes);
        let wakers: Vec<Waker> = listeners.filter_map(|(_, slot)| slot.waker.take()).collect();
        drop(slots);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Handles one entry of a due bucket: fires it, reschedules it, or skips it because it was rescheduled already.
    fn visit(&self, key: usize, tick: u64, now: u64) -> Option<Waker> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.slots.get_mut(key)?;
        if slot.scheduled > tick {
            return None;
        }
        if slot.deadline <= now {
            slot.scheduled = NEVER;
            return slot.waker.take();
        }
        slots.schedule(key);
        None
    }
}

impl Slots {
    /// Puts a slot into the bucket of its deadline, or into the furthest bucket.
    fn schedule(&mut self, key: usize) {
        let tick = self.tick;
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.deadline == NEVER {
            slot.scheduled = NEVER;
            return;
        }
        slot.scheduled = slot.deadline.clamp(tick + 1, tick + BUCKETS - 1);
        let index = (slot.scheduled % BUCKETS) as usize;
        if let Some(bucket) = self.buckets.get_mut(index) {
            bucket.push(key);
        }
    }
}

/// A timer that its owner sets and clears for each wait. Dropping it removes it from the wheel.
#[derive(Debug)]
pub struct Timer {
    wheel: Rc<Wheel>,
    key: usize,
}

impl Timer {
    /// The key of the timer, for [`Wheel::notify`].
    pub fn key(&self) -> usize {
        self.key
    }

    /// Sets it to fire `after` from now, replacing any earlier deadline.
    pub fn set(&self, after: Duration) {
        self.set_deadline(after, false);
    }

    /// The same for an owner that is also woken by [`Wheel::wake_listeners`] until the timer is set again.
    pub fn set_and_listen(&self, after: Duration) {
        self.set_deadline(after, true);
    }

    fn set_deadline(&self, after: Duration, hears_changes: bool) {
        // One millisecond and one tick are added because the current ones have begun already: a timer never fires early.
        let at = self
            .wheel
            .elapsed
            .get()
            .saturating_add(millis(after))
            .saturating_add(1);
        let deadline = at / TICK_MILLIS + 1;
        let mut slots = self.wheel.slots.borrow_mut();
        let furthest = slots.tick + BUCKETS - 1;
        let Some(slot) = slots.slots.get_mut(self.key) else {
            return;
        };
        slot.deadline = deadline;
        slot.hears_changes = hears_changes;
        if slot.scheduled > deadline.min(furthest) {
            slots.schedule(self.key);
        }
    }

    /// The current time of its wheel.
    pub fn now(&self) -> Instant {
        self.wheel.now()
    }

    /// Clears its deadline.
    pub fn clear(&self) {
        if let Some(slot) = self.wheel.slots.borrow_mut().slots.get_mut(self.key) {
            slot.deadline = NEVER;
        }
    }

    /// Ready once per wait, when a tick has passed since the first poll. Independent of the deadline.
    pub fn poll_tick(&self, context: &Context<'_>) -> Poll<()> {
        let mut slots = self.wheel.slots.borrow_mut();
        let Slots {
            slots, tick_waiters, ..
        } = &mut *slots;
        let Some(slot) = slots.get_mut(self.key) else {
            return Poll::Pending;
        };
        match slot.tick {
            Tick::Elapsed => {
                slot.tick = Tick::Idle;
                return Poll::Ready(());
            }
            Tick::Waiting => {}
            Tick::Idle => {
                slot.tick = Tick::Waiting;
                tick_waiters.push(self.key);
            }
        }
        slot.set_waker(context);
        Poll::Pending
    }

    /// Ready when it fires. [`TimerEvent::Notified`] is reported once, an expiry until the timer is set again.
    pub fn poll(&self, context: &Context<'_>) -> Poll<TimerEvent> {
        let mut slots = self.wheel.slots.borrow_mut();
        let tick = slots.tick;
        let Some(slot) = slots.slots.get_mut(self.key) else {
            return Poll::Pending;
        };
        if std::mem::take(&mut slot.is_called) {
            return Poll::Ready(TimerEvent::Notified);
        }
        if slot.deadline <= tick {
            return Poll::Ready(TimerEvent::Expired);
        }
        slot.set_waker(context);
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // Entries of this key left in buckets are harmless: at worst a later timer with the key is visited once too often.
        self.wheel.slots.borrow_mut().slots.remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Rig {
        wheel: Rc<Wheel>,
        start: Instant,
        count: Arc<Count>,
    }

    impl Rig {
        fn new() -> Self {
            let start = crate::clock::now();
            Self {
                wheel: Wheel::new(start),
                start,
                count: Arc::default(),
            }
        }
        fn poll(&self, timer: &Timer) -> Poll<TimerEvent> {
            let waker = Waker::from(Arc::clone(&self.count));
            timer.poll(&Context::from_waker(&waker))
        }
        /// Advances in ticks and returns after how many milliseconds the timer fired.
        fn fires_after(&self, timer: &Timer, from: u64, limit: u64) -> Option<u64> {
            (from..=limit).step_by(20).find(|&ms| {
                self.wheel.advance(self.start + Duration::from_millis(ms));
                self.poll(timer).is_ready()
            })
        }
    }

    #[test]
    fn fires_at_its_deadline_and_not_before() {
        for after in [1, 19, 20, 250, 1_000, 10_000, 10_240, 10_260, 60_000, 3_600_000] {
            let rig = Rig::new();
            let timer = rig.wheel.timer();
            timer.set(Duration::from_millis(after));
            let fired = rig.fires_after(&timer, 0, after + 100).unwrap();
            assert!(
                (after..=after + 40).contains(&fired),
                "{after} fired after {fired}"
            );
            assert_eq!(rig.count.0.load(Ordering::Relaxed), 1, "woken once");
        }
    }

    #[test]
    fn deadline_can_move_later_and_earlier() {
        let rig = Rig::new();
        let timer = rig.wheel.timer();
        timer.set(Duration::from_secs(5));
        timer.set(Duration::from_secs(30));
        assert_eq!(rig.fires_after(&timer, 0, 29_980), None);
        timer.set(Duration::from_secs(20));
        timer.set(Duration::from_millis(100));
        let fired = rig.fires_after(&timer, 29_980, 40_000).unwrap();
        assert!((30_080..=30_120).contains(&fired), "{fired}");
    }

    #[test]
    fn cleared_timer_does_not_fire() {
        let rig = Rig::new();
        let timer = rig.wheel.timer();
        timer.set(Duration::from_secs(1));
        timer.clear();
        assert_eq!(rig.fires_after(&timer, 0, 5_000), None);
        assert_eq!(rig.count.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn call_is_reported_once() {
        let rig = Rig::new();
        let timer = rig.wheel.timer();
        assert_eq!(rig.poll(&timer), Poll::Pending);
        rig.wheel.notify(timer.key());
        assert_eq!(rig.count.0.load(Ordering::Relaxed), 1);
        assert_eq!(rig.poll(&timer), Poll::Ready(TimerEvent::Notified));
        assert_eq!(rig.poll(&timer), Poll::Pending);
    }

    #[test]
    fn waits_for_a_tick_independently_of_the_deadline() {
        let rig = Rig::new();
        let (timer, other) = (rig.wheel.timer(), rig.wheel.timer());
        timer.set(Duration::from_secs(30));
        let waker = Waker::from(Arc::clone(&rig.count));
        let context = Context::from_waker(&waker);
        for round in 1..3 {
            assert!(timer.poll_tick(&context).is_pending());
            assert!(timer.poll_tick(&context).is_pending());
            assert!(rig.poll(&timer).is_pending() && rig.poll(&other).is_pending());
            rig.wheel.advance(rig.start + Duration::from_millis(20 * round));
            assert_eq!(rig.count.0.load(Ordering::Relaxed), round as usize, "woken once");
            assert!(rig.poll(&timer).is_pending(), "it did not fire");
            assert!(timer.poll_tick(&context).is_ready());
        }
    }

    #[test]
    fn long_suspension_fires_every_due_timer() {
        let rig = Rig::new();
        let timers: Vec<Timer> = (1..50).map(|_| rig.wheel.timer()).collect();
        for (index, timer) in timers.iter().enumerate() {
            timer.set(Duration::from_millis(397 * index as u64));
        }
        rig.wheel.advance(rig.start + Duration::from_secs(3_600));
        assert!(
            timers
                .iter()
                .all(|timer| rig.poll(timer) == Poll::Ready(TimerEvent::Expired))
        );
    }

    #[test]
    fn setting_a_timer_repeatedly_does_not_grow_the_wheel() {
        let rig = Rig::new();
        let timer = rig.wheel.timer();
        for round in 0..10_000_u64 {
            timer.set(Duration::from_secs(if round % 2 == 0 { 60 } else { 30 }));
            rig.wheel.advance(rig.start + Duration::from_millis(round));
        }
        let entries: usize = rig.wheel.slots.borrow().buckets.iter().map(Vec::len).sum();
        assert!(entries <= 2, "{entries}");
    }

    #[test]
    fn only_timers_that_listen_are_woken_by_a_change_and_none_fires() {
        let rig = Rig::new();
        let (hears, does_not) = (rig.wheel.timer(), rig.wheel.timer());
        hears.set_and_listen(Duration::from_secs(1));
        does_not.set_and_listen(Duration::from_secs(1));
        does_not.set(Duration::from_secs(1));
        assert!(rig.poll(&hears).is_pending() && rig.poll(&does_not).is_pending());
        rig.wheel.wake_listeners();
        assert_eq!(rig.count.0.load(Ordering::Relaxed), 1);
        assert!(rig.poll(&hears).is_pending());
        rig.wheel.wake_listeners();
        assert_eq!(
            rig.count.0.load(Ordering::Relaxed),
            2,
            "again, once it was polled"
        );
    }
}
