//! Silence: a backend that takes requests and responds to none of them, noticed long before the first of them times out. New
//! requests then avoid it as long as there are others, and a probe or the timeouts decide what becomes of it.
//!
//! Found by counters that requests keep anyway, which somebody compares every [`LOOK_EVERY`], so that a request pays nothing
//! for it. Pure: time is an argument.

use std::time::Duration;

use evenkeel_wire::instant::Instant;

/// Time between two looks at a backend that gets requests.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Requests without a response that make a silence. One or two may be those that take long at any backend.
const REQUESTS: u64 = 3;

/// The shortest silence: a pause of a process or of the machine is often nearly as long.
const SHORTEST: Duration = Duration::from_millis(100);

/// How many times as long as the usual latency a silence lasts at least.
const TIMES_USUAL: u32 = 3;

/// The part of the responses of a backend that begin within its usual latency.
pub const USUAL: f64 = 0.95;

/// Responses of the last minute without which no latency is usual.
pub const LEAST_RESPONSES: u64 = 20;

/// For how long a silent backend is avoided at first. After that some requests find out whether it still is silent, and each further
/// time is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);

/// The longest time for which a silent backend is avoided without another try. As soon as it responds to any request, it is not
/// avoided any more.
const LONGEST: Duration = Duration::from_secs(8);

/// The counters of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Attempts that have begun.
    pub begun: u64,
    /// Attempts that have ended without a response.
    pub failed: u64,
    /// A number that grows with every response.
    pub responses: u64,
    /// Attempts that have not ended. Some of those that have begun end without a failure, such as those whose client has left.
    pub in_flight: u64,
}

/// What a look finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// The backend is silent: new requests are to avoid it for this time.
    Silent {
        /// The time.
        avoid_for: Duration,
        /// Requests that wait for a response.
        waiting: u64,
        /// Whether it was not found silent since its last response.
        is_first: bool,
    },
    /// A backend that was silent has responded.
    Responds,
}

/// What is known of the silence of one backend.
#[derive(Debug, Default)]
pub struct Silence {
    /// The counters after the last response, or when it was last found silent.
    base: Option<Counters>,
    /// Since when enough requests wait.
    since: Option<Instant>,
    /// How often it was found silent since its last response.
    times: u32,
}

impl Silence {
    /// Whether it was found silent and has not responded since.
    pub fn is_silent(&self) -> bool {
        self.times > 0
    }

    /// Whether a look would find nothing, since no attempt has begun after the last response.
    pub fn is_idle(&self, begun: u64) -> bool {
        self.times == 0 && self.base.is_some_and(|base| base.begun == begun)
    }

    /// Looks at the counters of the backend. `usual` is the time within which the part [`USUAL`] of its responses begin; `None`
    /// if there were too few.
    pub fn look(
        &mut self,
        counters: Counters,
        now: Instant,
        usual: impl FnOnce() -> Option<Duration>,
    ) -> Option<Observation> {
        let responded = |base: Counters| base.responses != counters.responses;
        let Some(base) = self.base.filter(|base| !responded(*base)) else {
            let was_silent = self.is_silent();
            self.forget();
            self.base = Some(counters);
            return was_silent.then_some(Observation::Responds);
        };
        let begun = counters.begun.saturating_sub(base.begun);
        let waiting = begun.saturating_sub(counters.failed.saturating_sub(base.failed));
        let waiting = waiting.min(counters.in_flight);
        // One more shows that it is silent still.
        let enough = if self.times == 0 { REQUESTS } else { 1 };
        if waiting < enough {
            self.since = None;
            return None;
        }
        let lasts = now.saturating_duration_since(*self.since.get_or_insert(now));
        if lasts < SHORTEST || lasts < usual()? * TIMES_USUAL {
            return None;
        }
        let avoid_for = (FIRST * 2_u32.saturating_pow(self.times)).min(LONGEST);
        self.times = self.times.saturating_add(1);
        self.base = Some(counters);
        self.since = None;
        Some(Observation::Silent {
            avoid_for,
            waiting,
            is_first: self.times == 1,
        })
    }

