//! Sends requests to one address over HTTP/1.1, with `--tls` over TLS 1.3, and says on stdout what came of it.
//!
//! Three kinds of load:
//! - closed loop (no `--rate`): each connection sends its next request when it has the answer to the last one. Shows what
//!   a balancer can do; its latencies mean nothing.
//! - open loop (`--rate N`): requests are due at fixed times, whether or not earlier ones are answered, and a latency
//!   counts from when its request was due, so that a balancer that stalls cannot hide what waited meanwhile.
//! - idle (`--idle`): every connection sends one request and is then held until stdin ends. With `--http2` or `--grpc` that
//!   is one of HTTP/2, or a gRPC call.
//!
//! The first line is `begin`, when the warm-up is over, the second a JSON object, when the measurement is. With `--idle`
//! these are two JSON objects: once all connections are open, and after stdin ended.

mod channel;
mod connection;
mod engine;
mod http2;
mod idle;
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
    // Waits end when they should, not up to 50 µs later.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let report = engine::Engine::new(&options)?.run()?;
    println!("{}", report.json());
    Ok(())
}
