//! The command line.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

/// What load to make.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where to.
    pub(crate) target: SocketAddr,
    pub(crate) connections: usize,
    /// How long requests are counted.
    pub(crate) measure: Duration,
    /// How long they are sent before they count.
    pub(crate) warm_up: Duration,
    /// Requests a second; none is a closed loop.
    pub(crate) rate: Option<f64>,
    /// Bytes of the body of a POST; none is a GET.
    pub(crate) body: Option<usize>,
    /// Whether every request has a connection of its own.
    pub(crate) close: bool,
    pub(crate) idle: bool,
    /// The targets asked for, in turn.
    pub(crate) paths: Vec<String>,
}

impl Options {
    /// Reads the command line; the error says what is wrong with it.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let target = arguments.next().ok_or("ADDRESS:PORT is missing")?.parse()?;
        let mut options = Self {
            target,
            connections: 64,
            measure: Duration::from_secs(5),
            warm_up: Duration::from_secs(1),
            rate: None,
            body: None,
            close: false,
            idle: false,
            paths: Vec::new(),
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--connections" => options.connections = value()?.parse()?,
                "--seconds" => options.measure = Duration::try_from_secs_f64(value()?.parse()?)?,
                "--warm-up" => options.warm_up = Duration::try_from_secs_f64(value()?.parse()?)?,
                "--rate" => options.rate = Some(value()?.parse()?),
                "--post" => options.body = Some(value()?.parse()?),
                "--path" => options.paths.push(value()?),
                "--paths" => options.paths.extend(lines(&value()?)?),
                "--close" => options.close = true,
                "--idle" => options.idle = true,
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        if options.paths.is_empty() {
            options.paths.push("/".to_owned());
        }
        if options.connections == 0 || options.rate.is_some_and(|rate| rate <= 0.0) {
            return Err("nothing to do".into());
        }
        Ok(options)
    }

    /// The bytes of a request for each path.
    pub(crate) fn requests(&self) -> Vec<Vec<u8>> {
        let connection = if self.close { "Connection: close\r\n" } else { "" };
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let length = self
            .body
            .map(|size| format!("Content-Length: {size}\r\n"))
            .unwrap_or_default();
        let body = vec![b'x'; self.body.unwrap_or_default()];
        let request = |path: &String| {
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\n{length}{connection}\r\n",
                self.target
            );
            [head.as_bytes(), &body].concat()
        };
        self.paths.iter().map(request).collect()
    }
}

fn lines(file: &str) -> Result<Vec<String>, Box<dyn Error>> {
    Ok(std::fs::read_to_string(file)?
        .lines()
        .map(str::to_owned)
        .collect())
}
