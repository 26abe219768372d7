//! The wait queue of a pool, which its workers share. It is locked only by requests that wait, and by events while somebody waits;
//! what every request looks at is one cache line that is hardly ever written.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;

use crate::admission::{Place, QueueSettings, Refusal, STRAINED_FOR, Turn, UsualLatency, WaitQueue};
use crate::backend::Padded;
use crate::clock::{self, Instant};

/// The requests of a pool that wait for a backend. Outlives reloads.
#[derive(Debug)]
pub struct Queue {
    signs: Padded<Signs>,
    latency: UsualLatency,
    created: Instant,
    waiting: Mutex<WaitQueue<Waker>>,
}

/// What requests look at without the lock.
#[derive(Debug)]
struct Signs {
    /// Number of requests that wait.
    waiting: AtomicUsize,
    /// Whether an established connection is news.
    awaits_connection: AtomicBool,
    /// When a request joined last, in milliseconds since the queue was created, plus one; 0 before the first one.
    joined_last: AtomicU64,
}

/// The state of a queue, for the status and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStatus {
    /// Number of requests that wait.
    pub depth: usize,
    /// The 99th percentile of the waits of the last minute; `None` without any.
    pub waited_p99: Option<Duration>,
}

/// The place of a waiting request, which it leaves when this is dropped.
#[derive(Debug)]
pub struct QueuePlace<'q> {
    queue: &'q Queue,
    place: Place,
}

impl Default for Queue {
    fn default() -> Self {
        let queue = WaitQueue::default();
        Self {
            signs: Padded(Signs {
                waiting: AtomicUsize::new(0),
                awaits_connection: AtomicBool::new(queue.awaits_connection()),
                joined_last: AtomicU64::new(0),
            }),
            latency: UsualLatency::default(),
            created: clock::now(),
            waiting: Mutex::new(queue),
        }
    }
}

impl Queue {
    /// Whether a new request has to wait behind others.
    #[inline]
    pub fn is_occupied(&self) -> bool {
        self.signs.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// Adds a request behind all others.
    ///
    /// # Errors
    /// Why it may not wait.
    pub fn join(&self, settings: QueueSettings, waker: &Waker) -> Result<QueuePlace<'_>, Refusal> {
        let now = clock::now();
        let since = now.saturating_duration_since(self.created).as_millis() as u64;
        self.signs.0.joined_last.store(since + 1, Ordering::Relaxed);
        let latency = self.latency.get();
        let place = self.change(|queue| queue.join(settings, latency, waker.clone(), now))?;
        Ok(QueuePlace { queue: self, place })
    }

    /// A slot at a backend is free, which may be another worker's news: called after the count of requests in flight was
    /// decreased, as the last of the operations that [`Ordering::SeqCst`] orders.
    #[inline]
    pub fn freed(&self) {
        if self.signs.0.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_after(WaitQueue::freed);
        }
    }

    /// A backend has responded, or taken a new connection, for the request with this place or for one that did not wait.
    #[inline]
    pub fn succeeded(&self, place: &mut Option<Box<QueuePlace<'_>>>, settings: Option<QueueSettings>) {
        if place.is_some() || self.awaits_connection() {
            let place = place.take().map(|place| place.place);
            let timeout = settings.unwrap_or_default().timeout;
            self.wake_after(|queue| queue.connected(place, timeout, clock::now()));
        }
    }

    /// A connection was refused, and no other backend may be tried.
    pub fn refused(&self) {
        self.wake_after(|queue| queue.refused(clock::now()));
    }

    /// Whether its backends have refused connections, and none has been established since.
    pub fn awaits_connection(&self) -> bool {
        self.signs.0.awaits_connection.load(Ordering::Relaxed)
    }

    /// The eligible backends of the pool have changed. `has_been_up` says whether a check has found one up before. Called after
    /// workers can see them.
    pub fn backends_changed(&self, has_eligible: bool, has_been_up: bool) {
        self.wake_after(|queue| queue.changed(has_eligible, has_been_up, clock::now()));
    }

    /// The pool was removed.
    pub fn close(&self) {
        self.wake_after(WaitQueue::close);
    }

    /// Learns how long a backend took for a response, and how long it takes while it is `idle`, if that is known.
    pub fn learn(&self, latency: Duration, idle: Option<Duration>, now: Instant) {
        let is_strained = match self.signs.0.joined_last.load(Ordering::Relaxed) {
            0 => false,
            last => {
                let since = now.saturating_duration_since(self.created);
                since.saturating_sub(Duration::from_millis(last)) < STRAINED_FOR
            }
        };
        self.latency.record(latency, idle, is_strained);
    }

    /// Number of requests that wait.
    pub fn depth(&self) -> usize {
        self.signs.0.waiting.load(Ordering::Relaxed)
    }

    /// Its state.
    pub fn status(&self) -> QueueStatus {
        let queue = self.lock();
        QueueStatus {
            depth: queue.len(),
            waited_p99: queue.quantile(0.99, clock::now()),
        }
    }

    /// Changes the queue, then wakes those whose turn it may be.
    fn wake_after<T>(&self, change: impl FnOnce(&mut WaitQueue<Waker>) -> T) -> T {
        let (result, heads) = self.change(|queue| {
            let result = change(queue);
            (result, heads(queue))
        });
        heads.into_iter().for_each(Waker::wake);
        result
    }

    /// Changes the queue, and shows it to those who look without the lock.
    fn change<T>(&self, change: impl FnOnce(&mut WaitQueue<Waker>) -> T) -> T {
        let mut queue = self.lock();
        let result = change(&mut queue);
        let signs = &self.signs.0;
        // Before the caller looks at the backends: who frees a slot sees either that somebody waits, or a slot that is seen.
        signs.waiting.store(queue.len(), Ordering::SeqCst);
        signs
            .awaits_connection
            .store(queue.awaits_connection(), Ordering::Relaxed);
        drop(queue);
        fence(Ordering::SeqCst);
        result
    }

    fn lock(&self) -> MutexGuard<'_, WaitQueue<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueuePlace<'_> {
    /// What the request does next.
    pub fn turn(&self, waker: &Waker, now: Instant) -> Turn {
        let (turn, heads) = self.queue.change(|queue| {
            queue.set_waker(self.place, waker.clone());
            let turn = queue.turn(self.place, now);
            let has_left = matches!(turn, Turn::Expired | Turn::Refused(_));
            (turn, has_left.then(|| heads(queue)))
        });
        heads.into_iter().flatten().for_each(Waker::wake);
        turn
    }

    /// The request has picked a backend. Returns how long it has waited.
    pub fn picked(&self, now: Instant) -> Duration {
        self.queue.wake_after(|queue| {
            queue.picked(self.place, now);
            queue.waited(self.place, now)
        })
    }

    /// Waits again at the same place, after an attempt in vain. Another request may try a backend now.
    pub fn put_back(&self, waker: &Waker) {
        self.queue
            .wake_after(|queue| queue.put_back(self.place, waker.clone()));
    }

    /// The request uses a connection that was established before: others need not wait for what becomes of it. It keeps its place.
    pub fn step_aside(&self) {
        self.queue.wake_after(|queue| queue.leave(self.place));
    }

    /// How long the request may wait.
    pub fn allowed(&self) -> Duration {
        self.place.allowed()
    }

    /// Whether the place is in this queue.
    pub fn is_in(&self, queue: &Queue) -> bool {
        std::ptr::eq(self.queue, queue)
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        if self.queue.is_occupied() {
            self.queue.wake_after(|queue| queue.leave(self.place));
        }
    }
}

