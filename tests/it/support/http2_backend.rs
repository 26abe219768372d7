//! HTTP/2 backends: one whose frames the test writes by hand, and one based on the `h2` crate that acts by path.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use socket2::SockRef;
use tokio::task::JoinSet;

use super::DEADLINE;
use super::background;
use super::event::Log;
use super::http2::Frames;

/// A listener whose connections the test controls.
#[derive(Debug)]
pub(crate) struct FramesBackend {
    listener: TcpListener,
}

impl FramesBackend {
    /// Listens on a port of its own.
    pub(crate) fn start() -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"))
    }

    /// Accepts connections on this listener.
    pub(crate) fn on(listener: TcpListener) -> Self {
        // On Linux this bounds accepting too.
        SockRef::from(&listener)
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        Self { listener }
    }

    /// Its URL for a config.
    pub(crate) fn url(&self) -> String {
        let address = self.listener.local_addr().expect("a listener has an address");
        format!("h2c://{address}")
    }

    /// Waits for the next connection, and exchanges prefaces with these settings.
    pub(crate) fn accept(&self, settings: &[u8]) -> Frames {
        let (stream, _) = self.listener.accept().expect("the balancer connects in time");
        Frames::of_server(stream, settings)
    }

    /// Whether no connection arrives for `time`; for events that must *not* happen. Keep it short.
    pub(crate) fn is_alone_for(&self, time: Duration) -> bool {
        let listener = SockRef::from(&self.listener);
        listener
            .set_read_timeout(Some(time))
            .expect("a timeout can be set");
        let accepted = self.listener.accept();
        listener
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        accepted.is_err()
    }
}

/// A backend based on the `h2` crate. The path selects what it does with a request:
///
/// - `/echo` echoes the body while it arrives, followed by its trailers;
/// - `/take` reads the whole body and responds with its length;
/// - `/bytes/N` responds with N bytes of the pattern of [`bytes`], without announcing the length;
/// - `/early` responds 413 without reading, and resets the stream with `NO_ERROR` (RFC 9113 §8.1);
/// - `/hold` does not respond;
/// - every other path gets 200 with the path as text.
#[derive(Debug)]
pub(crate) struct Http2Backend {
    address: SocketAddr,
    events: Log<Seen>,
}

/// How such a backend leaves requests unprocessed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Refusals {
    /// How many of a hundred streams are refused, at random.
    pub(crate) percent: u32,
    /// After how many requests a connection ends with GOAWAY; 0 is never.
    pub(crate) goaway_after: usize,
}

/// An event at such a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Connection,
    Request(String, HeaderFields),
    Reset(Option<Reason>),
    ConnectionEnd,
}

/// Names and values as received.
pub(crate) type HeaderFields = Vec<(String, String)>;

impl Http2Backend {
    /// Starts one. It runs until the test process ends.
    pub(crate) fn start() -> Self {
        Self::refusing(Refusals::default())
    }

    /// Starts one that leaves some requests unprocessed; those are no [`Seen::Request`].
    pub(crate) fn refusing(refusals: Refusals) -> Self {
        let events = Log::default();
        let its = events.clone();
        let address = background::serve(move |stream| serve(stream, its.clone(), refusals));
        Self { address, events }
    }

    /// Its URL for a config.
    pub(crate) fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    /// Waits until `look` returns a result for the events so far.
    pub(crate) fn wait_for<R>(&self, what: &str, look: impl FnMut(&[Seen]) -> Option<R>) -> R {
        self.events.wait_for(what, look)
    }

    /// The number of events so far that `is_meant` accepts.
    pub(crate) fn count(&self, is_meant: impl Fn(&Seen) -> bool) -> usize {
        self.events.all().iter().filter(|seen| is_meant(seen)).count()
    }
}

async fn serve(stream: tokio::net::TcpStream, events: Log<Seen>, refusals: Refusals) {
    // One random state for all, so that connections do not all begin alike.
    static CHANCE: AtomicU32 = AtomicU32::new(1);
    let mut requests = 0;
    events.push(Seen::Connection);
    let mut streams = JoinSet::new();
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    if let Ok(mut connection) = builder.handshake(stream).await {
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let state = CHANCE.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9);
            if (state >> 8) % 100 < refusals.percent {
                respond.send_reset(Reason::REFUSED_STREAM);
                continue;
            }
            requests += 1;
            if requests == refusals.goaway_after {
                connection.graceful_shutdown();
            }
            let fields = request.headers().iter();
            let fields = fields.map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value)
            });
            let line = format!("{} {}", request.method(), request.uri());
            events.push(Seen::Request(line, fields.collect()));
            let its = events.clone();
            streams.spawn(async move {
                if let Err(error) = response(request, respond).await {
                    its.push(Seen::Reset(error.reason()));
                }
            });
        }
    }
    streams.join_all().await;
    events.push(Seen::ConnectionEnd);
}

async fn response(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    match path.as_str() {
        "/echo" => {
            let mut sending = respond.send_response(Response::new(()), false)?;
            while let Some(data) = body.data().await {
                let data = data?;
                body.flow_control().release_capacity(data.len())?;
                send(&mut sending, data).await?;
            }
            match body.trailers().await? {
                Some(trailers) => sending.send_trailers(trailers),
                None => sending.send_data(Bytes::new(), true),
            }
        }
        "/take" => {
            let mut count = 0;
            while let Some(data) = body.data().await {
                let data = data?;
                count += data.len();
                body.flow_control().release_capacity(data.len())?;
            }
            let mut sending = respond.send_response(Response::new(()), false)?;
            sending.send_data(Bytes::from(count.to_string()), true)
        }
        "/early" => {
            let head = Response::builder().status(413).body(()).unwrap();
            let mut sending = respond.send_response(head, false)?;
            // Dropping the unread body resets the stream after the response.
            sending.send_data(Bytes::from_static(b"too much"), true)
        }
        "/hold" => Err(std::future::poll_fn(|context| respond.poll_reset(context))
            .await?
            .into()),
        path => match path.strip_prefix("/bytes/") {
            Some(count) => {
                let mut sending = respond.send_response(Response::new(()), false)?;
                let all = Bytes::from(bytes(count.parse().unwrap()));
                for at in (0..all.len()).step_by(1 << 16) {
                    send(&mut sending, all.slice(at..all.len().min(at + (1 << 16)))).await?;
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("x-end", "1".parse().unwrap());
                sending.send_trailers(trailers)
            }
            None => {
                let mut sending = respond.send_response(Response::new(()), false)?;
                sending.send_data(Bytes::from(path.to_owned()), true)
            }
        },
    }
}

/// Sends all of it, as window allows.
async fn send(sending: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        sending.reserve_capacity(data.len());
        let ready = std::future::poll_fn(|context| sending.poll_capacity(context)).await;
        let count = ready.ok_or(Reason::CANCEL)??.min(data.len());
        sending.send_data(data.split_to(count), false)?;
    }
    Ok(())
}

/// Bytes in a pattern of prime length, so that a missing, repeated or misplaced part shows.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let piece: Vec<u8> = (0..65_537).map(|_| next()).collect();
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let length = piece.len().min(count - all.len());
        all.extend_from_slice(&piece[..length]);
    }
    all
}
