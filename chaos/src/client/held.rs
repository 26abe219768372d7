//! Requests that are all under way at the same time, each on a connection of its own or on a stream of one of a few HTTP/2
//! connections, so that it is known what happens to each of them when the balancer stops.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::timeout;

use super::record::{Failure, Record};
use super::request::{Class, Method, Request};
use super::{all_ended, http1, http2, on_thread};
use crate::clock;
use crate::error::{Error, Result};
use crate::rng::Rng;

/// Longest wait for the end of an HTTP/2 connection whose streams have ended.
const END: Duration = Duration::from_secs(30);

/// What to send at once.
#[derive(Debug, Clone, Copy)]
pub struct HeldPlan {
    /// Address of the balancer.
    pub address: SocketAddr,
    /// Its address for HTTP/2.
    pub http2_address: SocketAddr,
    /// Requests over HTTP/1.1, each on a connection of its own.
    pub http1: usize,
    /// Connections of HTTP/2.
    pub http2: usize,
    /// Requests on each of these.
    pub streams: usize,
    /// The shortest time until a response, and by how much others are longer.
    pub delay: (Duration, Duration),
    /// Longest wait for a response.
    pub timeout: Duration,
    /// Seed of nonces and times.
    pub seed: u64,
}

/// The requests under way.
#[derive(Debug)]
pub struct Held {
    ended: Arc<AtomicUsize>,
    thread: JoinHandle<Result<HeldOutcome>>,
}

/// What became of them.
#[derive(Debug, Default)]
pub struct HeldOutcome {
    /// All requests.
    pub records: Vec<Record>,
    /// For each HTTP/2 connection, the last streams that the GOAWAY frames on it named.
    pub goaways: Vec<Vec<u32>>,
}

impl Held {
    /// Sends all of them.
    pub fn start(plan: HeldPlan) -> Result<Self> {
        let ended = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ended);
        let thread = on_thread("held", move || exchange_all(plan, count))?;
        Ok(Self { ended, thread })
    }

    /// How many have ended so far.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Waits for the last response, and for the end of the HTTP/2 connections.
    pub fn finish(self) -> Result<HeldOutcome> {
        let outcome = self.thread.join();
        outcome.map_err(|_| Error::new("the client of held requests panicked"))?
    }
}

/// What all requests share.
#[derive(Debug, Default)]
struct Shared {
    outcome: RefCell<HeldOutcome>,
    ended: Arc<AtomicUsize>,
}

impl Shared {
    fn end(&self, mut record: Record) {
        record.ended = clock::now();
        self.outcome.borrow_mut().records.push(record);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn exchange_all(plan: HeldPlan, ended: Arc<AtomicUsize>) -> HeldOutcome {
    let shared = Rc::new(Shared {
        ended,
        ..Shared::default()
    });
    let mut rng = Rng::new(plan.seed);
    let mut tasks = Vec::new();
    for _ in 0..plan.http1 {
        let (request, record) = next(Class::KeepAlive, &plan, &mut rng);
        let task = on_http1(plan, request, record, Rc::clone(&shared));
        tasks.push(tokio::task::spawn_local(task));
    }
    for _ in 0..plan.http2 {
        let of_one = (0..plan.streams).map(|_| next(Class::Http2, &plan, &mut rng));
        let task = on_http2(plan, of_one.collect(), Rc::clone(&shared));
        tasks.push(tokio::task::spawn_local(task));
    }
    all_ended(tasks).await;
    shared.outcome.take()
}

fn next(class: Class, plan: &HeldPlan, rng: &mut Rng) -> (Request, Record) {
    let mut request = Request::new(class, Method::Get);
    let (shortest, more) = plan.delay;
    let more = Duration::from_micros(rng.below(clock::micros(more)));
    request.behaviour.delay = shortest + more;
    let record = Record::new(&request, clock::now(), rng.bits());
    (request, record)
}

async fn on_http1(plan: HeldPlan, request: Request, mut record: Record, shared: Rc<Shared>) {
    let exchange = async {
        let mut connection = http1::Connection::open(plan.address).await?;
        record.sent = clock::now();
        connection
            .exchange(&request.outgoing(record.nonce, None), true)
            .await
    };
    let ended = timeout(plan.timeout, exchange).await;
    match ended.unwrap_or(Err(Failure::Timeout)) {
        Ok((response, _)) => record.complete(&request, &response),
        Err(failure) => record.failure = Some(failure),
    }
    shared.end(record);
}

async fn on_http2(plan: HeldPlan, requests: Vec<(Request, Record)>, shared: Rc<Shared>) {
    let Ok((sender, goaways, connection)) = http2::watched(plan.http2_address).await else {
        for (_, record) in requests {
            shared.end(record.fail(Failure::Connect));
        }
        return;
    };
    let mut tasks = Vec::new();
    for (request, mut record) in requests {
        let (sender, shared) = (sender.clone(), Rc::clone(&shared));
        tasks.push(tokio::task::spawn_local(async move {
            record.sent = clock::now();
            let outgoing = request.outgoing(record.nonce, None);
            let ended = timeout(plan.timeout, http2::exchange_once(sender, &outgoing)).await;
            match ended.unwrap_or(Err(Failure::Timeout)) {
                Ok(response) => record.complete(&request, &response),
                Err(failure) => record.failure = Some(failure),
            }
            shared.end(record);
        }));
    }
    all_ended(tasks).await;
    // The balancer is to end it.
    drop(timeout(END, connection).await);
    drop(sender);
    let goaways = goaways.borrow().clone();
    shared.outcome.borrow_mut().goaways.push(goaways);
}
