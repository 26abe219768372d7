//! One timer wheel a worker instead of a timer object a request. An alarm that is set again to a later time, as every
//! request does, costs two stores: the wheel finds out when it comes by. Time is an argument of [`Wheel::advance`], so
//! that the wheel can be tested without waiting.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

/// How fine the wheel is: timeouts may ring so much late.
pub const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const TICK_MILLIS: u64 = 20;
/// Buckets of the wheel; alarms further away than all of them wait in the last and are moved on from there.
const BUCKETS: u64 = 512;
/// Alarms that a bucket has room for from the start: a first turn of the wheel under light load allocates nothing.
const ROOM: usize = 8;
const NEVER: u64 = u64::MAX;

/// Why an alarm rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// Its time has come.
    Expired,
    /// [`Wheel::ring`] was called for it: somebody else wants the owner's attention.
    Called,
}

/// Whole milliseconds; what does not fit is as good as for ever.
fn millis(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1000)
        .saturating_add(u64::from(duration.subsec_millis()))
}

#[derive(Debug)]
struct Slot {
    /// Tick at which it rings.
    deadline: u64,
    /// Tick of the earliest bucket in which it stands; at most `deadline` while one is set.
    scheduled: u64,
    waker: Option<Waker>,
    called: bool,
    /// How far a wait for the next tick has come.
    tick: Tick,
}

/// A wait for the next tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tick {
    Unwanted,
    Awaited,
    Come,
}

impl Slot {
    fn wake_by(&mut self, context: &Context<'_>) {
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
    /// Those that wait for the next tick.
    impatient: Vec<usize>,
    /// The tick up to which everything rang.
    tick: u64,
}

/// The timers of one worker.
#[derive(Debug)]
pub struct Wheel {
    start: Instant,
    now: Cell<Instant>,
    /// `now` in milliseconds since the start.
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
            impatient: Vec::with_capacity(ROOM),
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

    /// Tells the wheel a time that was read for another reason, so that deadlines become more exact for free.
    pub fn observe(&self, now: Instant) {
        self.now.set(now);
        self.elapsed
            .set(millis(now.saturating_duration_since(self.start)));
    }

    /// Makes an alarm that is not set.
    pub fn alarm(self: &Rc<Self>) -> Alarm {
        let slot = Slot {
            deadline: NEVER,
            scheduled: NEVER,
            waker: None,
            called: false,
            tick: Tick::Unwanted,
        };
        let key = self.slots.borrow_mut().slots.insert(slot);
        Alarm {
            wheel: Rc::clone(self),
            key,
        }
    }

    /// Number of alarms that exist.
    pub fn alarms(&self) -> usize {
        self.slots.borrow().slots.len()
    }

