//! The open-loop client: it sends requests when they are due, however slow the responses are, and measures latency from
//! the time at which a request was due, so that a stall is not hidden. It verifies every response.

mod crowd;
mod fetch;
mod held;
mod http1;
mod http2;
mod long_lived;
mod prober;
mod record;
mod regulars;
mod repeated;
mod request;
mod response;
mod tap;
mod visitor;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::error::{Error, Result};
use crate::rng::Rng;

pub use crowd::Crowd;
pub use fetch::{fetch, post};
pub use held::{Held, HeldOutcome, HeldPlan};
pub use long_lived::{LongLived, LongLivedCounts, LongLivedOutcome};
pub use prober::{Prober, Probes};
pub use record::{Failure, Record};
pub use regulars::Regulars;
pub use request::{Class, Method, Request, mix};
pub use visitor::{Visitor, Visits, visit};

/// Most requests under way. Open-loop load against a balancer that stalls would otherwise use up all descriptors.
const MOST_IN_FLIGHT: usize = 4_000;

/// Highest rate: the machine is shared with the balancer.
const HIGHEST_RATE: u64 = 2_000;

/// Makes the request with this number.
pub type Make = Box<dyn FnMut(u64, &mut Rng) -> Request + Send>;

/// What to send.
pub struct Plan {
    /// Address of the balancer.
    pub address: SocketAddr,
    /// Its address for HTTP/2.
    pub http2: SocketAddr,
    /// Requests a second, at most 2,000.
    pub rate: u64,
    /// How long requests are sent.
    pub duration: Duration,
    /// Seed of the requests.
    pub seed: u64,
    /// Longest wait for a response.
    pub timeout: Duration,
    /// HTTP/1.1 connections that are kept.
    pub connections: usize,
    /// Makes the requests.
    pub make: Make,
}

/// A client that is sending.
#[derive(Debug)]
pub struct Load {
    /// When its first request is due, in microseconds of the machine's clock.
    pub start: u64,
    thread: JoinHandle<Result<Vec<Record>>>,
}

/// What all requests of a client share.
struct Shared {
    timeout: Duration,
    http1: http1::Connections,
    http2: http2::Connections,
    cookies: RefCell<HashMap<u32, String>>,
    in_flight: Cell<usize>,
    records: RefCell<Vec<Record>>,
}

impl Plan {
    /// Requests of the usual mix, of which one in ten is a POST.
    pub fn new(address: SocketAddr, rate: u64, duration: Duration, seed: u64) -> Self {
        Self {
            address,
            http2: address,
            rate,
            duration,
            seed,
            timeout: Duration::from_secs(30),
            connections: 32,
            make: Box::new(|_, rng| mix(rng)),
        }
    }

    /// Sends other requests.
    #[must_use]
    pub fn make(mut self, make: impl FnMut(u64, &mut Rng) -> Request + Send + 'static) -> Self {
        self.make = Box::new(make);
        self
    }

    /// Starts to send, on a thread of its own.
    pub fn start(self) -> Result<Load> {
        if self.rate == 0 || self.rate > HIGHEST_RATE {
            return Err(Error::new(format!(
                "the rate {} is not within 1 to {HIGHEST_RATE}",
                self.rate
            )));
        }
        let start = clock::now() + 20_000;
        let thread = on_thread("client", move || send(self, start))?;
        Ok(Load { start, thread })
    }

    /// Sends all of it and returns the outcome.
    pub fn run(self) -> Result<Vec<Record>> {
        self.start()?.finish()
    }
}

impl Load {
    /// Waits for the last response. Records are in the order in which their requests were due.
    pub fn finish(self) -> Result<Vec<Record>> {
        let records = self.thread.join();
        records.map_err(|_| Error::new("the client panicked"))?
    }
}

/// Runs a client on a thread of its own.
fn on_thread<T: Send + 'static, F: Future<Output = T>>(
    name: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<JoinHandle<Result<T>>> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(LocalSet::new().block_on(&runtime, make()))
    });
    Ok(thread?)
}

/// Waits for the end of all tasks. One that panicked has said so.
async fn all_ended(tasks: Vec<tokio::task::JoinHandle<()>>) {
    for task in tasks {
        drop(task.await);
    }
}

async fn send(mut plan: Plan, start: u64) -> Vec<Record> {
    let mut rng = Rng::new(plan.seed);
    let shared = Rc::new(Shared {
        timeout: plan.timeout,
        http1: http1::Connections::new(plan.address, plan.connections),
        http2: http2::Connections::new(plan.http2),
        cookies: RefCell::default(),
        in_flight: Cell::new(0),
        records: RefCell::default(),
    });
    let count = plan.rate * clock::micros(plan.duration) / 1_000_000;
    for number in 0..count {
        let due = start + number * 1_000_000 / plan.rate;
        let wait = due.saturating_sub(clock::now());
        if wait > 0 {
            sleep(Duration::from_micros(wait)).await;
        }
        let request = (plan.make)(number, &mut rng);
        let record = Record::new(&request, due, rng.bits());
        if shared.in_flight.get() >= MOST_IN_FLIGHT {
            let failed = record.fail(Failure::TooManyInFlight);
            shared.records.borrow_mut().push(failed);
            continue;
        }
        shared.in_flight.set(shared.in_flight.get() + 1);
        tokio::task::spawn_local(perform(request, record, Rc::clone(&shared)));
    }
    while shared.in_flight.get() > 0 {
        sleep(Duration::from_millis(2)).await;
    }
    let mut records = shared.records.take();
    records.sort_by_key(|record| record.due);
    records
}

async fn perform(request: Request, mut record: Record, shared: Rc<Shared>) {
    record.sent = clock::now();
    let cookie = request
        .client
        .and_then(|client| shared.cookies.borrow().get(&client).cloned());
    let outgoing = request.outgoing(record.nonce, cookie);
    let exchange = async {
        match request.class {
            Class::Http2 => shared.http2.exchange(&outgoing).await,
            Class::KeepAlive => shared.http1.exchange(&outgoing).await,
            Class::NewConnection => shared.http1.exchange_on_new(&outgoing).await,
        }
    };
    let outcome = timeout(shared.timeout, exchange)
        .await
        .unwrap_or(Err(Failure::Timeout));
    record.ended = clock::now();
    match outcome {
        Ok(response) => {
            if let (Some(client), Some(cookie)) = (request.client, &response.cookie) {
                shared.cookies.borrow_mut().insert(client, cookie.clone());
            }
            record.complete(&request, &response);
        }
        Err(failure) => record.failure = Some(failure),
    }
    shared.records.borrow_mut().push(record);
    shared.in_flight.set(shared.in_flight.get() - 1);
}
