//! A small backend of the demo, and the switch that stops and starts it. Supports just enough HTTP/1.1 for the load
//! balancer and `curl`; one request per connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::net::{self, ListenAddress, StdListener};
use crate::tasks::Tasks;

/// Bound of a request head in bytes. The load balancer rejects larger ones anyway.
const HEAD_BOUND: usize = 64 << 10;
/// Bound of the request body that is discarded, in bytes. Unread data would reset the connection and lose the response.
const BODY_BOUND: usize = 1 << 20;
/// Longest lifetime of a connection.
const LIFETIME: Duration = Duration::from_secs(10);
/// How long `/slow` takes: noticeable, but shorter than all default timeouts.
const SLOW: Duration = Duration::from_secs(3);
/// Bound of concurrent connections; further ones wait in the kernel.
const CONNECTIONS_BOUND: usize = 1024;
/// Pause before accepting again after too many connections or an error of the system.
const PAUSE: Duration = Duration::from_millis(50);

/// How a backend responds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behaviour {
    /// Its name.
    name: &'static str,
    /// Whether `/503` fails and `/slow` is slow.
    is_faulty: bool,
    /// Whether everything but `/` fails: health checks ask for `/`, and find it healthy.
    is_failing: bool,
}

/// What happens to a backend by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It works.
    Healthy,
    /// It refuses connections.
    Stopped,
    /// Its requests fail, its health checks succeed.
    Failing,
}

/// What changes about a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Somebody has used the switch.
    Power(Power),
    /// The outages of the demo.
    Condition(Condition),
}

/// The position of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    /// The backend runs, as far as its condition allows.
    On,
    /// It refuses connections.
    Off,
}

/// A change, and the channel for its result.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) change: Change,
    pub(super) done: oneshot::Sender<io::Result<()>>,
}

impl Behaviour {
    /// That of a backend that works.
    pub(super) fn new(name: &'static str, is_faulty: bool) -> Self {
        Self {
            name,
            is_faulty,
            is_failing: false,
        }
    }
}

/// Changes a backend by its channel.
///
/// # Errors
/// It cannot listen again, or the demo is ending.
pub(super) async fn change(backend: &mpsc::Sender<Command>, change: Change) -> io::Result<()> {
    let ending = || io::Error::other("the demo is ending");
    let (done, outcome) = oneshot::channel();
    // An error holds the command, whose channel must not be waited for then.
    let sent = backend.send(Command { change, done }).await;
    sent.map_err(|_| ending())?;
    outcome.await.unwrap_or_else(|_| Err(ending()))
}

/// Serves at `address` until it is dropped. `first` already listens there; `commands` stop and start it.
pub(super) async fn serve(
    first: TcpListener,
    address: SocketAddr,
    mut behaviour: Behaviour,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut listener = Some(first);
    let (mut power, mut condition) = (Power::On, Condition::Healthy);
    let mut connections = Tasks::default();
    loop {
        tokio::select! {
            stream = accept(listener.as_ref(), &mut connections) => {
                connections.spawn(async move { serve_connection(stream, |path| behaviour.response(path)).await });
            }
            Some(Command { change, done }) = commands.recv() => {
                match change {
                    Change::Power(position) => power = position,
                    Change::Condition(next) => condition = next,
                }
                behaviour.is_failing = condition == Condition::Failing;
                let outcome = if power == Power::Off || condition == Condition::Stopped {
                    listener = None;
                    connections = Tasks::default();
                    Ok(())
                } else if listener.is_some() {
                    Ok(())
                } else {
                    listen(address).map(|again| listener = Some(again))
                };
                // The receiver may be gone.
                let _ = done.send(outcome);
            }
        }
    }
}

/// Serves the switch: `/stop` and `/start`.
pub(super) async fn serve_switch(listener: TcpListener, backend: mpsc::Sender<Command>) {
    let mut connections = Tasks::default();
    loop {
        let stream = accept(Some(&listener), &mut connections).await;
        let backend = backend.clone();
        connections.spawn(async move { serve_connection(stream, |path| switch(backend, path)).await });
    }
}

/// Binds an address and listens on it.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = net::bind(&ListenAddress::Ip(address))?;
    bound.listen()?;
    match bound.share()? {
        StdListener::Tcp(socket) => TcpListener::from_std(socket),
        StdListener::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Accepts the next connection. Never resolves without a listener.
async fn accept(listener: Option<&TcpListener>, connections: &mut Tasks) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        if connections.running() < CONNECTIONS_BOUND
            && let Ok((stream, _)) = listener.accept().await
        {
            return stream;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A response.
struct Response {
    status: &'static str,
    text: String,
}

impl Behaviour {
    async fn response(self, path: String) -> Response {
        let mut status = "200 OK";
        if self.is_faulty && path == "/503" || self.is_failing && path != "/" {
            status = "503 Service Unavailable";
        }
        if let Some(duration) = duration_of(&path) {
            tokio::time::sleep(duration).await;
        }
        if self.is_faulty && path == "/slow" {
            tokio::time::sleep(SLOW).await;
        }
        let text = format!("Backend {} got {path}\n", self.name);
        Response { status, text }
    }
}

/// How long a response takes. What the demo itself asks for takes as long as that of an application might.
fn duration_of(path: &str) -> Option<Duration> {
    let (kind, number) = path.strip_prefix('/')?.split_once('/')?;
    let number: u64 = number.parse().ok()?;
    match kind {
        "products" => Some(Duration::from_millis(1 + number % 8)),
        "search" => Some(Duration::from_millis(15 + number % 60)),
        _ => None,
    }
}

async fn switch(backend: mpsc::Sender<Command>, path: String) -> Response {
    let (power, text) = match path.as_str() {
        "/stop" => (Power::Off, "Backend three is stopped: it refuses connections\n"),
        "/start" => (Power::On, "Backend three is started\n"),
        _ => {
            return Response {
                status: "404 Not Found",
                text: "Not found: use /stop or /start\n".to_owned(),
            };
        }
    };
    match change(&backend, Change::Power(power)).await {
        Ok(()) => Response {
            status: "200 OK",
            text: text.to_owned(),
        },
        Err(error) => Response {
            status: "500 Internal Server Error",
            text: format!("Backend three cannot be started: {error}\n"),
        },
    }
}

/// Serves one request. An error affects only this connection.
async fn serve_connection<F: Future<Output = Response>>(
    mut stream: TcpStream,
    response: impl FnOnce(String) -> F,
) {
    let exchange = async {
        let Some(Request { method, path }) = read_head(&mut stream).await? else {
            return Ok(());
        };
        let Response { status, text } = response(path).await;
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            text.len()
        );
        // RFC 9110 §9.3.2: the response to HEAD has no body.
        if method != "HEAD" {
            bytes.push_str(&text);
        }
        stream.write_all(bytes.as_bytes()).await?;
        stream.shutdown().await?;
        discard_rest(&mut stream).await
    };
    // A timeout or a closed connection: there is nobody to report it to.
    let _: Result<io::Result<()>, _> = timeout(LIFETIME, exchange).await;
}

struct Request {
    method: String,
    path: String,
}

/// Reads up to the end of the head. `None` when it is too long or incomplete, or has no request line.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_BOUND || stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.split([' ', '\r']);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let path = target.split('?').next().unwrap_or(target);
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
    }))
}

async fn discard_rest(stream: &mut TcpStream) -> io::Result<()> {
    let mut chunk = [0; 4096];
    let mut count = 0;
    while count < BODY_BOUND {
        match stream.read(&mut chunk).await? {
            0 => break,
            some => count += some,
        }
    }
    Ok(())
}