/// What wakes those whose turn it may be. Cloned, to be called without the lock: a waker may run code of the runtime.
fn heads(queue: &WaitQueue<Waker>) -> SmallVec<[Waker; 4]> {
    queue.heads().cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    /// Counts how often it wakes.
    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waker() -> (Arc<Counted>, Waker) {
        let counted = Arc::<Counted>::default();
        (Arc::clone(&counted), Waker::from(counted))
    }

    #[test]
    fn a_free_slot_wakes_the_first_and_its_departure_the_next() {
        let queue = Queue::default();
        queue.backends_changed(true, true);
        let settings = QueueSettings::default();
        let ((first, waker_1), (second, waker_2)) = (waker(), waker());
        let one = queue.join(settings, &waker_1).unwrap();
        let _other = queue.join(settings, &waker_2).unwrap();
        let woken = || [&first, &second].map(|counted| counted.0.load(Ordering::Relaxed));
        assert_eq!(woken(), [0, 0]);
        queue.freed();
        assert_eq!(woken(), [1, 0]);
        assert_eq!(one.turn(&waker_1, clock::now()), Turn::Now);
        drop(one);
        assert_eq!(woken(), [1, 1]);
        assert_eq!(queue.status().depth, 1);
    }

    #[test]
    fn an_attempt_in_vain_wakes_who_may_try_next() {
        let queue = Queue::default();
        queue.backends_changed(true, true);
        queue.refused();
        let settings = QueueSettings::default();
        let ((first, waker_1), (_, waker_2)) = (waker(), waker());
        let one = queue.join(settings, &waker_1).unwrap();
        let two = queue.join(settings, &waker_2).unwrap();
        // The backend takes a connection, so that two requests may try at a time, and refuses both.
        queue.succeeded(&mut None, Some(settings));
        for (place, waker) in [(&one, &waker_1), (&two, &waker_2)] {
            assert_eq!(place.turn(waker, clock::now()), Turn::Now);
            place.picked(clock::now());
        }
        queue.refused();
        one.put_back(&waker_1);
        // The other one is still trying, and only one may now.
        let pause_is_over = clock::now() + Duration::from_secs(1);
        assert!(matches!(one.turn(&waker_1, pause_is_over), Turn::Later(_)));
        let before = first.0.load(Ordering::Relaxed);
        two.put_back(&waker_2);
        assert_eq!(first.0.load(Ordering::Relaxed), before + 1);
        assert_eq!(one.turn(&waker_1, pause_is_over), Turn::Now);
    }

    #[test]
    fn an_empty_queue_is_not_locked_by_requests_that_go_on() {
        let queue = Queue::default();
        queue.succeeded(&mut None, None);
        let _locked = queue.lock();
        assert!(!queue.is_occupied());
        queue.freed();
        queue.succeeded(&mut None, None);
        queue.learn(Duration::from_millis(1), None, clock::now());
    }
}
