//! What lives longer than a reload or an upgrade, beside the load: WebSockets that send a message now and then, and downloads
//! that are read slowly, over HTTP/1.1 and as streams of HTTP/2 connections.

use std::cell::RefCell;
use std::io::{Error, ErrorKind, Result as IoResult};
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::http2::watched;
use super::{all_ended, on_thread};
use crate::backend::Behaviour;
use crate::error::{Error as RunError, Result};
use crate::nonce;

/// Time between two messages of a WebSocket.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(200);
/// Longest wait for the echo of a message.
const ECHO: Duration = Duration::from_secs(5);
/// Bytes of a message.
const MESSAGE: usize = 64;
/// Bytes of a download.
const DOWNLOAD: usize = 2 << 20;
/// Bytes read of a download at a time, and the pause after them: about three seconds in all.
const PIECE: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(90);
/// Downloads at a time on an HTTP/2 connection, which are shorter, and take as long.
const STREAMS: usize = 2;
const STREAM: usize = DOWNLOAD / 4;
/// Longest head of a response.
const LONGEST_HEAD: usize = 64 << 10;

/// How many of each run.
#[derive(Debug, Clone, Copy, Default)]
pub struct LongLivedCounts {
    /// WebSockets.
    pub websockets: usize,
    /// Downloads over HTTP/1.1, each on a connection of its own.
    pub downloads: usize,
    /// HTTP/2 connections, each with `STREAMS` downloads at a time.
    pub http2: usize,
}

/// What runs beside the load.
#[derive(Debug)]
pub struct LongLived {
    stop: watch::Sender<Stage>,
    thread: JoinHandle<Result<LongLivedOutcome>>,
}

/// What is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// All.
    Running,
    /// WebSockets, and downloads that have begun.
    Ending,
    /// Downloads that have begun.
    Over,
}

/// What became of it.
#[derive(Debug, Clone, Default)]
pub struct LongLivedOutcome {
    /// Messages of WebSockets that came back.
    pub messages: u64,
    /// Why WebSockets ended before they were to.
    pub cut_websockets: Vec<String>,
    /// Downloads that were whole.
    pub downloads: u64,
    /// Why the others were not.
    pub cut_downloads: Vec<String>,
    /// The nonces of all downloads that were begun.
    pub nonces: Vec<u64>,
}

impl LongLived {
    /// Opens WebSockets, and keeps downloads running; those over HTTP/2 at the address `http2`.
    pub fn start(address: SocketAddr, http2: SocketAddr, counts: LongLivedCounts) -> Result<Self> {
        let (stop, stopped) = watch::channel(Stage::Running);
        let thread = on_thread("long-lived", move || async move {
            let outcome = Rc::new(RefCell::new(LongLivedOutcome::default()));
            let mut tasks = Vec::new();
            for _ in 0..counts.websockets {
                let task = keep_websocket(address, stopped.clone(), Rc::clone(&outcome));
                tasks.push(tokio::task::spawn_local(task));
            }
            for number in 0..counts.downloads {
                let task = keep_downloading(address, number, stopped.clone(), Rc::clone(&outcome));
                tasks.push(tokio::task::spawn_local(task));
            }
            for number in 0..counts.http2 {
                let number = counts.downloads + number;
                let task = keep_streaming(http2, number, stopped.clone(), Rc::clone(&outcome));
                tasks.push(tokio::task::spawn_local(task));
            }
            all_ended(tasks).await;
            outcome.take()
        })?;
        Ok(Self { stop, thread })
    }

    /// Begins no further downloads, and lets all else go on.
    pub fn end_downloads(&self) {
        self.stop.send_replace(Stage::Ending);
    }

    /// Ends WebSockets, lets downloads end, and says what became of all.
    pub fn finish(self) -> Result<LongLivedOutcome> {
        self.stop.send_replace(Stage::Over);
        let outcome = self.thread.join();
        outcome.map_err(|_| RunError::new("the client of WebSockets and downloads panicked"))?
    }
}

async fn keep_websocket(
    address: SocketAddr,
    stopped: watch::Receiver<Stage>,
    outcome: Rc<RefCell<LongLivedOutcome>>,
) {
    if let Err(error) = websocket(address, &stopped, &outcome).await {
        outcome.borrow_mut().cut_websockets.push(error.to_string());
    }
}

/// Sends messages until it is stopped, and reads their echo.
async fn websocket(
    address: SocketAddr,
    stopped: &watch::Receiver<Stage>,
    outcome: &RefCell<LongLivedOutcome>,
) -> IoResult<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = "GET /tunnel HTTP/1.1\r\nHost: chaos.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut received = Vec::new();
    let response = head_of(&mut stream, &mut received).await?;
    if !response.starts_with("HTTP/1.1 101 ") {
        return Err(Error::new(ErrorKind::InvalidData, response));
    }
    let mut number = 0;
    while *stopped.borrow() < Stage::Over {
        let message = nonce::body(number, MESSAGE);
        number += 1;
        stream.write_all(&message).await?;
        let mut echo = [0; MESSAGE];
        let read = timeout(ECHO, stream.read_exact(&mut echo)).await;
        read.map_err(|_| Error::from(ErrorKind::TimedOut))??;
        if echo != *message {
            return Err(Error::new(ErrorKind::InvalidData, "another message came back"));
        }
        outcome.borrow_mut().messages += 1;
        sleep(MESSAGE_INTERVAL).await;
    }
    Ok(())
}

