//! What a scrape of `/metrics` costs with 1,000 backends that all had traffic: its time, its processor time, and what it does to the
//! latency of requests meanwhile. `cargo bench --profile gate --bench scrape` measures, and fails above the budget or where a scrape
//! makes requests slower. `-- --rounds N` sets the number of pairs of seconds.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a developer tool, where a failure may panic"
)]

mod balancer;
mod effect;
#[path = "../shared/folder.rs"]
mod folder;
mod load;
#[path = "../shared/process.rs"]
mod process;

use std::io::Result;
use std::process::ExitCode;
use std::time::Duration;

use balancer::Balancer;
use effect::{Effect, Pair, Verdict};
use evenkeel::internals::clock;
use evenkeel_balance::rng::{Rng, below};
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
/// How long requests are measured at a time, without a scrape or with one in the middle.
const SECOND: Duration = Duration::from_secs(1);
/// Seconds from one scrape of Prometheus to the next, in its own example config.
const INTERVAL: usize = 15;
/// Pairs of such seconds, unless the command line says how many. They take four minutes.
const ROUNDS: usize = 120;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == BENCH) {
        println!("not measured: run `cargo bench --profile gate --bench scrape`");
        return ExitCode::SUCCESS;
    }
    let after = arguments
        .iter()
        .skip_while(|argument| *argument != "--rounds")
        .nth(1);
    let rounds = after.map_or(ROUNDS, |text| text.parse().expect("`--rounds` requires a number"));
    match measure(rounds.max(INTERVAL)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("could not measure: {error}");
            ExitCode::from(2)
        }
    }
}

/// Measures and prints. Returns whether a scrape is within its budget and makes no request slower.
fn measure(rounds: usize) -> Result<bool> {
    let balancer = Balancer::start(BACKENDS)?;
    let mut client = Connection::open(balancer.address())?;
    for _ in 0..BACKENDS * REQUESTS_EACH {
        client.get("/")?;
    }
    let mut scraper = Connection::open(balancer.admin())?;
    let is_within = cost(&balancer, &mut scraper)?;
    let is_free = effects(&balancer, &mut scraper, rounds)?;
    Ok(is_within && is_free)
}

/// The time of a scrape. Returns whether its processor time is within the budget.
fn cost(balancer: &Balancer, scraper: &mut Connection) -> Result<bool> {
    let page = scraper.scrape()?;
    for _ in 0..5 {
        scraper.scrape()?;
    }
    let before = balancer.processor_time()?;
    let mut times = Latencies::default();
    for _ in 0..SCRAPES {
        let began = clock::now();
        scraper.scrape()?;
        times.add(began.elapsed());
    }
    let processor = (balancer.processor_time()? - before) / SCRAPES;
    println!("a scrape of {BACKENDS} backends: {page} bytes, compressed");
    println!("time {times}");
    println!("processor time {:.1} ms", processor.as_secs_f64() * 1000.0);
    let is_within = processor <= BUDGET;
    if !is_within {
        println!("a scrape takes more processor time than {BUDGET:?}");
    }
    Ok(is_within)
}

/// What a scrape does to requests. Returns whether it makes none of the percentiles larger.
fn effects(balancer: &Balancer, admin: &mut Connection, rounds: usize) -> Result<bool> {
    let mut rng = Rng::seeded(1);
    let mut pairs = Vec::new();
    // The first seconds of the load are not like the others.
    load::paced(balancer.address(), 2 * SECOND)?;
    for _ in 0..rounds {
        let is_scraped = below(rng.bits(), 2) == 0;
        let one = second(balancer, admin, is_scraped)?;
        let other = second(balancer, admin, !is_scraped)?;
        let (without, with) = if is_scraped { (other, one) } else { (one, other) };
        pairs.push(Pair { without, with });
    }
    let effects = [
        ("p50 of a second".to_owned(), Effect::of(&pairs, 500)),
        ("p99 of a second".to_owned(), Effect::of(&pairs, 990)),
        (
            format!("p99 of {INTERVAL} seconds"),
            Effect::within(&pairs, INTERVAL, 990),
        ),
    ];
    for (name, effect) in &effects {
        println!("{name}, {rounds} pairs of seconds: {effect}");
    }
    Ok(effects
        .iter()
        .all(|(_, effect)| effect.verdict() != Verdict::Slower))
}

/// The latencies of a second, with a request to the admin API in its middle: a scrape, or one that costs nothing. Apart from the
/// page, both kinds of seconds are the same.
fn second(balancer: &Balancer, admin: &mut Connection, is_scraped: bool) -> Result<Latencies> {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            std::thread::sleep(SECOND / 2);
            if is_scraped {
                admin.scrape()
            } else {
                admin.get("/livez")
            }
        });
        let latencies = load::paced(balancer.address(), SECOND);
        asking.join().expect("it does not panic")?;
        latencies
    })
}
