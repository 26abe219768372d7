//! The adaptive limit of a backend: how many requests it may have in flight before its latency grows. The limit follows the
//! gradient of the latency, in the manner of Netflix's gradient limiter and Envoy's adaptive concurrency: it grows while responses
//! take about as long as from an idle backend, and shrinks by the ratio as they take longer. Pure.

use std::time::Duration;

use evenkeel_wire::instant::Instant;

use crate::rng;

/// Whether a pool adapts the limit of its backends to their latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Adaptive {
    /// It does not.
    #[default]
    Off,
    /// It reports what the limits would be.
    Observe,
    /// It enforces the limits.
    On,
}

impl Adaptive {
    /// All of them, by their names in the config.
    pub const ALL: [(&'static str, Self); 3] =
        [("off", Self::Off), ("observe", Self::Observe), ("on", Self::On)];

    /// Its name in the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::On => "on",
        }
    }
}

/// The lowest limit: with less a backend would serve nobody.
const LOWEST: f64 = 1.0;

/// The highest limit: a backend that serves more at a time needs none.
const HIGHEST: f64 = 1000.0;

/// The limit of a new backend. It doubles until the latency grows.
const FIRST: f64 = 16.0;

/// The limit follows the average of a window of at least this time and this number of responses: fewer say little about the
/// latency.
const WINDOW: Duration = Duration::from_millis(100);
const SAMPLES: u32 = 16;

/// How much longer than from an idle backend responses may take, without a lower limit: the latency of most services varies more
/// than this from request to request, but not in the average of a window.
const TOLERANCE: f64 = 1.3;

/// A backend is idle while its limit is at least this many times its requests in flight. Not less: the first limit of a backend that
/// serves few requests at a time is far too high, and its latency grows before the limit is used.
const IDLE: f64 = 4.0;

/// The lowest ratio by which one window changes the limit.
const STEEPEST: f64 = 0.5;

/// The ratio by which refusals and timeouts change the limit.
const AFTER_OVERLOAD: f64 = 0.9;

/// Time between two measurements of the latency of an idle backend, to which up to a half is added, so that backends are not
/// measured in step.
const MEASURED_EVERY: Duration = Duration::from_secs(30);

/// Maximum number of windows that one measurement takes: the first has responses to requests from before it.
const MEASURED_WINDOWS: u32 = 2;

/// How an attempt at the backend ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Time to the head of the response.
    pub latency: Duration,
    /// Whether it ended in a timeout, or with a response that says that the backend is overloaded.
    pub is_overload: bool,
    /// Requests in flight at the backend, this one included.
    pub in_flight: u32,
}

/// The limit of one backend.
#[derive(Debug)]
pub struct Gradient {
    limit: f64,
    /// The latency of the idle backend, in microseconds; `None` until it is known.
    idle: Option<f64>,
    /// Whether the limit still doubles.
    is_growing: bool,
    window: Window,
    /// When the latency of the idle backend is measured next.
    measured_at: Option<Instant>,
    /// While it is measured: the limit before, and how many windows are left.
    measuring: Option<(f64, u32)>,
}

/// The responses since the limit was changed.
#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    sum: f64,
    count: u32,
    most_in_flight: u32,
    has_overload: bool,
}

impl Default for Gradient {
    fn default() -> Self {
        Self {
            limit: FIRST,
            idle: None,
            is_growing: true,
            window: Window::default(),
            measured_at: None,
            measuring: None,
        }
    }
}

impl Gradient {
    /// The limit: at least 1, at most 1000.
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// The latency of the idle backend, if it is known.
    pub fn idle_latency(&self) -> Option<Duration> {
        self.idle.map(|micros| Duration::from_micros(micros as u64))
    }

    /// Learns from an attempt that has ended. Returns whether the limit may have changed. `random` are fresh uniform bits.
    pub fn add(&mut self, sample: Sample, now: Instant, random: u64) -> bool {
        let window = &mut self.window;
        let began = *window.began.get_or_insert(now);
        window.most_in_flight = window.most_in_flight.max(sample.in_flight);
        if sample.is_overload {
            window.has_overload = true;
        } else {
            window.sum += sample.latency.as_micros() as f64;
            window.count += 1;
        }
        let is_over = now.saturating_duration_since(began) >= WINDOW;
        if !is_over || (window.count < SAMPLES && !window.has_overload) {
            return false;
        }
        let window = std::mem::take(&mut self.window);
        self.end_window(&window, now, random);
        true
    }

