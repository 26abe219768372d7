//! Decides which requests a sink logs. Pure: the decision depends only on the entry, so that two sinks, or two instances behind each
//! other, choose the same requests.

use std::time::Duration;

use super::entry::Entry;

/// All requests, in thousandths of a percent.
pub const ALL: u32 = 100_000;

/// The classes of statuses that can be sampled. Failures are always logged, so `5xx` is none of them.
pub const SAMPLED_CLASSES: [&str; 4] = ["1xx", "2xx", "3xx", "4xx"];

/// Which requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The shares of the classes in [`SAMPLED_CLASSES`], in thousandths of a percent.
    pub shares: [u32; SAMPLED_CLASSES.len()],
    /// Slower requests are always logged.
    pub slower_than: Option<Duration>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            shares: [ALL; SAMPLED_CLASSES.len()],
            slower_than: None,
        }
    }
}

impl Sample {
    /// Whether every request is logged.
    pub fn is_all(&self) -> bool {
        self.shares == [ALL; SAMPLED_CLASSES.len()]
    }

    /// Whether this request is logged. One with an error, a status of 500 and above, or no id always is.
    pub fn keeps(&self, entry: &Entry<'_>) -> bool {
        let class = usize::from(entry.status / 100);
        let share = class.checked_sub(1).and_then(|class| self.shares.get(class));
        let (None, Some(share), Some(id)) = (entry.error, share, entry.request_id) else {
            return true;
        };
        let is_slow = self.slower_than.is_some_and(|bound| entry.latency > bound);
        is_slow || position(id) < *share
    }
}

/// The position of a request among all, from 0 to `ALL - 1`, by a hash of its id (FNV-1a, then the mix of MurmurHash3, because the
/// last bytes of an id would otherwise hardly change the upper bits).
fn position(id: &[u8]) -> u32 {
    let mut hash = id.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53_u64] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    let upper = (hash ^ (hash >> 33)) >> 32;
    u32::try_from((upper * u64::from(ALL)) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::entry::Client;
    use super::*;

    fn entry(status: u16, id: Option<&[u8]>) -> Entry<'_> {
        Entry {
            request_id: id,
            ..Entry::new(status, Client::Forwarded(IpAddr::V4(Ipv4Addr::LOCALHOST)))
        }
    }

    fn kept(sample: &Sample, status: u16) -> usize {
        let ids = (0..100_000_u32).map(|number| format!("{number:032x}"));
        ids.filter(|id| sample.keeps(&entry(status, Some(id.as_bytes()))))
            .count()
    }

    #[test]
    fn each_class_has_its_share() {
        let sample = Sample {
            shares: [ALL, 1_000, 50_000, 0],
            slower_than: None,
        };
        assert_eq!(kept(&sample, 101), 100_000);
        assert!(
            (900..1_100).contains(&kept(&sample, 200)),
            "{}",
            kept(&sample, 200)
        );
        assert!(
            (49_000..51_000).contains(&kept(&sample, 304)),
            "{}",
            kept(&sample, 304)
        );
        assert_eq!(kept(&sample, 404), 0);
        assert_eq!(kept(&Sample::default(), 200), 100_000);
    }

    #[test]
    fn what_failed_or_was_slow_or_has_no_id_is_always_logged() {
        let sample = Sample {
            shares: [0; 4],
            slower_than: Some(Duration::from_millis(500)),
        };
        let id = Some(b"0123".as_slice());
        assert!(!sample.keeps(&entry(200, id)));
        assert!(sample.keeps(&entry(500, id)) && sample.keeps(&entry(503, id)));
        assert!(sample.keeps(&entry(200, None)));
        let error = Some("client_gone");
        assert!(sample.keeps(&Entry {
            error,
            ..entry(499, id)
        }));
        for (millis, is_kept) in [(500, false), (501, true)] {
            let latency = Duration::from_millis(millis);
            assert_eq!(
                sample.keeps(&Entry {
                    latency,
                    ..entry(200, id)
                }),
                is_kept
            );
        }
    }

    #[test]
    fn two_sinks_choose_the_same_requests() {
        let share = |share| Sample {
            shares: [share; 4],
            slower_than: None,
        };
        for number in 0..1_000_u32 {
            let id = format!("{number:032x}");
            let entry = entry(200, Some(id.as_bytes()));
            assert!(!share(10_000).keeps(&entry) || share(20_000).keeps(&entry));
        }
    }
}
