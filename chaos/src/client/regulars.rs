//! Clients that each keep one connection and send a request on it now and then. A connection that ends is not replaced: what
//! was established before something happened must go on.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::record::{Failure, Record};
use super::request::{Class, Method, Request};
use super::{all_ended, http1, on_thread};
use crate::clock;
use crate::error::{Error, Result};
use crate::rng::Rng;

/// Longest wait for a response.
const RESPONSE: Duration = Duration::from_secs(30);

/// The running clients.
#[derive(Debug)]
pub struct Regulars {
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<Vec<Record>>>,
}

impl Regulars {
    /// Connects `count` clients, each of which sends a request every `interval`.
    pub fn start(address: SocketAddr, count: usize, interval: Duration, seed: u64) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let thread = on_thread("regulars", move || async move {
            let records = Rc::new(RefCell::new(Vec::new()));
            let mut rng = Rng::new(seed);
            let mut tasks = Vec::new();
            for _ in 0..count {
                let task = keep_asking(
                    (address, interval),
                    rng.fork(),
                    stopped.clone(),
                    Rc::clone(&records),
                );
                tasks.push(tokio::task::spawn_local(task));
            }
            all_ended(tasks).await;
            records.take()
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends them; returns all requests.
    pub fn finish(self) -> Result<Vec<Record>> {
        self.stop.send_replace(true);
        let records = self.thread.join();
        let mut records = records.map_err(|_| Error::new("the regular clients panicked"))??;
        records.sort_by_key(|record| record.due);
        Ok(records)
    }
}

async fn keep_asking(
    (address, interval): (SocketAddr, Duration),
    mut rng: Rng,
    stopped: watch::Receiver<bool>,
    records: Rc<RefCell<Vec<Record>>>,
) {
    let request = Request::new(Class::KeepAlive, Method::Get);
    // Not all at the same time.
    sleep(Duration::from_micros(rng.below(clock::micros(interval)))).await;
    let mut connection = http1::Connection::open(address).await;
    while !*stopped.borrow() {
        let mut record = Record::new(&request, clock::now(), rng.bits());
        let outgoing = request.outgoing(record.nonce, None);
        let exchange = async {
            match &mut connection {
                Ok(connection) => connection.exchange(&outgoing, true).await,
                Err(failure) => Err(*failure),
            }
        };
        let outcome = timeout(RESPONSE, exchange).await;
        record.ended = clock::now();
        let is_kept = match outcome.unwrap_or(Err(Failure::Timeout)) {
            Ok((response, is_kept)) => {
                record.complete(&request, &response);
                is_kept
            }
            Err(failure) => {
                record.failure = Some(failure);
                false
            }
        };
        let has_failed = record.failure.is_some();
        records.borrow_mut().push(record);
        if has_failed {
            return;
        }
        if !is_kept {
            // The next request fails: the connection was to stay.
            connection = Err(Failure::Closed);
        }
        sleep(interval).await;
    }
}