    fn end_window(&mut self, window: &Window, now: Instant, random: u64) {
        let measured_at = *self
            .measured_at
            .get_or_insert_with(|| next_measurement(now, random));
        if window.has_overload {
            self.is_growing = false;
            self.set(self.limit * AFTER_OVERLOAD);
            // The limit that a measurement gives back is lowered too: the backend has said that it is too high.
            if let Some((before, _)) = &mut self.measuring {
                *before *= AFTER_OVERLOAD;
            }
        }
        if window.count == 0 {
            return;
        }
        let average = window.sum / f64::from(window.count);
        if let Some((before, left)) = self.measuring {
            self.measuring = (left > 1).then(|| (before, left - 1));
            if self.measuring.is_none() {
                self.idle = Some(average);
                self.set(before);
            }
            return;
        }
        let is_limited = f64::from(window.most_in_flight) * 2.0 > self.limit;
        let idle = *self.idle.get_or_insert(average);
        let is_idle = f64::from(window.most_in_flight) * IDLE <= self.limit;
        // An idle backend tells its latency by itself, whether it has become faster or slower.
        if is_idle {
            self.idle = Some(idle + (average - idle) / 8.0);
        } else if average < idle {
            self.idle = Some(average);
        } else if self.limit() == LOWEST as u32 && window.most_in_flight <= 1 && average > idle * TOLERANCE {
            // One request at a time waits for no other: the backend itself has become slower. Its limit would stay at the lowest until
            // the next measurement.
            self.idle = Some(average);
            self.is_growing = true;
        }
        if now >= measured_at {
            self.measured_at = Some(next_measurement(now, random));
            if is_limited {
                self.measuring = Some((self.limit, MEASURED_WINDOWS));
                self.set(self.limit / 2.0);
            }
            return;
        }
        if !window.has_overload {
            self.follow(idle * TOLERANCE / average, is_limited);
        }
    }

    /// Changes the limit by the ratio of the latency that is wanted to the one that was measured.
    fn follow(&mut self, ratio: f64, is_limited: bool) {
        if ratio < 1.0 {
            self.is_growing = false;
            self.set(self.limit * ratio.max(STEEPEST) + headroom(self.limit));
        } else if is_limited {
            // More than is used is not needed, and was never tried.
            let grown = match self.is_growing {
                true => self.limit * 2.0,
                false => self.limit + headroom(self.limit),
            };
            self.set(grown);
        }
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(LOWEST, HIGHEST);
    }
}

/// What is added to the limit, to find out whether the backend can take more.
fn headroom(limit: f64) -> f64 {
    (limit.sqrt() / 4.0).max(0.5)
}

