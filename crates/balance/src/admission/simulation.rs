//! Limit, queue and overload together, in virtual time: a backend with a fixed number of slots under an open loop of requests.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use evenkeel_wire::instant::Instant;

use super::{Gradient, Place, QueueSettings, STRAINED_FOR, Sample, Turn, UsualLatency, WaitQueue};
use crate::clock;
use crate::rng::Rng;

const MS: Duration = Duration::from_millis(1);
/// The time that one slot takes for a request, unless a test says otherwise.
const SERVICE: Duration = Duration::from_millis(10);

/// A backend with slots, and a queue of its own in which requests wait for one.
struct Backend {
    slots: usize,
    running: usize,
    queued: VecDeque<usize>,
}

/// What happens next, the earliest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    /// The deadline of the wait of this request.
    Deadline(usize),
    Response(usize),
}

struct Request {
    arrived: Instant,
    place: Option<Place>,
    sent: Option<Instant>,
}

/// A pool with one backend.
struct World {
    now: Instant,
    events: BinaryHeap<Reverse<(Instant, Event)>>,
    requests: Vec<Request>,
    queue: WaitQueue<usize>,
    settings: QueueSettings,
    latency: UsualLatency,
    /// When somebody began to wait last.
    waited_last: Option<Instant>,
    gradient: Gradient,
    /// Instead of the adaptive limit.
    fixed_limit: Option<u32>,
    in_flight: u32,
    backend: Backend,
    /// The time that one slot takes for a request.
    service: Duration,
    /// Latencies of responses, by the second of the arrival.
    latencies: BTreeMap<u64, Vec<Duration>>,
    start: Instant,
    rng: Rng,
}

impl World {
    fn new(slots: usize, fixed_limit: Option<u32>) -> Self {
        let start = clock::now();
        let mut queue = WaitQueue::default();
        queue.changed(true, true, start);
        Self {
            now: start,
            events: BinaryHeap::new(),
            requests: Vec::new(),
            queue,
            settings: QueueSettings::default(),
            latency: UsualLatency::default(),
            waited_last: None,
            gradient: Gradient::default(),
            fixed_limit,
            in_flight: 0,
            backend: Backend {
                slots,
                running: 0,
                queued: VecDeque::new(),
            },
            service: SERVICE,
            latencies: BTreeMap::new(),
            start,
            rng: Rng::seeded(7),
        }
    }

    fn limit(&self) -> u32 {
        self.fixed_limit.unwrap_or_else(|| self.gradient.limit())
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.events.push(Reverse((at, event)));
    }

