//! Random spans of time. Uses only arithmetic that is exact by IEEE 754, so results are the same on every machine.

use evenkeel_balance::rng::Rng;

use crate::clock::Time;

/// Part of a service time that is the same for every request; the rest is exponential.
const FIXED_PART: f64 = 0.4;

/// A number in `(0, 1]`.
pub(crate) fn unit(rng: &mut Rng) -> f64 {
    ((rng.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// Whether an event of this probability happens.
pub(crate) fn happens(rng: &mut Rng, probability: f64) -> bool {
    unit(rng) <= probability
}

/// An exponential span with this mean: the time between two arrivals of a Poisson process.
pub(crate) fn exponential(rng: &mut Rng, mean: Time) -> Time {
    Time::nanos(-ln(unit(rng)) * mean.0 as f64)
}

/// A service time with this mean: a fixed part and an exponential one, so that some requests take several times as long.
pub(crate) fn service(rng: &mut Rng, mean: Time) -> Time {
    let mean = mean.0 as f64;
    Time::nanos(mean * (FIXED_PART - (1.0 - FIXED_PART) * ln(unit(rng))))
}

/// A number from `low` to `high`, each doubling as likely as another.
pub(crate) fn log_uniform(rng: &mut Rng, low: f64, high: f64) -> f64 {
    let doublings = unit(rng) * (ln(high / low) / std::f64::consts::LN_2);
    // Linear within a doubling: exact, and near enough.
    let factor = (0..doublings as u32).fold(1.0, |factor, _| factor * 2.0);
    (low * factor * (1.0 + doublings.fract())).min(high)
}

/// The natural logarithm of a positive, normal number. The one of the standard library differs between machines in the last bit.
pub(crate) fn ln(value: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = value.to_bits();
    let exponent = (bits >> 52) as i64 - 1_023;
    let mantissa = f64::from_bits((bits & MANTISSA) | (1_023 << 52));
    // ln m = 2 artanh((m - 1) / (m + 1)); the series is below 1e-15 after 16 terms, because the argument is at most 1/3.
    let argument = (mantissa - 1.0) / (mantissa + 1.0);
    let square = argument * argument;
    let (mut term, mut sum) = (argument, 0.0);
    for k in 0..16 {
        sum += term / f64::from(2 * k + 1);
        term *= square;
    }
    2.0 * sum + exponent as f64 * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_agrees_with_the_standard_library() {
        for value in [1.0, 0.5, 1e-9, 0.123_456, 0.999_999, 1.999_999, 7.0, 1e10_f64] {
            assert!((ln(value) - value.ln()).abs() < 1e-12, "{value}");
        }
    }

    #[test]
    fn means_are_as_asked() {
        let mut rng = Rng::seeded(1);
        let mean = Time::millis(10);
        for draw in [exponential, service] {
            let sum: u64 = (0..100_000).map(|_| draw(&mut rng, mean).0).sum();
            let measured = sum as f64 / 100_000.0;
            assert!((measured / mean.0 as f64 - 1.0).abs() < 0.02, "{measured}");
        }
    }

    #[test]
    fn a_unit_is_never_zero() {
        let mut rng = Rng::seeded(2);
        assert!((0..100_000).all(|_| (0.0..=1.0).contains(&unit(&mut rng)) && unit(&mut rng) > 0.0));
    }
}
