//! Waits that end more exactly than at a tick, such as those for a connection or before a hedge. On the thread of a worker they
//! are entries of a queue, which its [`SleepDriver`] looks after. The timers of the runtime would make every wait for a socket, of
//! which each request has two, read the clock twice and lock the timers twice. On other threads they are timers of the runtime.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use evenkeel_wire::instant::Instant;
use pin_project_lite::pin_project;

use super::{now, to_std};

thread_local! {
    static QUEUE: RefCell<Queue> = const { RefCell::new(Queue::new()) };
}

/// When a sleep ends, and its number.
type Key = (Instant, u64);

/// The sleeps of one thread. Each belongs to a future, which bounds their number.
struct Queue {
    /// Whether this thread has a [`SleepDriver`].
    is_driven: bool,
    waiting: BTreeMap<Key, Waker>,
    /// The number of the next sleep.
    next: u64,
    driver: Option<Waker>,
    /// When the driver looks again by itself.
    looks_at: Option<Instant>,
}

/// Completes at a moment. Belongs to the thread that it was made on.
#[derive(Debug)]
#[must_use = "it has to be polled"]
pub struct Sleep {
    until: Instant,
    timer: Timer,
}

#[derive(Debug)]
enum Timer {
    /// Its entry in the queue of its thread, once it was polled.
    Queue(Option<Key>),
    Runtime(Pin<Box<tokio::time::Sleep>>),
}

/// The time was over before the future was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

