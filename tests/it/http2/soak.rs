//! A soak of HTTP/2 with generated clients and backends: small windows, slow readers, streams that are cancelled, connections that are
//! cut, and reloads meanwhile. Every message that is not cancelled is exact, and in the end nothing is in flight.
//!
//! `EVENKEEL_SOAK_SECONDS` makes it longer, and `EVENKEEL_SOAK_SEED` sets another seed.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use evenkeel::internals::clock;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::http2::request;
use crate::support::oracle::Dice;
use crate::support::reload::reloaded;
use crate::support::{Backend, Builder, Proxy, Response, background, http2_backend};

/// How long it runs, in seconds, and its seed.
const SECONDS: u64 = 4;
const SEED: u64 = 1;
/// Clients at the same time, and streams of each.
const CLIENTS: usize = 8;
const STREAMS: usize = 10;
/// Requests in flight at a backend: a little less than all may be.
const SLOTS: usize = CLIENTS * STREAMS / 2;
/// Initial windows. A client with one must not read more than so many of it: each is returned with a frame.
const WINDOWS: [u32; 6] = [16, 500, 3_000, 16_384, 65_535, 1 << 20];
const OF_WINDOW: usize = 100;
/// Those of backends. Requests are sent before the settings come: had the `h2` crate to shrink a window behind them, it would wait for ever
/// for a stream whose credit it does not return.
const WINDOWS_OF_BACKEND: [u32; 3] = [65_535, 100_000, 1 << 20];
/// How many short frames the `h2` crate may hold: small windows make them.
const PLENTY: usize = 1 << 30;
/// Longest time of one request, and until nothing is in flight any more.
const LIMIT: Duration = Duration::from_secs(60);

/// What bodies consist of.
static BYTES: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(http2_backend::bytes(300_000)));

/// What a client does with one stream.
#[derive(Debug, Clone)]
struct Plan {
    is_echo: bool,
    /// The body, as a part of [`BYTES`].
    start: usize,
    count: usize,
    /// Whether the request ends with trailers, and whether it ends with its last payload if not.
    has_trailers: bool,
    ends_with_payload: bool,
    is_slow: bool,
    cancelled_after: Option<Duration>,
    seed: u64,
}

#[derive(Debug, Default)]
struct Tally {
    exact: AtomicUsize,
    cancelled: AtomicUsize,
    refused: AtomicUsize,
    cut: AtomicUsize,
    /// Milliseconds of the longest stream.
    longest: AtomicUsize,
}

/// What a stream belongs to.
#[derive(Debug, Clone)]
struct Its {
    tally: Arc<Tally>,
    name: String,
    /// Whether its connection is about to be cut.
    is_cut: Arc<AtomicBool>,
}

impl Plan {
    fn new(dice: &mut Dice, window: u32) -> Self {
        let most = match dice.below(4) {
            0 => 20,
            1 => 200_000,
            _ => 20_000,
        };
        Self {
            is_echo: dice.is_one_in(2),
            start: dice.below(100_000),
            count: dice.below(most.min(window as usize * OF_WINDOW)),
            has_trailers: dice.is_one_in(3),
            ends_with_payload: dice.is_one_in(2),
            is_slow: dice.is_one_in(4),
            cancelled_after: dice
                .is_one_in(4)
                .then(|| Duration::from_micros(dice.below(20_000) as u64)),
            seed: dice.below(1 << 30) as u64,
        }
    }

    fn body(&self) -> Bytes {
        match self.is_echo {
            true => BYTES.slice(self.start..self.start + self.count),
            false => BYTES.slice(..self.count),
        }
    }

    /// Runs it to the end of the response. Returns its status and body.
    async fn run(&self, mut sender: SendRequest<Bytes>) -> Result<(u16, Vec<u8>), h2::Error> {
        std::future::poll_fn(|context| sender.poll_ready(context)).await?;
        let (head, mut dice) = match self.is_echo {
            true => (request("POST", "/echo"), Dice::seeded(self.seed)),
            false => (
                request("GET", &format!("/bytes/{}", self.count)),
                Dice::seeded(self.seed),
            ),
        };
        let (response, mut sending) = sender.send_request(head, !self.is_echo)?;
        let mut up_dice = Dice::seeded(self.seed + 1);
        let up = async {
            match self.is_echo {
                true => self.upload(&mut sending, &mut up_dice).await,
                false => Ok(()),
            }
        };
        let down = async {
            let (head, mut body) = response.await?.into_parts();
            let mut got = Vec::new();
            while let Some(data) = body.data().await {
                let data = data?;
                pause(self.is_slow, &mut dice).await;
                got.extend_from_slice(&data);
                body.flow_control().release_capacity(data.len())?;
            }
            Ok::<_, h2::Error>((head.status.as_u16(), got))
        };
        let (up, down) = tokio::join!(up, down);
        let (status, got) = down?;
        // The rest of a request that was refused need not be sent.
        if status == 200 {
            up?;
        }
        Ok((status, got))
    }