    /// Rings every alarm whose time has come.
    pub fn advance(&self, now: Instant) {
        self.observe(now);
        let target = self.elapsed.get() / TICK_MILLIS;
        if self.slots.borrow().tick < target {
            self.tell_impatient();
        }
        loop {
            let mut slots = self.slots.borrow_mut();
            if slots.tick >= target {
                return;
            }
            // A jump over the whole wheel (a suspended machine) visits every bucket once.
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

    /// Wakes those that wait for a tick.
    fn tell_impatient(&self) {
        let mut impatient = std::mem::take(&mut self.slots.borrow_mut().impatient);
        for key in impatient.drain(..) {
            let waker = match self.slots.borrow_mut().slots.get_mut(key) {
                Some(slot) if slot.tick == Tick::Awaited => {
                    slot.tick = Tick::Come;
                    slot.waker.take()
                }
                _ => None,
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        let mut slots = self.slots.borrow_mut();
        if slots.impatient.is_empty() {
            slots.impatient = impatient;
        }
    }

    /// Rings the alarm with this key now, with [`Ring::Called`].
    pub fn ring(&self, key: usize) {
        let waker = self.slots.borrow_mut().slots.get_mut(key).and_then(|slot| {
            slot.called = true;
            slot.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// One entry of a bucket that is due: rings it, moves it on, or finds that it stands elsewhere by now.
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
    /// Puts a slot into the bucket of its deadline, or into the furthest one.
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

/// One timer; set and cleared as its owner goes from wait to wait. Dropping it takes it off the wheel.
#[derive(Debug)]
pub struct Alarm {
    wheel: Rc<Wheel>,
    key: usize,
}

impl Alarm {
    /// Identifies it for [`Wheel::ring`].
    pub fn key(&self) -> usize {
        self.key
    }

    /// Lets it ring `after` from now on instead of whenever it was set to.
    pub fn set(&self, after: Duration) {
        // One millisecond and one tick more, because the current ones have begun already: an alarm never rings early.
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
        if slot.scheduled > deadline.min(furthest) {
            slots.schedule(self.key);
        }
    }

    /// The time of its wheel.
    pub fn now(&self) -> Instant {
        self.wheel.now()
    }

    /// Stops it.
    pub fn clear(&self) {
        if let Some(slot) = self.wheel.slots.borrow_mut().slots.get_mut(self.key) {
            slot.deadline = NEVER;
        }
    }

    /// Ready when a tick has passed since this was asked first, however it was set; once for each time that it was waited for.
    pub fn poll_tick(&self, context: &Context<'_>) -> Poll<()> {
        let mut slots = self.wheel.slots.borrow_mut();
        let Slots { slots, impatient, .. } = &mut *slots;
        let Some(slot) = slots.get_mut(self.key) else {
            return Poll::Pending;
        };
        match slot.tick {
            Tick::Come => {
                slot.tick = Tick::Unwanted;
                return Poll::Ready(());
            }
            Tick::Awaited => {}
            Tick::Unwanted => {
                slot.tick = Tick::Awaited;
                impatient.push(self.key);
            }
        }
        slot.wake_by(context);
        Poll::Pending
    }

    /// Ready when it rings; [`Ring::Called`] is reported once, an expiry until it is set again.
    pub fn poll(&self, context: &Context<'_>) -> Poll<Ring> {
        let mut slots = self.wheel.slots.borrow_mut();
        let tick = slots.tick;
        let Some(slot) = slots.slots.get_mut(self.key) else {
            return Poll::Pending;
        };
        if std::mem::take(&mut slot.called) {
            return Poll::Ready(Ring::Called);
        }
        if slot.deadline <= tick {
            return Poll::Ready(Ring::Expired);
        }
        slot.wake_by(context);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // Entries of this key in buckets are harmless: a later owner of the key at worst is visited once too often.
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
        fn poll(&self, alarm: &Alarm) -> Poll<Ring> {
            let waker = Waker::from(Arc::clone(&self.count));
            alarm.poll(&Context::from_waker(&waker))
        }
        /// Advances in ticks and says after how many milliseconds the alarm rang.
        fn rings_after(&self, alarm: &Alarm, from: u64, limit: u64) -> Option<u64> {
            (from..=limit).step_by(20).find(|&ms| {
                self.wheel.advance(self.start + Duration::from_millis(ms));
                self.poll(alarm).is_ready()
            })
        }
    }

    #[test]
    fn rings_at_its_time_and_not_before() {
        for after in [1, 19, 20, 250, 1_000, 10_000, 10_240, 10_260, 60_000, 3_600_000] {
            let rig = Rig::new();
            let alarm = rig.wheel.alarm();
            alarm.set(Duration::from_millis(after));
            let rang = rig.rings_after(&alarm, 0, after + 100).unwrap();
            assert!((after..=after + 40).contains(&rang), "{after} rang after {rang}");
            assert_eq!(rig.count.0.load(Ordering::Relaxed), 1, "woken once");
        }
    }

    #[test]
    fn moving_it_later_or_earlier_counts() {
        let rig = Rig::new();
        let alarm = rig.wheel.alarm();
        alarm.set(Duration::from_secs(5));
        alarm.set(Duration::from_secs(30));
        assert_eq!(rig.rings_after(&alarm, 0, 29_980), None);
        alarm.set(Duration::from_secs(20));
        alarm.set(Duration::from_millis(100));
        let rang = rig.rings_after(&alarm, 29_980, 40_000).unwrap();
        assert!((30_080..=30_120).contains(&rang), "{rang}");
    }

    #[test]
    fn a_cleared_alarm_is_silent() {
        let rig = Rig::new();
        let alarm = rig.wheel.alarm();
        alarm.set(Duration::from_secs(1));
        alarm.clear();
        assert_eq!(rig.rings_after(&alarm, 0, 5_000), None);
        assert_eq!(rig.count.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_call_is_reported_once() {
        let rig = Rig::new();
        let alarm = rig.wheel.alarm();
        assert_eq!(rig.poll(&alarm), Poll::Pending);
        rig.wheel.ring(alarm.key());
        assert_eq!(rig.count.0.load(Ordering::Relaxed), 1);
        assert_eq!(rig.poll(&alarm), Poll::Ready(Ring::Called));
        assert_eq!(rig.poll(&alarm), Poll::Pending);
    }

    #[test]
    fn a_tick_is_waited_for_whatever_the_alarm_is_set_to() {
        let rig = Rig::new();
        let (alarm, other) = (rig.wheel.alarm(), rig.wheel.alarm());
        alarm.set(Duration::from_secs(30));
        let waker = Waker::from(Arc::clone(&rig.count));
        let context = Context::from_waker(&waker);
        for round in 1..3 {
            assert!(alarm.poll_tick(&context).is_pending());
            assert!(alarm.poll_tick(&context).is_pending());
            assert!(rig.poll(&alarm).is_pending() && rig.poll(&other).is_pending());
            rig.wheel.advance(rig.start + Duration::from_millis(20 * round));
            assert_eq!(rig.count.0.load(Ordering::Relaxed), round as usize, "woken once");
            assert!(rig.poll(&alarm).is_pending(), "it did not ring");
            assert!(alarm.poll_tick(&context).is_ready());
        }
    }

    #[test]
    fn a_long_suspension_rings_everything_that_is_due() {
        let rig = Rig::new();
        let alarms: Vec<Alarm> = (1..50).map(|_| rig.wheel.alarm()).collect();
        for (index, alarm) in alarms.iter().enumerate() {
            alarm.set(Duration::from_millis(397 * index as u64));
        }
        rig.wheel.advance(rig.start + Duration::from_secs(3_600));
        assert!(
            alarms
                .iter()
                .all(|alarm| rig.poll(alarm) == Poll::Ready(Ring::Expired))
        );
    }

    #[test]
    fn setting_an_alarm_again_and_again_does_not_grow_the_wheel() {
        let rig = Rig::new();
        let alarm = rig.wheel.alarm();
        for round in 0..10_000_u64 {
            alarm.set(Duration::from_secs(if round % 2 == 0 { 60 } else { 30 }));
            rig.wheel.advance(rig.start + Duration::from_millis(round));
        }
        let entries: usize = rig.wheel.slots.borrow().buckets.iter().map(Vec::len).sum();
        assert!(entries <= 2, "{entries}");
    }
}
