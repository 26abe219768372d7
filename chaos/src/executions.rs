//! The log of executions: which backend received which request, and when it had responded. Every backend of a run
//! appends to one file, each line with one write before it responds, so that what was executed is known even of a
//! backend that was killed.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use crate::clock;
use crate::error::{Explain, Result};
use crate::nonce;

/// What a line reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A request was received whole, and is executed now.
    Begun,
    /// A request was received whole, and is refused: it may be sent to another backend.
    Refused,
    /// Its response was written, whole or cut as it was asked to be.
    Ended,
    /// A probe of the balancer was received.
    Probed,
    /// Its response had begun on a connection that was cut for another one.
    Severed,
}

/// A line of the log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What happened.
    pub event: Event,
    /// When, in microseconds of the machine's clock.
    pub time: u64,
    /// The number of the backend.
    pub backend: usize,
    /// The request; 0 for probes.
    pub nonce: u64,
    /// Its method.
    pub method: String,
}

/// Where a backend writes to.
#[derive(Debug)]
pub(crate) struct Writer {
    file: File,
    backend: usize,
}

/// The whole log, read after a run.
#[derive(Debug, Default)]
pub struct Executions {
    entries: Vec<Entry>,
    begun: HashMap<u64, usize>,
}

impl Writer {
    /// Opens the log of a backend.
    pub(crate) fn open(path: &Path, backend: usize) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.explain(format_args!("cannot open {}", path.display()))?;
        Ok(Self { file, backend })
    }

    /// Appends a line.
    pub(crate) fn write(&self, event: Event, nonce: u64, method: &str) {
        let sign = match event {
            Event::Begun => '+',
            Event::Refused => '!',
            Event::Ended => '-',
            Event::Probed => '?',
            Event::Severed => '/',
        };
        let (time, backend, nonce) = (clock::now(), self.backend, nonce::hex(nonce));
        let line = format!("{sign} {time} {backend} {nonce} {method}\n");
        // A log that cannot be written shows as requests that nobody executed.
        drop((&self.file).write_all(line.as_bytes()));
    }
}

impl Executions {
    /// Reads the log. A log that does not exist yet is empty.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let entries: Vec<Entry> = text.lines().filter_map(entry).collect();
        let mut begun = HashMap::new();
        for entry in entries.iter().filter(|entry| entry.event == Event::Begun) {
            *begun.entry(entry.nonce).or_default() += 1;
        }
        Self { entries, begun }
    }

    /// All lines, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many times a request was executed.
    pub fn count(&self, nonce: u64) -> usize {
        self.begun.get(&nonce).copied().unwrap_or_default()
    }

    /// Attempts of requests between two times, refused ones too.
    pub fn attempts_between(&self, from: u64, to: u64) -> usize {
        let entries = self.entries.iter();
        entries
            .filter(|entry| {
                matches!(entry.event, Event::Begun | Event::Refused) && (from..to).contains(&entry.time)
            })
            .count()
    }

    /// The requests whose responses had begun on a connection that was cut for another one.
    pub fn severed(&self) -> HashSet<u64> {
        let entries = self.entries.iter();
        let severed = entries.filter(|entry| entry.event == Event::Severed);
        severed.map(|entry| entry.nonce).collect()
    }

    /// Probes that a backend received.
    pub fn probes(&self, backend: usize) -> usize {
        let entries = self.entries.iter();
        entries
            .filter(|entry| entry.event == Event::Probed && entry.backend == backend)
            .count()
    }

    /// The requests that a backend began after `from` and had not ended at `time`.
    pub fn running_at(&self, backend: usize, from: u64, time: u64) -> HashSet<u64> {
        let mut running = HashSet::new();
        let entries = self.entries.iter();
        for entry in entries.filter(|entry| entry.backend == backend && (from..=time).contains(&entry.time)) {
            match entry.event {
                Event::Begun => running.insert(entry.nonce),
                Event::Ended => running.remove(&entry.nonce),
                Event::Refused | Event::Probed | Event::Severed => false,
            };
        }
        running
    }
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let event = match words.next()? {
        "+" => Event::Begun,
        "!" => Event::Refused,
        "-" => Event::Ended,
        "?" => Event::Probed,
        "/" => Event::Severed,
        _ => return None,
    };
    Some(Entry {
        event,
        time: words.next()?.parse().ok()?,
        backend: words.next()?.parse().ok()?,
        nonce: nonce::number(words.next()?)?,
        method: words.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn counts_what_was_executed_twice_and_what_still_runs() {
        let folder = Folder::new().unwrap();
        let path = folder.path().join("executions");
        let (one, two) = (Writer::open(&path, 0).unwrap(), Writer::open(&path, 1).unwrap());
        one.write(Event::Begun, 7, "POST");
        two.write(Event::Begun, 7, "POST");
        two.write(Event::Ended, 7, "POST");
        one.write(Event::Probed, 0, "GET");
        let log = Executions::read(&path);
        assert_eq!((log.count(7), log.count(8)), (2, 0));
        assert_eq!(log.running_at(0, 0, u64::MAX), HashSet::from([7]));
        assert_eq!(log.running_at(1, 0, u64::MAX), HashSet::new());
        assert_eq!((log.probes(0), log.probes(1)), (1, 0));
    }
}