    async fn upload(&self, sending: &mut SendStream<Bytes>, dice: &mut Dice) -> Result<(), h2::Error> {
        let mut body = self.body();
        while !body.is_empty() {
            let piece = body.split_to(body.len().min(1 + dice.below(30_000)));
            pause(self.is_slow, dice).await;
            let is_last = body.is_empty() && self.ends_with_payload && !self.has_trailers;
            send(sending, piece, is_last).await?;
            if is_last {
                return Ok(());
            }
        }
        if self.has_trailers {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-end", "1".parse().unwrap());
            return sending.send_trailers(trailers);
        }
        sending.send_data(Bytes::new(), true)
    }

    /// Runs it, cancels it if that is planned, and judges what comes of it.
    async fn judge(self, sender: SendRequest<Bytes>, its: Its) {
        let Its { tally, name, is_cut } = its;
        let (limit, began) = (self.cancelled_after.unwrap_or(LIMIT), clock::now());
        let Ok(result) = timeout(limit, self.run(sender)).await else {
            assert!(self.cancelled_after.is_some(), "{name} has no end: {self:?}");
            tally.cancelled.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let took = began.elapsed().as_millis() as usize;
        tally.longest.fetch_max(took, Ordering::Relaxed);
        let (status, got) = match result {
            Ok(response) => response,
            Err(_) if is_cut.load(Ordering::Relaxed) => return,
            Err(error) => panic!("{name} failed, {error}: {self:?}"),
        };
        match status {
            200 => {
                let wanted = self.body();
                let (count, all) = (got.len(), wanted.len());
                assert!(
                    got == wanted,
                    "{name} has {count} of {all} bytes, or others: {self:?}"
                );
                tally.exact.fetch_add(1, Ordering::Relaxed);
            }
            // The pool is overloaded.
            503 => {
                tally.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => panic!("{name} has status {status}: {self:?}"),
        }
    }
}

/// Waits a little, if this side is slow.
async fn pause(is_slow: bool, dice: &mut Dice) {
    if is_slow && dice.is_one_in(3) {
        sleep(Duration::from_millis(1 + dice.below(5) as u64)).await;
    }
}

async fn send(sending: &mut SendStream<Bytes>, mut data: Bytes, is_last: bool) -> Result<(), h2::Error> {
    while !data.is_empty() {
        sending.reserve_capacity(data.len());
        let capacity = std::future::poll_fn(|context| sending.poll_capacity(context)).await;
        let count = capacity.ok_or(Reason::CANCEL)??.min(data.len());
        let piece = data.split_to(count);
        sending.send_data(piece, is_last && data.is_empty())?;
    }
    Ok(())
}

/// One client: connections one after the other, each with some streams.
async fn client(address: SocketAddr, (mut dice, number): (Dice, usize), until: Instant, tally: Arc<Tally>) {
    for round in 0.. {
        if clock::now() >= until {
            return;
        }
        let socket = TcpSocket::new_v4().unwrap();
        if dice.is_one_in(3) {
            socket.set_recv_buffer_size(4096).unwrap();
        }
        let stream = socket.connect(address).await.unwrap();
        let window = *dice.one_of(&WINDOWS);
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(window)
            .data_frame_budget(PLENTY)
            .handshake(stream)
            .await
            .unwrap();
        let is_cut = Arc::<AtomicBool>::default();
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut streams = JoinSet::new();
        for at in 0..=dice.below(STREAMS) {
            let plan = Plan::new(&mut dice, window);
            let its = Its {
                tally: Arc::clone(&tally),
                name: format!("stream {at} of connection {round} of client {number}, window {window},"),
                is_cut: Arc::clone(&is_cut),
            };
            streams.spawn(plan.judge(sender.clone(), its));
        }
        drop(sender);
        if dice.is_one_in(8) {
            sleep(Duration::from_micros(dice.below(10_000) as u64)).await;
            is_cut.store(true, Ordering::Relaxed);
            driver.shutdown().await;
            streams.shutdown().await;
            tally.cut.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        while let Some(judged) = streams.join_next().await {
            if let Err(error) = judged {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

/// Runs all clients until then.
fn run_clients(address: SocketAddr, seed: u64, until: Instant, tally: &Arc<Tally>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let dice = Dice::seeded(seed.wrapping_mul(1_000).wrapping_add(number as u64));
            clients.spawn(client(address, (dice, number), until, Arc::clone(tally)));
        }
        while let Some(ended) = clients.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    });
}

/// A backend that echoes bodies or sends some, with windows, stream limits and pauses by chance. Its connections end after some requests.
fn http2_backend(seed: u64) -> SocketAddr {
    let mut all = Dice::seeded(seed);
    background::serve(move |stream| {
        let mut dice = Dice::seeded(all.below(1 << 30) as u64);
        async move {
            let mut builder = h2::server::Builder::new();
            builder
                .initial_window_size(*dice.one_of(&WINDOWS_OF_BACKEND))
                .data_frame_budget(PLENTY)
                .max_concurrent_streams(1 + dice.below(40) as u32);
            let (last, mut requests) = (20 + dice.below(200), 0);
            let Ok(mut connection) = builder.handshake(stream).await else {
                return;
            };
            let mut streams = JoinSet::new();
            while let Some(Ok((request, respond))) = connection.accept().await {
                requests += 1;
                if requests == last {
                    connection.graceful_shutdown();
                }
                // An error: the stream was reset.
                streams.spawn(respond_to(
                    request,
                    respond,
                    Dice::seeded(dice.below(1 << 30) as u64),
                ));
                while streams.try_join_next().is_some() {}
            }
        }
    })
}

async fn respond_to(
    request: Request<RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    mut dice: Dice,
) -> Result<(), h2::Error> {
    let is_slow = dice.is_one_in(4);
    let count = request
        .uri()
        .path()
        .strip_prefix("/bytes/")
        .map(str::parse::<usize>);
    let mut sending = respond.send_response(http::Response::new(()), false)?;
    if let Some(count) = count {
        let mut body = BYTES.slice(..count.unwrap());
        while !body.is_empty() {
            let piece = body.split_to(body.len().min(1 + dice.below(30_000)));
            pause(is_slow, &mut dice).await;
            send(&mut sending, piece, false).await?;
        }
    }
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let data = data?;
        pause(is_slow, &mut dice).await;
        body.flow_control().release_capacity(data.len())?;
        send(&mut sending, data, false).await?;
    }
    sending.send_data(Bytes::new(), true)
}

/// The same over HTTP/1.
fn http1_backend() -> Backend {
    Backend::start(|request| {
        let Some(count) = request.start().strip_prefix("GET /bytes/") else {
            return Response::echo();
        };
        let body = BYTES.slice(..count.parse::<usize>().unwrap());
        if body.len().is_multiple_of(2) {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            return Response::raw(head).send(body);
        }
        let mut chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(20_000) {
            chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunks.extend_from_slice(chunk);
            chunks.extend_from_slice(b"\r\n");
        }
        Response::raw(chunks).send("0\r\n\r\n")
    })
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// The gauges of what is in flight that are not 0.
fn left(proxy: &Proxy) -> String {
    let names = [
        "evenkeel_requests_in_flight",
        "evenkeel_backend_in_flight",
        "evenkeel_queue_depth",
        "evenkeel_connections_active",
    ];
    let mut left = String::new();
    let metrics = proxy.get_admin("/metrics");
    for line in metrics.text().lines() {
        if names.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0") {
            writeln!(left, "{line}").unwrap();
        }
    }
    left
}

fn config(backends: &[String], slots: usize) -> Builder {
    let before = Proxy::before(&[]).config(&format!(
        "workers: 2\nhealth_check: {{ kind: none }}\nlimits: {{ in_flight_per_backend: {slots} }}\nqueue: {{ timeout: 60s }}"
    ));
    let mut before = before;
    for url in backends {
        before = before.backend(url);
    }
    before
}

#[test]
fn messages_are_exact_and_nothing_stays_in_flight() {
    let seed = setting("EVENKEEL_SOAK_SEED", SEED);
    let time = Duration::from_secs(setting("EVENKEEL_SOAK_SECONDS", SECONDS));
    eprintln!("EVENKEEL_SOAK_SEED={seed}");
    let http1 = http1_backend();
    let backends = [http1.url(), format!("h2c://{}", http2_backend(seed))];
    let proxy = config(&backends, SLOTS).start();
    let (tally, is_over) = (Arc::<Tally>::default(), AtomicBool::new(false));
    let until = clock::now() + time;
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            run_clients(proxy.address(), seed, until, &tally);
            is_over.store(true, Ordering::Release);
        });
        for reloads in 1.. {
            std::thread::park_timeout(Duration::from_millis(500));
            if is_over.load(Ordering::Acquire) || running.is_finished() {
                break;
            }
            reloaded(&proxy, &config(&backends, SLOTS + reloads % 2));
        }
        if let Err(panic) = running.join() {
            std::panic::resume_unwind(panic);
        }
    });
    let [exact, cancelled, refused] =
        [&tally.exact, &tally.cancelled, &tally.refused].map(|count| count.load(Ordering::Relaxed));
    eprintln!("{tally:?} in {:?}", (until - time).elapsed());
    assert!(exact > 20 && cancelled > 0 && refused < exact / 4, "{tally:?}");
    let began = clock::now();
    loop {
        let left = left(&proxy);
        if left.is_empty() {
            break;
        }
        assert!(began.elapsed() < LIMIT, "in flight:\n{left}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
