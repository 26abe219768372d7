//! What a scrape of `/metrics` costs with 1,000 backends that all had traffic: its time, its processor time, and what it does to the
//! latency of requests meanwhile. `cargo bench --profile gate --bench scrape` measures and fails above the budget.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a developer tool, where a failure may panic"
)]

mod balancer;
mod load;

use std::io::Result;
use std::process::ExitCode;
use std::time::Duration;

use balancer::Balancer;
use evenkeel::internals::clock;
use load::{Connection, Latencies};

/// The argument that `cargo bench` passes and `cargo test --all-targets` does not.
const BENCH: &str = "--bench";
const BACKENDS: usize = 1_000;
/// Scrapes that are measured, after some that warm up.
const SCRAPES: u32 = 50;
/// Maximum processor time of a scrape.
const BUDGET: Duration = Duration::from_millis(20);
/// Requests to each backend before the first scrape.
const REQUESTS_EACH: usize = 6;
/// How long requests are measured, without scrapes and with them.
const LOAD: Duration = Duration::from_secs(5);
/// Interval of scrapes meanwhile, many times as often as anybody scrapes.
const INTERVAL: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    if !std::env::args().any(|argument| argument == BENCH) {
        println!("not measured: run `cargo bench --profile gate --bench scrape`");
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("could not measure: {error}");
            ExitCode::from(2)
        }
    }
}

/// Measures and prints. Returns whether a scrape is within its budget.
fn measure() -> Result<bool> {
    let balancer = Balancer::start(BACKENDS)?;
    let mut client = Connection::open(balancer.address())?;
    for _ in 0..BACKENDS * REQUESTS_EACH {
        client.get("/")?;
    }
    let mut scraper = Connection::open(balancer.admin())?;
    let page = scraper.get("/metrics")?;
    for _ in 0..5 {
        scraper.get("/metrics")?;
    }
    let before = balancer.control_time()?;
    let mut times = Latencies::default();
    for _ in 0..SCRAPES {
        let began = clock::now();
        scraper.get("/metrics")?;
        times.add(began.elapsed());
    }
    let processor = (balancer.control_time()? - before) / SCRAPES;
    println!("a scrape of {BACKENDS} backends: {page} bytes");
    println!("time {times}");
    println!("processor time {:.1} ms", processor.as_secs_f64() * 1000.0);
    let without = load::paced(balancer.address(), LOAD)?;
    println!("requests without scrapes: {without}");
    let with = std::thread::scope(|scope| {
        let scraping = scope.spawn(|| scrape_for(&mut scraper, LOAD));
        let with = load::paced(balancer.address(), LOAD);
        scraping.join().expect("it does not panic")?;
        with
    })?;
    println!("requests with a scrape every {INTERVAL:?}: {with}");
    let is_within = processor <= BUDGET;
    if !is_within {
        println!("a scrape takes more processor time than {BUDGET:?}");
    }
    Ok(is_within)
}

fn scrape_for(scraper: &mut Connection, time: Duration) -> Result<()> {
    let began = clock::now();
    while began.elapsed() < time {
        let start = clock::now();
        scraper.get("/metrics")?;
        std::thread::sleep(INTERVAL.saturating_sub(start.elapsed()));
    }
    Ok(())
}