fn next_measurement(now: Instant, random: u64) -> Instant {
    now + MEASURED_EVERY + rng::part(MEASURED_EVERY / 2, random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::rng::Rng;

    const MS: Duration = Duration::from_millis(1);

    /// A backend that serves `slots` requests at a time, each in 10 ms, and is always asked for as many as the limit allows, but
    /// not for more than `demand`. Returns the limits at the ends of the seconds, without those of measurements.
    fn limits(
        gradient: &mut Gradient,
        start: Instant,
        (slots, demand): (u32, u32),
        seconds: u64,
    ) -> Vec<u32> {
        let mut rng = Rng::seeded(1);
        let mut now = start;
        let mut limits = Vec::new();
        for second in 1..=seconds {
            while now < start + Duration::from_secs(second) {
                let in_flight = gradient.limit().min(demand);
                let queued = f64::from(in_flight.max(slots)) / f64::from(slots);
                let noise = 0.8 + 0.4 * (rng.bits() >> 11) as f64 / (1_u64 << 53) as f64;
                let sample = Sample {
                    latency: MS.mul_f64(10.0 * queued * noise),
                    is_overload: false,
                    in_flight,
                };
                gradient.add(sample, now, rng.bits());
                // Responses come as fast as the slots allow.
                now += MS.mul_f64(10.0 / f64::from(in_flight.min(slots)));
            }
            if gradient.measuring.is_none() {
                limits.push(gradient.limit());
            }
        }
        limits
    }

    #[test]
    fn the_limit_settles_a_little_above_what_the_backend_serves_at_a_time() {
        for (slots, most) in [(4, 8), (20, 30), (100, 140), (400, 540)] {
            let mut gradient = Gradient::default();
            // Before the load, the backend was idle.
            limits(&mut gradient, clock::now(), (slots, 1), 5);
            let limits = limits(&mut gradient, clock::now() + 6_000 * MS, (slots, 5000), 40);
            for limit in &limits[10..] {
                assert!((slots * 8 / 10..=most).contains(limit), "{slots}: {limits:?}");
            }
        }
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let mut gradient = Gradient::default();
        let limits = limits(&mut gradient, clock::now(), (1000, 3), 10);
        assert_eq!(limits.last(), Some(&(FIRST as u32)));
    }

    #[test]
    fn a_backend_that_has_become_slower_for_good_gets_its_limit_back() {
        let mut gradient = Gradient::default();
        let start = clock::now();
        limits(&mut gradient, start, (100, 60), 5);
        let before = gradient.limit();
        assert!(before >= 60, "{before}");
        // The same backend takes twice as long for each request, without any queue.
        let mut now = start + 6_000 * MS;
        let mut rng = Rng::seeded(2);
        let mut lowest = before;
        while now < start + 200_000 * MS {
            let in_flight = gradient.limit().min(60);
            let sample = Sample {
                latency: 20 * MS,
                is_overload: false,
                in_flight,
            };
            gradient.add(sample, now, rng.bits());
            lowest = lowest.min(gradient.limit());
            now += MS;
        }
        assert!(lowest < 60, "{lowest}");
        assert!(gradient.limit() >= 60, "{}", gradient.limit());
        assert_eq!(gradient.idle_latency(), Some(20 * MS));
    }

    #[test]
    fn a_backend_that_has_become_much_slower_is_used_again_long_before_the_next_measurement() {
        let mut gradient = Gradient::default();
        let start = clock::now();
        limits(&mut gradient, start, (8, 60), 5);
        let mut now = start + 5_000 * MS;
        let mut rng = Rng::seeded(3);
        let (mut lowest, mut ended) = (u32::MAX, 0);
        // 16 times slower, and still 8 at a time.
        while now < start + 25_000 * MS {
            let in_flight = gradient.limit().min(60);
            let sample = Sample {
                latency: 160 * MS * in_flight.max(8) / 8,
                is_overload: false,
                in_flight,
            };
            gradient.add(sample, now, rng.bits());
            lowest = lowest.min(gradient.limit());
            now += 160 * MS / in_flight.min(8);
            ended += 1;
        }
        assert_eq!(lowest, 1);
        assert!((6..=12).contains(&gradient.limit()), "{}", gradient.limit());
        // Of 1,000 that it can serve in this time.
        assert!(ended > 300, "{ended}");
    }

    #[test]
    fn refusals_lower_the_limit_step_by_step_down_to_one() {
        let mut gradient = Gradient::default();
        let start = clock::now();
        let mut before = gradient.limit();
        for step in 0..100 {
            let sample = Sample {
                latency: MS,
                is_overload: true,
                in_flight: before,
            };
            gradient.add(sample, start + step * WINDOW, 0);
            gradient.add(sample, start + step * WINDOW + WINDOW, 0);
            assert!(gradient.limit() <= before);
            before = gradient.limit();
        }
        assert_eq!(before, 1);
    }

    #[test]
    fn refusals_during_a_measurement_lower_the_limit_after_it() {
        let mut gradient = Gradient {
            limit: 100.0,
            idle: Some(10_000.0),
            is_growing: false,
            measured_at: Some(clock::now()),
            ..Gradient::default()
        };
        let mut now = clock::now() + MS;
        let mut end_window = |gradient: &mut Gradient, is_overload| {
            for number in 0..=SAMPLES {
                let sample = Sample {
                    latency: 10 * MS,
                    is_overload: is_overload && number == 0,
                    in_flight: 100,
                };
                gradient.add(sample, now, 0);
                now += WINDOW / SAMPLES;
            }
        };
        end_window(&mut gradient, false);
        assert!(gradient.measuring.is_some());
        for _ in 0..MEASURED_WINDOWS {
            end_window(&mut gradient, true);
        }
        assert!(gradient.measuring.is_none());
        assert_eq!(gradient.limit(), 81);
    }
}
