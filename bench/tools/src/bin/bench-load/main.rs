//! Sends requests to one address over HTTP/1.1, with `--tls` over TLS 1.3, and prints the results on stdout.
//!
//! Kinds of load:
//! - closed loop (no `--rate`): each connection sends its next request when it has the response to the last one. This
//!   measures throughput; its latencies mean nothing.
//! - open loop (`--rate N`): requests are due at fixed times, independent of earlier responses, and latency counts from
//!   when a request was due, so that a balancer that stalls cannot hide the requests that waited meanwhile.
//! - idle (`--idle`): every connection sends one request and is then held until stdin ends. With `--http2` or `--grpc`
//!   the request uses HTTP/2, or is a gRPC call.
//! - ping-pong (`--ping-pong`): every connection is a WebSocket with one message of 64 bytes in transit: it sends the
//!   next when the last one has come back. Counts messages in both directions.
//! - events (`--events`): every connection receives an event stream. Counts events.
//!
//! The first output line is `begin`, after the warm-up; the second is a JSON object, after the measurement. With
//! `--idle` both lines are JSON objects: once all connections are open, and after stdin has ended.

mod channel;
mod connection;
mod engine;
mod http2;
mod idle;
mod long_lived;
mod options;
mod report;
mod target;
mod tls;

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let options = options::Options::parse(std::env::args().skip(1))?;
    if options.idle {
        return Ok(idle::run(&options)?);
    }
    // Makes waits end on time, not up to 50 µs later.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let report = match options.long_lived {
        Some(kind) => long_lived::run(&options, kind)?,
        None => engine::Engine::new(&options)?.run()?,
    };
    println!("{}", report.json());
    Ok(())
}