pin_project! {
    /// A future with a bound.
    #[derive(Debug)]
    #[must_use = "it has to be polled"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

/// Completes when `time` has passed.
pub fn sleep(time: Duration) -> Sleep {
    sleep_until(now() + time)
}

/// Completes at this moment. Reads no clock on the thread of a worker.
pub fn sleep_until(until: Instant) -> Sleep {
    let timer = match QUEUE.with_borrow(|queue| queue.is_driven) {
        true => Timer::Queue(None),
        false => Timer::Runtime(Box::pin(tokio::time::sleep_until(to_std(until).into()))),
    };
    Sleep { until, timer }
}

/// Waits at most `bound` for a future.
pub fn timeout<F: Future>(bound: Duration, future: F) -> Timeout<F> {
    timeout_at(now() + bound, future)
}

/// Waits until `until` at most for a future.
pub fn timeout_at<F: Future>(until: Instant, future: F) -> Timeout<F> {
    Timeout {
        future,
        sleep: sleep_until(until),
    }
}

impl Sleep {
    /// Completes at this moment in place of the one so far.
    pub fn reset(&mut self, until: Instant) {
        self.until = until;
        match &mut self.timer {
            Timer::Queue(key) => leave(key),
            Timer::Runtime(sleep) => sleep.as_mut().reset(to_std(until).into()),
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { until, timer } = &mut *self;
        match timer {
            Timer::Runtime(sleep) => sleep.as_mut().poll(context),
            Timer::Queue(Some(key)) => {
                let entry =
                    |queue: &mut Queue| queue.waiting.get_mut(key).map(|known| replace(known, context));
                // The waker before is dropped outside of the queue.
                match QUEUE.with_borrow_mut(entry) {
                    Some(_before) => Poll::Pending,
                    None => Poll::Ready(()),
                }
            }
            Timer::Queue(key) => {
                if *until <= now() {
                    return Poll::Ready(());
                }
                let waker = context.waker().clone();
                if let Some(driver) = QUEUE.with_borrow_mut(|queue| queue.add(*until, key, waker)) {
                    driver.wake();
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Timer::Queue(key) = &mut self.timer {
            leave(key);
        }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        ready!(Pin::new(this.sleep).poll(context));
        Poll::Ready(Err(Elapsed))
    }
}

/// Ends the sleeps of its thread. It has to be asked when to look, and to look then.
#[derive(Debug)]
pub struct SleepDriver {
    /// It belongs to its thread.
    thread: PhantomData<Rc<()>>,
}

impl SleepDriver {
    /// That of this thread: sleeps that are made on it from now on wait for it.
    #[allow(clippy::new_without_default, reason = "making it changes the thread")]
    pub fn new() -> Self {
        QUEUE.with_borrow_mut(|queue| queue.is_driven = true);
        Self { thread: PhantomData }
    }

    /// Ends the sleeps that are over.
    pub fn advance(&self, now: Instant) {
        while let Some(waker) = QUEUE.with_borrow_mut(|queue| queue.take_ended(now)) {
            waker.wake();
        }
    }

    /// When to look next, at the latest at `latest`. Wakes `context` when that becomes earlier.
    pub fn next(&self, context: &Context<'_>, latest: Instant) -> Instant {
        let waker = context.waker().clone();
        QUEUE.with_borrow_mut(|queue| {
            queue.driver = Some(waker);
            let first = queue.waiting.first_key_value();
            let next = first.map_or(latest, |((until, _), _)| latest.min(*until));
            queue.looks_at = Some(next);
            next
        })
    }
}

impl Drop for SleepDriver {
    fn drop(&mut self) {
        let driver = QUEUE.with_borrow_mut(|queue| {
            queue.is_driven = false;
            queue.driver.take()
        });
        drop(driver);
    }
}

impl Queue {
    const fn new() -> Self {
        Self {
            is_driven: false,
            waiting: BTreeMap::new(),
            next: 0,
            driver: None,
            looks_at: None,
        }
    }

    /// Adds a sleep. Returns the driver if it has to be woken.
    fn add(&mut self, until: Instant, key: &mut Option<Key>, waker: Waker) -> Option<Waker> {
        let new = (until, self.next);
        self.next += 1;
        self.waiting.insert(new, waker);
        *key = Some(new);
        let is_early = self.looks_at.is_none_or(|looks_at| until < looks_at);
        self.driver.take_if(|_| is_early)
    }

    fn take_ended(&mut self, now: Instant) -> Option<Waker> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// Takes a sleep out of the queue.
fn leave(key: &mut Option<Key>) {
    if let Some(key) = key.take() {
        // The waker is dropped outside of the queue. A thread that ends has none any more.
        let waker = QUEUE.try_with(|queue| queue.borrow_mut().waiting.remove(&key));
        drop(waker);
    }
}

/// Replaces a waker, and returns the one before.
fn replace(known: &mut Waker, context: &Context<'_>) -> Option<Waker> {
    let is_other = !known.will_wake(context.waker());
    is_other.then(|| std::mem::replace(known, context.waker().clone()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn poll<F: Future + Unpin>(self: &Arc<Self>, future: &mut F) -> Poll<F::Output> {
            let waker = Waker::from(Arc::clone(self));
            Pin::new(future).poll(&mut Context::from_waker(&waker))
        }

        fn next(self: &Arc<Self>, driver: &SleepDriver, latest: Instant) -> Instant {
            let waker = Waker::from(Arc::clone(self));
            driver.next(&Context::from_waker(&waker), latest)
        }

        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn each_ends_at_its_moment_and_not_before() {
        let driver = SleepDriver::new();
        let (later, sooner) = (Arc::<Count>::default(), Arc::<Count>::default());
        let (mut long, mut short) = (sleep(60 * SECOND), sleep(30 * SECOND));
        assert!(later.poll(&mut long).is_pending() && sooner.poll(&mut short).is_pending());
        let end = short.until;
        driver.advance(end - Duration::from_nanos(1));
        assert_eq!((later.woken(), sooner.woken()), (0, 0));
        driver.advance(end);
        assert_eq!((later.woken(), sooner.woken()), (0, 1));
        assert!(later.poll(&mut long).is_pending() && sooner.poll(&mut short).is_ready());
        driver.advance(long.until);
        assert!(later.woken() == 1 && later.poll(&mut long).is_ready());
    }

    #[test]
    fn one_that_is_over_at_once_does_not_wait() {
        let _driver = SleepDriver::new();
        let count = Arc::<Count>::default();
        assert!(count.poll(&mut sleep(Duration::ZERO)).is_ready());
        assert!(QUEUE.with_borrow(|queue| queue.waiting.is_empty()));
    }

    #[test]
    fn the_driver_is_woken_by_sleeps_that_end_before_it_looks() {
        let driver = SleepDriver::new();
        let (looking, waiting) = (Arc::<Count>::default(), Arc::<Count>::default());
        let tick = now() + 10 * SECOND;
        assert_eq!(looking.next(&driver, tick), tick);
        let mut long = sleep(60 * SECOND);
        assert!(waiting.poll(&mut long).is_pending());
        assert_eq!(looking.woken(), 0, "it looks before that anyway");
        let mut short = sleep(5 * SECOND);
        assert!(waiting.poll(&mut short).is_pending());
        assert_eq!(looking.woken(), 1);
        assert_eq!(looking.next(&driver, tick), short.until);
    }

    #[test]
    fn one_that_is_reset_or_dropped_leaves_the_queue() {
        let driver = SleepDriver::new();
        let count = Arc::<Count>::default();
        let mut moved = sleep(SECOND);
        assert!(count.poll(&mut moved).is_pending());
        let mut dropped = std::pin::pin!(timeout(SECOND, std::future::pending::<()>()));
        assert!(count.poll(&mut dropped.as_mut()).is_pending());
        dropped.set(timeout(SECOND, std::future::pending()));
        moved.reset(moved.until + 60 * SECOND);
        driver.advance(now() + 30 * SECOND);
        assert_eq!(count.woken(), 0);
        assert!(count.poll(&mut moved).is_pending());
        driver.advance(moved.until);
        assert!(count.poll(&mut moved).is_ready());
    }

    #[test]
    fn a_future_that_is_ready_in_time_counts() {
        let driver = SleepDriver::new();
        let count = Arc::<Count>::default();
        let mut ready = timeout(Duration::ZERO, std::future::ready(7));
        assert_eq!(count.poll(&mut ready), Poll::Ready(Ok(7)));
        let mut late = timeout(SECOND, std::future::pending::<()>());
        assert!(count.poll(&mut late).is_pending());
        driver.advance(now() + SECOND);
        assert_eq!(count.poll(&mut late), Poll::Ready(Err(Elapsed)));
    }

    #[tokio::test]
    async fn threads_without_a_driver_use_the_timers_of_the_runtime() {
        let started = now();
        let time = Duration::from_millis(5);
        assert_eq!(timeout(time, std::future::pending::<()>()).await, Err(Elapsed));
        assert!(now() - started >= time);
    }
}
