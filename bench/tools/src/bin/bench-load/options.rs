//! The command line.

use std::error::Error;
use std::time::Duration;

use crate::http2::Call;
use crate::long_lived::Kind;
use crate::target::Target;
use crate::tls::{self, Protocol};

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speak {
    Http1,
    /// Only with `--idle`: other tools generate HTTP/2 load.
    Http2(Call),
}

/// The requested load.
#[derive(Debug)]
pub(crate) struct Options {
    /// The address of the balancer.
    pub(crate) target: Target,
    pub(crate) speak: Speak,
    pub(crate) connections: usize,
    /// Duration of the measurement.
    pub(crate) measure: Duration,
    /// Duration of the warm-up.
    pub(crate) warm_up: Duration,
    /// Requests per second; `None` for a closed loop.
    pub(crate) rate: Option<f64>,
    /// Bytes of a POST body; `None` for a GET.
    pub(crate) body: Option<usize>,
    /// Whether every request uses a new connection.
    pub(crate) close: bool,
    pub(crate) idle: bool,
    /// What each connection is used for, if it is for one request.
    pub(crate) long_lived: Option<Kind>,
    /// The request targets, in turn.
    pub(crate) paths: Vec<String>,
}

impl Options {
    /// Parses the command line; the error explains what is wrong with it.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let address = arguments.next().ok_or("ADDRESS:PORT is missing")?.parse()?;
        let mut tls = false;
        let mut options = Self {
            target: Target { address, tls: None },
            speak: Speak::Http1,
            connections: 64,
            measure: Duration::from_secs(5),
            warm_up: Duration::from_secs(1),
            rate: None,
            body: None,
            close: false,
            idle: false,
            long_lived: None,
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
                "--ping-pong" => options.long_lived = Some(Kind::PingPong),
                "--events" => options.long_lived = Some(Kind::Events),
                "--tls" => tls = true,
                "--http2" => options.speak = Speak::Http2(Call::Get),
                "--grpc" => options.speak = Speak::Http2(Call::Grpc),
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        if options.paths.is_empty() {
            options.paths.push("/".to_owned());
        }
        if options.connections == 0 || options.rate.is_some_and(|rate| rate <= 0.0) {
            return Err("nothing to do".into());
        }
        if options.speak != Speak::Http1 && !options.idle {
            return Err("HTTP/2 is for --idle only".into());
        }
        if options.long_lived.is_some() && (tls || options.rate.is_some()) {
            return Err("--ping-pong and --events have neither TLS nor a rate".into());
        }
        let protocol = match options.speak {
            Speak::Http1 => Protocol::Http1,
            Speak::Http2(_) => Protocol::Http2,
        };
        options.target.tls = tls.then(|| tls::config(protocol)).transpose()?;
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
                self.target.address
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
