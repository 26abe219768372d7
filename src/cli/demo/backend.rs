//! One small backend of the demo, and the switch that stops and starts it. Enough HTTP/1.1 to be asked by the balancer
//! and by `curl`; one request a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::net::{self, ListenAddress, StdListener};
use crate::tasks::Tasks;

/// Bound of a request's head, in bytes; the balancer refuses larger ones anyway.
const HEAD_BOUND: usize = 64 << 10;
/// Bound of the body that is read and forgotten, in bytes: a reset would cost the sender the answer.
const BODY_BOUND: usize = 1 << 20;
/// Bound of one connection's life.
const LIFE: Duration = Duration::from_secs(10);
/// How long `/slow` takes: one can feel it, and no default timeout ends it.
const SLOW: Duration = Duration::from_secs(3);
/// Bound of connections at once; further ones wait in the kernel.
const CONNECTIONS_BOUND: usize = 1024;
/// Until one accepts again when there are too many connections or the system refuses to.
const PAUSE: Duration = Duration::from_millis(50);

/// How a backend answers.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// What it calls itself.
    pub(super) name: &'static str,
    /// Whether `/503` and `/slow` mean something to it.
    pub(super) is_odd: bool,
}

/// What the switch tells its backend, and where the outcome goes.
#[derive(Debug)]
pub(super) struct Turn {
    power: Power,
    done: oneshot::Sender<io::Result<()>>,
}

#[derive(Debug, Clone, Copy)]
enum Power {
    On,
    Off,
}

/// Serves at `address` until it is dropped. `first` listens there already; `turns` stop and start it.
pub(super) async fn serve(
    first: TcpListener,
    address: SocketAddr,
    manner: Manner,
    mut turns: mpsc::Receiver<Turn>,
) {
    let manner = Arc::new(manner);
    let mut listener = Some(first);
    let mut connections = Tasks::default();
    loop {
        tokio::select! {
            stream = accept(listener.as_ref(), &mut connections) => {
                let manner = Arc::clone(&manner);
                connections.spawn(async move { converse(stream, |path| manner.response(path)).await });
            }
            Some(Turn { power, done }) = turns.recv() => {
                let outcome = match power {
                    Power::Off => {
                        listener = None;
                        connections = Tasks::default();
                        Ok(())
                    }
                    Power::On if listener.is_some() => Ok(()),
                    Power::On => listen(address).map(|again| listener = Some(again)),
                };
                // Whoever asked may have gone.
                let _ = done.send(outcome);
            }
        }
    }
}

/// Serves the switch: `/stop` and `/start`.
pub(super) async fn serve_switch(listener: TcpListener, backend: mpsc::Sender<Turn>) {
    let mut connections = Tasks::default();
    loop {
        let stream = accept(Some(&listener), &mut connections).await;
        let backend = backend.clone();
        connections.spawn(async move { converse(stream, |path| turn(backend, path)).await });
    }
}

/// Takes an address and lets clients in.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = net::bind(&ListenAddress::Ip(address))?;
    bound.listen()?;
    match bound.share()? {
        StdListener::Tcp(socket) => TcpListener::from_std(socket),
        StdListener::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The next connection; none ever without a listener.
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

/// What is answered.
struct Response {
    status: &'static str,
    text: String,
}

impl Manner {
    async fn response(&self, path: String) -> Response {
        let mut status = "200 OK";
        if self.is_odd && path == "/503" {
            status = "503 Service Unavailable";
        }
        if self.is_odd && path == "/slow" {
            tokio::time::sleep(SLOW).await;
        }
        let text = format!("Backend {} got {path}\n", self.name);
        Response { status, text }
    }
}

async fn turn(backend: mpsc::Sender<Turn>, path: String) -> Response {
    let (power, text) = match path.as_str() {
        "/stop" => (Power::Off, "Backend three is stopped: it refuses connections\n"),
        "/start" => (Power::On, "Backend three is started\n"),
        _ => {
            return Response {
                status: "404 Not Found",
                text: "Ask for /stop or /start\n".to_owned(),
            };
        }
    };
    let (done, outcome) = oneshot::channel();
    let sent = backend.send(Turn { power, done }).await;
    let outcome = match (sent, outcome.await) {
        (Ok(()), Ok(outcome)) => outcome,
        _ => Err(io::Error::other("the demo is ending")),
    };
    match outcome {
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

/// One request and its answer. However it ends, only this connection is concerned.
async fn converse<F: Future<Output = Response>>(mut stream: TcpStream, response: impl FnOnce(String) -> F) {
    let conversation = async {
        let Some(Request { method, path }) = read_head(&mut stream).await? else {
            return Ok(());
        };
        let Response { status, text } = response(path).await;
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            text.len()
        );
        // RFC 9110 9.3.2: the answer to HEAD has no body.
        if method != "HEAD" {
            bytes.push_str(&text);
        }
        stream.write_all(bytes.as_bytes()).await?;
        stream.shutdown().await?;
        forget_rest(&mut stream).await
    };
    // Too slow or cut: nobody is there to be told.
    let _: Result<io::Result<()>, _> = timeout(LIFE, conversation).await;
}

struct Request {
    method: String,
    path: String,
}

/// Reads up to the end of the head; `None` when it does not end in time or begins with no request line.
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

async fn forget_rest(stream: &mut TcpStream) -> io::Result<()> {
    let mut piece = [0; 4096];
    let mut count = 0;
    while count < BODY_BOUND {
        match stream.read(&mut piece).await? {
            0 => break,
            some => count += some,
        }
    }
    Ok(())
}
