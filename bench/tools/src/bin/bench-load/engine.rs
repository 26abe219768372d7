//! Sends requests over all connections on one thread: one per response (closed loop), or as many as are due (open
//! loop).

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use evenkeel_bench_tools::events::Events;

use crate::connection::{Connection, Progress};
use crate::options::Options;
use crate::report::Report;

/// Bytes read at a time.
const READ: usize = 256 << 10;

/// Longest wait for responses at the end; a slower request counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest wait for an event, so that the end is not missed.
const TICK: Duration = Duration::from_millis(5);

/// Most latencies that are recorded: 100,000 per second for a minute.
const LATENCIES: usize = 6_000_000;

/// All connections of a load, and its results so far.
pub(crate) struct Engine<'a> {
    options: &'a Options,
    requests: Vec<Vec<u8>>,
    events: Events,
    connections: Vec<Connection>,
    /// Connections without a request, the longest idle first.
    idle: VecDeque<usize>,
    /// Requests begun so far, including the warm-up.
    begun: u64,
    /// Requests without a response that are not lost.
    running: usize,
    start: Instant,
    counting: bool,
    report: Report,
    buffer: Vec<u8>,
}

impl<'a> Engine<'a> {
    /// Opens the connections one by one, so that no listener's backlog overflows.
    pub(crate) fn new(options: &'a Options) -> io::Result<Self> {
        let start = Instant::now();
        let events = Events::new()?;
        let open = |key| Connection::connect(&options.target, &events, key, start);
        let connections = (0..options.connections)
            .map(open)
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            options,
            requests: options.requests(),
            idle: (0..connections.len()).collect(),
            connections,
            events,
            begun: 0,
            running: 0,
            start,
            counting: false,
            report: Report::default(),
            buffer: vec![0; READ],
        })
    }

    /// Runs the load to its end; prints `begin` when the warm-up is over.
    pub(crate) fn run(mut self) -> io::Result<Report> {
        self.start = Instant::now();
        let count_from = self.start + self.options.warm_up;
        let end = count_from + self.options.measure;
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            if !self.counting && now >= count_from {
                self.counting = true;
                println!("begin");
            }
            if now >= end {
                break;
            }
            self.begin_due(now);
            self.events.wait(Some(self.until_due(now)), &mut ready)?;
            self.advance(&ready);
        }
        self.report.seconds = (Instant::now() - count_from).as_secs_f64();
        if self.options.rate.is_some() {
            self.finish(end, &mut ready)?;
        } else {
            let stalled = |connection: &&Connection| connection.due.elapsed() > PATIENCE;
            self.report.faults.unanswered += self.connections.iter().filter(stalled).count() as u64;
        }
        Ok(self.report)
    }

    /// Sends the due requests on idle connections.
    fn begin_due(&mut self, now: Instant) {
        // One pass: a connection that fails at once is idle again.
        for _ in 0..self.idle.len() {
            let Some(key) = self.idle.front().copied() else {
                return;
            };
            let due = match self.options.rate {
                Some(_) => self.due(),
                None => now,
            };
            if due > now {
                return;
            }
            self.idle.pop_front();
            self.begin(key, due);
        }
    }

    /// When the next request of an open loop is due.
    fn due(&self) -> Instant {
        let rate = self.options.rate.unwrap_or(f64::INFINITY);
        self.start + Duration::from_secs_f64(self.begun as f64 / rate)
    }

    fn until_due(&self, now: Instant) -> Duration {
        if self.options.rate.is_none() || self.idle.is_empty() {
            return TICK;
        }
        self.due().saturating_duration_since(now).min(TICK)
    }

    fn begin(&mut self, key: usize, due: Instant) {
        let request = (self.begun % self.requests.len() as u64) as usize;
        self.begun += 1;
        self.running += 1;
        if self.options.close {
            self.open_again(key, due);
        }
        let connection = &mut self.connections[key];
        connection.request = request;
        connection.due = due;
        if connection.begin(&self.requests[request]) == Progress::Cut {
            self.report.faults.cut += 1;
            self.running -= 1;
            self.idle.push_back(key);
            self.open_again(key, due);
        }
    }

    fn advance(&mut self, ready: &[usize]) {
        for key in ready.iter().copied() {
            let connection = &mut self.connections[key];
            let bytes = &self.requests[connection.request];
            match connection.advance(bytes, &mut self.buffer) {
                Progress::Waiting => continue,
                Progress::Answered { status, closed } => {
                    let due = connection.due;
                    self.running -= 1;
                    self.idle.push_back(key);
                    self.count(status, due);
                    self.report.faults.reconnect += u64::from(closed != self.options.close);
                    if !closed {
                        continue;
                    }
                }
                Progress::Cut => {
                    self.running -= 1;
                    self.idle.push_back(key);
                    self.report.faults.cut += 1;
                }
                // It is idle already.
                Progress::Closed => self.report.faults.reconnect += u64::from(!self.options.close),
            }
            // With `--close`, opening a connection is part of the next request.
            if !self.options.close {
                self.open_again(key, Instant::now());
            }
        }
    }

    fn count(&mut self, status: u16, due: Instant) {
        if !(200..300).contains(&status) {
            self.report.faults.status += 1;
        } else if self.counting {
            self.report.answered += 1;
            let counted = due >= self.start + self.options.warm_up;
            if self.options.rate.is_some() && counted && self.report.latencies.len() < LATENCIES {
                self.report.latencies.push(due.elapsed());
            }
        }
    }

    fn open_again(&mut self, key: usize, now: Instant) {
        match Connection::open(&self.options.target, &self.events, key, now) {
            Ok(connection) => self.connections[key] = connection,
            Err(_) => self.report.faults.connect += 1,
        }
    }

    /// Waits for the responses to requests sent before the end of an open loop, and sends overdue requests.
    fn finish(&mut self, end: Instant, ready: &mut Vec<usize>) -> io::Result<()> {
        let overdue = |engine: &Self| engine.due() < end;
        while (self.running > 0 || overdue(self)) && end.elapsed() < PATIENCE {
            if overdue(self) {
                self.begin_due(end);
            }
            self.events.wait(Some(TICK), ready)?;
            self.advance(ready);
        }
        let rate = self.options.rate.unwrap_or_default();
        let never_sent = (end - self.due().min(end)).as_secs_f64() * rate;
        self.report.faults.unanswered += self.running as u64 + never_sent as u64;
        Ok(())
    }
}