async fn keep_downloading(
    address: SocketAddr,
    number: usize,
    stopped: watch::Receiver<Stage>,
    outcome: Rc<RefCell<LongLivedOutcome>>,
) {
    let mut nonce = u64::try_from(number).unwrap_or_default() << 32;
    while *stopped.borrow() == Stage::Running {
        nonce += 1;
        outcome.borrow_mut().nonces.push(nonce);
        match download(address, nonce).await {
            Ok(()) => outcome.borrow_mut().downloads += 1,
            Err(error) => outcome.borrow_mut().cut_downloads.push(error.to_string()),
        }
    }
}

/// Keeps [`STREAMS`] downloads running on one HTTP/2 connection, which the balancer may end between two of them.
async fn keep_streaming(
    address: SocketAddr,
    number: usize,
    stopped: watch::Receiver<Stage>,
    outcome: Rc<RefCell<LongLivedOutcome>>,
) {
    let mut nonce = u64::try_from(number).unwrap_or_default() << 32;
    while *stopped.borrow() == Stage::Running {
        let Ok((sender, _, _connection)) = watched(address).await else {
            outcome
                .borrow_mut()
                .cut_downloads
                .push("HTTP/2: cannot connect".to_owned());
            return;
        };
        let mut has_more = true;
        while has_more && *stopped.borrow() == Stage::Running {
            let mut streams = Vec::new();
            for _ in 0..STREAMS {
                nonce += 1;
                outcome.borrow_mut().nonces.push(nonce);
                streams.push(tokio::task::spawn_local(stream(sender.clone(), nonce)));
            }
            for stream in streams {
                match stream.await {
                    Ok(Ok(())) => outcome.borrow_mut().downloads += 1,
                    Ok(Err(StreamError::NotProcessed)) => has_more = false,
                    Ok(Err(StreamError::Cut(reason))) => outcome.borrow_mut().cut_downloads.push(reason),
                    // It has said so.
                    Err(_) => has_more = false,
                }
            }
        }
    }
}

/// Why a stream has no whole response.
enum StreamError {
    /// The connection takes no more streams.
    NotProcessed,
    /// It ended before its time.
    Cut(String),
}

impl From<h2::Error> for StreamError {
    fn from(error: h2::Error) -> Self {
        let is_leaving = error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
        if is_leaving || error.reason() == Some(Reason::REFUSED_STREAM) {
            Self::NotProcessed
        } else {
            Self::Cut(format!("HTTP/2: {error}"))
        }
    }
}

/// Downloads slowly over a stream, and compares every byte.
async fn stream(sender: SendRequest<Bytes>, nonce: u64) -> std::result::Result<(), StreamError> {
    let mut sender = sender.ready().await.map_err(|_| StreamError::NotProcessed)?;
    let behaviour = Behaviour {
        size: STREAM,
        ..Behaviour::default()
    };
    let target = format!("{}{}?{behaviour}", nonce::PREFIX, nonce::hex(nonce));
    let request = http::Request::builder().uri(format!("http://chaos.test{target}"));
    let request = request
        .body(())
        .map_err(|error| StreamError::Cut(error.to_string()))?;
    let (response, _) = sender.send_request(request, true)?;
    let response = response.await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut received = Vec::new();
    let mut since_pause = 0;
    while let Some(data) = body.data().await {
        // Once the response has begun, it has been processed.
        let data = data.map_err(|error| StreamError::Cut(format!("HTTP/2: {error}")))?;
        drop(body.flow_control().release_capacity(data.len()));
        received.extend_from_slice(&data);
        since_pause += data.len();
        if since_pause >= PIECE / 4 {
            since_pause = 0;
            sleep(PAUSE).await;
        }
    }
    if status != 200 || received != nonce::body(nonce, STREAM) {
        let message = format!(
            "HTTP/2: {status}, {} of {STREAM} bytes, or others",
            received.len()
        );
        return Err(StreamError::Cut(message));
    }
    Ok(())
}

/// Downloads slowly, and compares every byte.
async fn download(address: SocketAddr, nonce: u64) -> IoResult<()> {
    let behaviour = Behaviour {
        size: DOWNLOAD,
        ..Behaviour::default()
    };
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "GET {}{}?{behaviour} HTTP/1.1\r\nHost: chaos.test\r\nConnection: close\r\n\r\n",
        nonce::PREFIX,
        nonce::hex(nonce),
    );
    stream.write_all(head.as_bytes()).await?;
    let mut received = Vec::new();
    let response = head_of(&mut stream, &mut received).await?;
    if !response.starts_with("HTTP/1.1 200 ") {
        return Err(Error::new(ErrorKind::InvalidData, response));
    }
    let mut piece = vec![0; PIECE];
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            count => received.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
        sleep(PAUSE).await;
    }
    if received != nonce::body(nonce, DOWNLOAD) {
        let message = format!("{} of {DOWNLOAD} bytes, or others", received.len());
        return Err(Error::new(ErrorKind::UnexpectedEof, message));
    }
    Ok(())
}

/// Reads a head; what came after it stays in `received`.
async fn head_of(stream: &mut TcpStream, received: &mut Vec<u8>) -> IoResult<String> {
    loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = received.drain(..end + 4).collect();
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
        if received.len() > LONGEST_HEAD || stream.read_buf(received).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}
