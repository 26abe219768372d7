//! The generic cell rate algorithm (ITU-T I.371): a rate limit whose state is one time, the theoretical arrival time (TAT). Times
//! are nanoseconds from one origin.

const SECOND: u64 = 1_000_000_000;

/// The longest time that a burst may stand for: about 146 years, so that sums of times fit.
const MAX_REACH: u64 = 1 << 62;

/// Requests in a period, as the config writes it: `100/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// From 1 to [`Self::MOST`].
    count: u64,
    /// Length of the period in nanoseconds.
    period: u64,
}

/// A limit: this many requests at once, and then one each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gcra {
    /// Nanoseconds between two requests; at least 1.
    interval: u64,
    /// Requests at once; at least 1.
    burst: u64,
}

impl Rate {
    /// The largest number of requests in a period.
    pub(super) const MOST: u64 = 1_000_000;

    /// Parses `100/s`, `1000/m` or `5/h`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        // `u64::from_str` alone would accept a sign.
        let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|_| is_number)?;
        (1..=Self::MOST).contains(&count).then_some(Self {
            count,
            period: seconds * SECOND,
        })
    }

    /// The requests of one second, rounded up.
    pub(super) fn of_second(self) -> u64 {
        (self.count * SECOND).div_ceil(self.period)
    }
}

impl Gcra {
    /// A limit; `None` when the burst stands for too long a time. The interval is rounded up to a whole nanosecond, so that the
    /// rate is never exceeded.
    pub(super) fn new(rate: Rate, burst: u64) -> Option<Self> {
        let limit = Self {
            interval: rate.period.div_ceil(rate.count),
            burst: burst.max(1),
        };
        let reach = limit.interval.checked_mul(limit.burst)?;
        (reach <= MAX_REACH).then_some(limit)
    }

    /// The share of one of `instances`: that part of the burst, rounded up, at the same rate.
    pub(super) fn with_shared_burst(self, instances: u64) -> Self {
        Self {
            burst: self.burst.div_ceil(instances.max(1)),
            ..self
        }
    }

    /// The share of one of `instances`: that part of the burst, rounded up, and of the rate.
    pub(super) fn divided(self, instances: u64) -> Self {
        let share = self.with_shared_burst(instances);
        let longest = MAX_REACH / share.burst;
        Self {
            interval: share
                .interval
                .saturating_mul(instances.max(1))
                .min(longest.max(share.interval)),
            ..share
        }
    }

    /// Nanoseconds between two requests.
    pub(super) fn interval(self) -> u64 {
        self.interval
    }

    /// Requests at once.
    pub(super) fn burst(self) -> u64 {
        self.burst
    }

    /// How far the TAT can be ahead of the time: when the whole burst has just been used.
    pub(super) fn reach(self) -> u64 {
        self.interval * self.burst
    }

    /// Admits a request: the new TAT. A new key has the TAT 0.
    ///
    /// # Errors
    /// The time until a request is admitted, in nanoseconds.
    pub(super) fn admit(self, tat: u64, now: u64) -> Result<u64, u64> {
        let next = tat.max(now) + self.interval;
        match next.saturating_sub(now + self.reach()) {
            0 => Ok(next),
            wait => Err(wait),
        }
    }

    /// Requests that would be admitted now.
    pub(super) fn remaining(self, tat: u64, now: u64) -> u64 {
        self.reach().saturating_sub(tat.saturating_sub(now)) / self.interval
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gcra(rate: &str, burst: u64) -> Gcra {
        Gcra::new(Rate::parse(rate).unwrap(), burst).unwrap()
    }

    #[test]
    fn reads_rates() {
        for (text, interval, of_second) in [
            ("100/s", 10_000_000, 100),
            ("1/s", SECOND, 1),
            ("60/m", SECOND, 1),
            ("100/m", 600_000_000, 2),
            ("1/h", 3600 * SECOND, 1),
            ("1000000/s", 1000, 1_000_000),
            ("3/s", 333_333_334, 3),
        ] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!(Gcra::new(rate, 1).unwrap().interval(), interval, "{text}");
            assert_eq!(rate.of_second(), of_second, "{text}");
        }
        for text in [
            "",
            "100",
            "/s",
            "0/s",
            "+1/s",
            "1/d",
            "1 /s",
            "1/S",
            "1.5/s",
            "1000001/s",
            "1/s/s",
        ] {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_burst_that_stands_for_ages_is_refused() {
        assert!(Gcra::new(Rate::parse("1/h").unwrap(), 1_000_000).is_some());
        assert_eq!(Gcra::new(Rate::parse("1/h").unwrap(), 10_000_000), None);
    }

    #[test]
    fn admits_the_burst_and_then_the_rate() {
        let limit = gcra("10/s", 3);
        let mut tat = 0;
        for left in [2, 1, 0] {
            tat = limit.admit(tat, 5 * SECOND).unwrap();
            assert_eq!(limit.remaining(tat, 5 * SECOND), left);
        }
        assert_eq!(limit.admit(tat, 5 * SECOND), Err(SECOND / 10));
        assert_eq!(limit.admit(tat, 5 * SECOND + 1), Err(SECOND / 10 - 1));
        tat = limit.admit(tat, 5 * SECOND + SECOND / 10).unwrap();
        assert!(limit.admit(tat, 5 * SECOND + SECOND / 10).is_err());
        assert_eq!(limit.remaining(tat, 9 * SECOND), 3);
    }

    #[test]
    fn shares_add_up_to_the_limit() {
        let limit = gcra("100/s", 100);
        assert_eq!(limit.with_shared_burst(3).burst(), 34);
        assert_eq!(limit.divided(3).interval(), 3 * limit.interval());
        assert_eq!(limit.divided(1), limit);
        assert_eq!(limit.divided(0), limit);
        let long = gcra("1/h", 1_000_000);
        assert!(long.divided(u64::MAX).reach() <= MAX_REACH);
    }

    /// The exact model: a bucket of `burst` tokens that gains one token each interval.
    #[derive(Debug)]
    struct Bucket {
        limit: Gcra,
        /// In nanoseconds of the rate.
        level: u64,
        at: u64,
    }

    impl Bucket {
        fn admit(&mut self, now: u64) -> bool {
            self.level = (self.level + now - self.at).min(self.limit.reach());
            self.at = now;
            let is_admitted = self.level >= self.limit.interval;
            self.level -= u64::from(is_admitted) * self.limit.interval;
            is_admitted
        }
    }

    proptest! {
        #[test]
        fn decides_like_a_bucket_of_tokens(
            count in 1..2_000_u64,
            burst in 1..50_u64,
            steps in prop::collection::vec(0..30_000_000_u64, 1..300),
        ) {
            let limit = gcra(&format!("{count}/s"), burst);
            let mut bucket = Bucket { limit, level: limit.reach(), at: 0 };
            let (mut now, mut tat) = (1_u64, 0);
            for step in steps {
                now += step;
                let decision = limit.admit(tat, now);
                prop_assert_eq!(decision.is_ok(), bucket.admit(now));
                if let Err(wait) = decision {
                    prop_assert!(limit.admit(tat, now + wait).is_ok());
                    prop_assert!(limit.admit(tat, now + wait - 1).is_err());
                }
                tat = decision.unwrap_or(tat);
                prop_assert_eq!(limit.remaining(tat, now), bucket.level / limit.interval());
            }
        }
    }
}
