//! Requests over connections that stay open, and their latencies.

use std::fmt;
use std::io::{BufRead as _, BufReader, Error, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use evenkeel::internals::clock;

/// Connections that send requests at the same time.
const CONNECTIONS: usize = 2;
/// Time from one request to the next on a connection.
const PACE: Duration = Duration::from_millis(2);

/// A connection of a client.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            address,
            stream: BufReader::with_capacity(1 << 16, stream),
            body: Vec::new(),
        })
    }

    /// Requests a path and reads the response. Returns the length of its body.
    pub(crate) fn get(&mut self, path: &str) -> Result<usize> {
        self.get_with(path, "")
    }

    /// Requests the metrics, compressed as Prometheus does. Returns the length of the body as it was sent.
    pub(crate) fn scrape(&mut self) -> Result<usize> {
        self.get_with("/metrics", "Accept-Encoding: gzip\r\n")
    }

    fn get_with(&mut self, path: &str, header: &str) -> Result<usize> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{header}\r\n", self.address);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length, mut is_first) = (String::new(), 0, true);
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let text = line.trim_end().to_ascii_lowercase();
            if std::mem::take(&mut is_first) && !text.contains(" 200 ") {
                return Err(Error::other(text));
            }
            if text.is_empty() {
                break;
            }
            if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(Error::other)?;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(length)
    }
}

/// Sends requests at an even pace for this time.
pub(crate) fn paced(address: SocketAddr, time: Duration) -> Result<Latencies> {
    std::thread::scope(|scope| {
        let send = || {
            let mut connection = Connection::open(address)?;
            let mut latencies = Latencies::default();
            let began = clock::now();
            let mut due = Duration::ZERO;
            while due < time {
                std::thread::sleep(due.saturating_sub(began.elapsed()));
                // A request that begins late has waited since it was due.
                connection.get("/")?;
                latencies.add(began.elapsed().saturating_sub(due));
                due += PACE;
            }
            Ok(latencies)
        };
        let all: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(send)).collect();
        let all = all.into_iter().map(|one| one.join().expect("it does not panic"));
        Ok(Latencies::together(&all.collect::<Result<Vec<_>>>()?))
    })
}

/// How long things took.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// Those of several parts.
    pub(crate) fn together<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        Self(
            parts
                .into_iter()
                .flat_map(|part| part.0.iter().copied())
                .collect(),
        )
    }

    /// The latency that this part of a thousand stays below, in milliseconds.
    pub(crate) fn at(&self, per_mille: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let latency = sorted.get(last * per_mille / 1000).copied().unwrap_or_default();
        latency.as_secs_f64() * 1000.0
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, p99, last) = (self.at(500), self.at(990), self.at(999));
        write!(f, "p50 {median:.2} ms, p99 {p99:.2} ms, p99.9 {last:.2} ms")
    }
}