    /// Runs with this many requests a second, with random gaps.
    fn run(&mut self, per_second: f64, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        self.schedule(self.now, Event::Arrival);
        while self.events.peek().is_some_and(|next| next.0.0 <= end)
            && let Some(Reverse((at, event))) = self.events.pop()
        {
            self.now = at;
            match event {
                Event::Arrival => {
                    let uniform = ((self.rng.bits() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
                    let gap = Duration::from_secs_f64(-uniform.ln() / per_second);
                    if at + gap < end {
                        self.schedule(at + gap, Event::Arrival);
                    }
                    self.arrive();
                }
                Event::Deadline(request) => self.look(request),
                Event::Response(request) => self.respond(request),
            }
        }
        self.now = end;
    }

    fn arrive(&mut self) {
        let request = self.requests.len();
        self.requests.push(Request {
            arrived: self.now,
            place: None,
            sent: None,
        });
        if self.queue.is_empty() && self.in_flight < self.limit() {
            return self.send(request);
        }
        self.waited_last = Some(self.now);
        let joined = self
            .queue
            .join(self.settings, self.latency.get(), request, self.now);
        if let Ok(place) = joined {
            self.requests[request].place = Some(place);
            self.look(request);
        }
    }

    /// A waiting request asks what it does next.
    fn look(&mut self, request: usize) {
        let Some(place) = self.requests[request]
            .place
            .filter(|_| self.requests[request].sent.is_none())
        else {
            return;
        };
        match self.queue.turn(place, self.now) {
            Turn::Now if self.in_flight < self.limit() => {
                self.queue.picked(place, self.now);
                self.send(request);
                self.wake();
            }
            Turn::Now => self.look(request),
            Turn::Later(until) => self.schedule(until, Event::Deadline(request)),
            Turn::Expired | Turn::Refused(_) => {
                self.requests[request].place = None;
                self.wake();
            }
        }
    }

    fn wake(&mut self) {
        let heads: Vec<usize> = self.queue.heads().copied().collect();
        for head in heads {
            self.look(head);
        }
    }

    fn send(&mut self, request: usize) {
        self.requests[request].sent = Some(self.now);
        self.in_flight += 1;
        self.backend.queued.push_back(request);
        self.serve();
    }

    fn serve(&mut self) {
        while self.backend.running < self.backend.slots
            && let Some(request) = self.backend.queued.pop_front()
        {
            self.backend.running += 1;
            self.schedule(self.now + self.service, Event::Response(request));
        }
    }

    fn respond(&mut self, request: usize) {
        self.backend.running -= 1;
        self.serve();
        let Request { arrived, sent, .. } = self.requests[request];
        let took = self.now - sent.unwrap();
        let sample = Sample {
            latency: took,
            is_overload: false,
            in_flight: self.in_flight,
        };
        self.in_flight -= 1;
        let is_strained = self
            .waited_last
            .is_some_and(|last| self.now - last < STRAINED_FOR);
        let random = self.rng.bits();
        self.gradient.add(sample, self.now, random);
        let idle = self
            .gradient
            .idle_latency()
            .filter(|_| self.fixed_limit.is_none());
        self.latency.record(took, idle, is_strained);
        let second = (arrived - self.start).as_secs();
        self.latencies.entry(second).or_default().push(self.now - arrived);
        self.queue.freed();
        self.wake();
    }

    /// The number of responses a second to requests of these seconds, and the 99th percentile of their latencies.
    fn goodput(&self, (from, to): (u64, u64)) -> (f64, Duration) {
        let mut all: Vec<Duration> = self
            .latencies
            .range(from..to)
            .flat_map(|(_, all)| all.clone())
            .collect();
        all.sort_unstable();
        let p99 = all[all.len() * 99 / 100];
        (all.len() as f64 / (to - from) as f64, p99)
    }
}

#[test]
fn twice_the_capacity_keeps_the_goodput_and_three_times_the_latency() {
    for slots in [4, 16, 64] {
        let capacity = slots as f64 * 100.0;
        let mut world = World::new(slots, None);
        world.run(capacity / 4.0, 5);
        world.run(capacity * 2.0, 60);
        let (_, base) = world.goodput((0, 5));
        let (goodput, p99) = world.goodput((10, 65));
        assert!(goodput >= capacity * 0.9, "{slots} slots: {goodput}/s");
        assert!(p99 <= base * 3, "{slots} slots: {p99:?}, {base:?}");
    }
}

/// Its first limit is eight times what it can take: it becomes slow before anybody waits.
#[test]
fn a_backend_with_two_slow_slots_is_kept_from_overload_too() {
    let mut world = World::new(2, None);
    world.service = 50 * MS;
    world.run(10.0, 9);
    world.run(80.0, 21);
    let usual = world.latency.get().unwrap().usual;
    assert!(usual < 70 * MS, "{usual:?}");
    let (_, base) = world.goodput((0, 9));
    let (goodput, p99) = world.goodput((15, 29));
    assert!(goodput >= 36.0, "{goodput}/s");
    assert!(p99 <= base * 3, "{p99:?}, {base:?}");
}

#[test]
fn a_fixed_limit_with_the_queue_keeps_them_too() {
    let mut world = World::new(4, Some(4));
    world.run(100.0, 5);
    world.run(800.0, 30);
    let (goodput, p99) = world.goodput((8, 35));
    assert!(goodput >= 360.0, "{goodput}/s");
    assert!(p99 <= SERVICE * 3, "{p99:?}");
}

#[test]
fn without_a_limit_the_backend_itself_makes_them_wait() {
    let mut world = World::new(4, Some(1_000_000));
    world.run(800.0, 5);
    let (_, p99) = world.goodput((0, 5));
    assert!(
        p99 > 100 * SERVICE,
        "the other tests would pass without a limit: {p99:?}"
    );
}

#[test]
fn a_burst_is_served_whole() {
    let mut world = World::new(4, Some(4));
    world.run(100.0, 5);
    for _ in 0..24 {
        world.arrive();
    }
    world.run(100.0, 5);
    let served: usize = world.latencies.range(..9).map(|(_, all)| all.len()).sum();
    let before = |request: &&Request| request.arrived < world.start + 9_000 * MS;
    assert_eq!(served, world.requests.iter().filter(before).count());
}

#[test]
fn the_pool_takes_all_again_after_an_overload() {
    let mut world = World::new(4, None);
    world.run(100.0, 5);
    world.run(800.0, 20);
    let before = world.requests.len();
    world.run(200.0, 20);
    let seconds = 26..44;
    let served: usize = world
        .latencies
        .range(seconds.clone())
        .map(|(_, all)| all.len())
        .sum();
    let second = |request: &&Request| seconds.contains(&(request.arrived - world.start).as_secs());
    let arrived = world.requests[before..].iter().filter(second).count();
    assert!(served * 1000 >= arrived * 999, "{served} of {arrived}");
}
