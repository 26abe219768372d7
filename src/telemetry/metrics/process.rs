//! What the process uses, as the kernel counts it in `/proc/self`. A value that cannot be read is 0.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// A thread of this process, as the kernel numbers it; 0 before it runs.
#[derive(Debug, Default)]
pub(super) struct ThreadId(AtomicU64);

impl ThreadId {
    /// Makes it the current thread.
    pub(super) fn set_current(&self) {
        // The link is `PID/task/TID`.
        let link = fs::read_link("/proc/thread-self").unwrap_or_default();
        let id = link.file_name().and_then(|id| id.to_str()?.parse().ok());
        self.0.store(id.unwrap_or(0), Ordering::Relaxed);
    }

    /// Its processor time, user and system, in milliseconds.
    pub(super) fn cpu_millis(&self) -> u64 {
        let path = format!("/proc/self/task/{}/stat", self.0.load(Ordering::Relaxed));
        let stat = fs::read_to_string(path).unwrap_or_default();
        cpu_ticks(&stat).unwrap_or(0) * MILLIS_PER_TICK
    }
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
    fn the_kernel_knows_the_time_of_a_thread() {
        let thread = ThreadId::default();
        assert_eq!(thread.cpu_millis(), 0, "it does not run");
        thread.set_current();
        let mut number = 1_u64;
        while thread.cpu_millis() < 20 {
            number = std::hint::black_box(number.wrapping_mul(7));
        }
        let other = ThreadId::default();
        std::thread::scope(|scope| scope.spawn(|| other.set_current()).join()).unwrap();
        assert!(other.cpu_millis() < thread.cpu_millis(), "it has ended");
    }
}
