//! What the process uses, as the kernel counts it in `/proc/self`. A value that cannot be read is 0.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Clock ticks of `/proc/self/stat` in a second: `USER_HZ`, which is 100 on every platform that we support.
const MILLIS_PER_TICK: u64 = 10;

/// Processor time, memory and descriptors of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessUsage {
    /// Processor time, user and system, in milliseconds.
    pub cpu_millis: u64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Maximum number of open descriptors.
    pub max_fds: u64,
}

impl ProcessUsage {
    /// Reads the current values. It reads files: for the control plane only.
    pub fn read() -> Self {
        let file = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self {
            cpu_millis: cpu_ticks(&file("stat")).unwrap_or(0) * MILLIS_PER_TICK,
            resident_bytes: number_after(&file("status"), "VmRSS:").unwrap_or(0) * 1024,
            // One of them is that of the directory itself.
            open_fds: fs::read_dir("/proc/self/fd")
                .map_or(0, |entries| entries.count().saturating_sub(1) as u64),
            max_fds: number_after(&file("limits"), "Max open files").unwrap_or(0),
        }
    }
}

/// The processor time of threads of which one runs after the other has ended. Only the control plane reads it.
#[derive(Debug, Default)]
pub(super) struct ThreadTime(Mutex<Threads>);

#[derive(Debug, Default)]
struct Threads {
    /// The one that runs, as the kernel numbers it.
    current: Option<u64>,
    /// The milliseconds of those that have ended.
    ended: u64,
}

impl ThreadTime {
    /// The current thread begins.
    pub(super) fn begins(&self) {
        // The link is `PID/task/TID`.
        let link = fs::read_link("/proc/thread-self").unwrap_or_default();
        self.threads().current = link.file_name().and_then(|id| id.to_str()?.parse().ok());
    }

    /// The current thread ends: the kernel forgets its time.
    pub(super) fn ends(&self) {
        let mut threads = self.threads();
        threads.ended += threads.current.take().map_or(0, cpu_millis_of);
    }

    /// The time of all of them, user and system, in milliseconds.
    pub(super) fn cpu_millis(&self) -> u64 {
        let threads = self.threads();
        threads.ended + threads.current.map_or(0, cpu_millis_of)
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cpu_millis_of(thread: u64) -> u64 {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    cpu_ticks(&stat).unwrap_or(0) * MILLIS_PER_TICK
}

/// The fields `utime` and `stime`. The second field is the name in parentheses, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

/// The first number after this text at the beginning of a line.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_process_does_not_move_the_fields() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("12 (a"), None);
    }

    #[test]
    fn the_kernel_knows_this_process() {
        let usage = ProcessUsage::read();
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
        assert!(
            usage.open_fds >= 1 && usage.max_fds >= usage.open_fds,
            "{usage:?}"
        );
    }

    #[test]
    fn the_time_of_a_thread_stays_when_it_has_ended_and_another_goes_on() {
        let time = ThreadTime::default();
        assert_eq!(time.cpu_millis(), 0, "none runs");
        let work_until = |millis: u64| {
            time.begins();
            let mut number = 1_u64;
            while time.cpu_millis() < millis {
                number = std::hint::black_box(number.wrapping_mul(7));
            }
            time.ends();
        };
        for millis in [20, 40] {
            std::thread::scope(|scope| scope.spawn(|| work_until(millis)).join()).unwrap();
            assert!(time.cpu_millis() >= millis);
        }
    }
}