    /// Forgets all, of a backend that gets no requests any more. Returns whether it was silent.
    pub fn forget(&mut self) -> bool {
        std::mem::take(self).times > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const MS: Duration = Duration::from_millis(1);

    /// A backend whose usual latency is 10 ms, and what is found of it.
    struct Backend {
        silence: Silence,
        counters: Counters,
        usual: Option<Duration>,
        start: Instant,
        looks: u32,
    }

    impl Backend {
        fn new() -> Self {
            let mut backend = Self {
                silence: Silence::default(),
                counters: Counters {
                    begun: 7,
                    failed: 2,
                    responses: 100,
                    in_flight: 1_000,
                },
                usual: Some(10 * MS),
                start: clock::now(),
                looks: 0,
            };
            assert_eq!(backend.look(), None);
            backend
        }

        fn look(&mut self) -> Option<Observation> {
            let now = self.start + LOOK_EVERY * self.looks;
            self.looks += 1;
            self.silence.look(self.counters, now, || self.usual)
        }

        /// Looks until something is found, up to `most` times; returns how often that was, and the finding.
        fn look_until(&mut self, most: u32) -> Option<(u32, Observation)> {
            (1..=most).find_map(|look| Some((look, self.look()?)))
        }
    }

    fn avoid_for(finding: Option<(u32, Observation)>) -> Option<Duration> {
        match finding?.1 {
            Observation::Silent { avoid_for, .. } => Some(avoid_for),
            Observation::Responds => None,
        }
    }

    #[test]
    fn three_requests_without_a_response_make_a_silence() {
        let mut backend = Backend::new();
        backend.counters.begun += 2;
        assert_eq!(backend.look_until(100), None, "two may be slow ones");
        backend.counters.begun += 1;
        let silent = Observation::Silent {
            avoid_for: FIRST,
            waiting: 3,
            is_first: true,
        };
        assert_eq!(backend.look_until(10), Some((3, silent)));
    }

    #[test]
    fn a_backend_that_responds_to_some_request_is_not_silent() {
        let mut backend = Backend::new();
        for _ in 0..1_000 {
            backend.counters.begun += 50;
            backend.counters.responses += 1;
            assert_eq!(backend.look(), None);
            assert_eq!(backend.look(), None);
        }
    }

    #[test]
    fn attempts_that_have_failed_wait_no_more() {
        let mut backend = Backend::new();
        backend.counters.begun += 10;
        backend.counters.failed += 8;
        assert_eq!(backend.look_until(100), None);
    }

    #[test]
    fn attempts_whose_client_has_left_wait_no_more() {
        let mut backend = Backend::new();
        backend.counters.begun += 10;
        backend.counters.in_flight = 2;
        assert_eq!(backend.look_until(100), None);
    }

    #[test]
    fn a_slow_backend_may_take_as_long_as_usual() {
        for (usual, looks) in [(Some(1 * MS), 3), (Some(100 * MS), 7), (Some(1_000 * MS), 61)] {
            let mut backend = Backend::new();
            backend.usual = usual;
            backend.counters.begun += 5;
            let found = backend.look_until(200).map(|(looks, _)| looks);
            assert_eq!(found, Some(looks), "{usual:?}");
        }
        let mut backend = Backend::new();
        backend.usual = None;
        backend.counters.begun += 5;
        assert_eq!(backend.look_until(1_000), None, "nothing is usual");
    }

    #[test]
    fn each_further_request_without_a_response_doubles_the_time_up_to_a_bound() {
        let mut backend = Backend::new();
        backend.counters.begun += 3;
        let mut times = Vec::new();
        for _ in 0..6 {
            times.extend(avoid_for(backend.look_until(5)));
            assert_eq!(backend.look_until(50), None, "nothing new was sent to it");
            backend.counters.begun += 1;
        }
        let seconds: Vec<u64> = times.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 8, 8]);
    }

    #[test]
    fn a_response_ends_the_silence_and_the_next_one_begins_anew() {
        let mut backend = Backend::new();
        for _ in 0..3 {
            backend.counters.begun += 3;
            assert_eq!(avoid_for(backend.look_until(5)), Some(FIRST));
            assert!(!backend.silence.is_idle(backend.counters.begun));
            backend.counters.responses += 1;
            assert_eq!(backend.look(), Some(Observation::Responds));
            assert_eq!(backend.look(), None);
            assert!(backend.silence.is_idle(backend.counters.begun));
        }
    }

    #[test]
    fn what_was_found_is_forgotten_with_the_backend() {
        let mut backend = Backend::new();
        assert!(!backend.silence.forget());
        assert_eq!(backend.look(), None);
        backend.counters.begun += 3;
        assert!(backend.look_until(5).is_some());
        assert!(backend.silence.forget());
        backend.counters.begun += 2;
        assert_eq!(backend.look_until(10), None);
    }
}
