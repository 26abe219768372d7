//! What lives longer than a reload or an upgrade, beside the load: WebSockets that send a message now and then, and downloads
//! that are read slowly.

use std::cell::RefCell;
use std::io::{Error, ErrorKind, Result as IoResult};
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

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
/// Longest head of a response.
const LONGEST_HEAD: usize = 64 << 10;

/// What runs beside the load.
#[derive(Debug)]
pub struct LongLived {
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<LongLivedOutcome>>,
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
}

impl LongLived {
    /// Opens so many WebSockets, and keeps so many downloads running.
    pub fn start(address: SocketAddr, websockets: usize, downloads: usize) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let name = "long-lived".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let outcome = Rc::new(RefCell::new(LongLivedOutcome::default()));
            LocalSet::new().block_on(&runtime, async {
                let mut tasks = Vec::new();
                for _ in 0..websockets {
                    let task = keep_websocket(address, stopped.clone(), Rc::clone(&outcome));
                    tasks.push(tokio::task::spawn_local(task));
                }
                for number in 0..downloads {
                    let task = keep_downloading(address, number, stopped.clone(), Rc::clone(&outcome));
                    tasks.push(tokio::task::spawn_local(task));
                }
                for task in tasks {
                    // A task that panicked has said so.
                    drop(task.await);
                }
            });
            Ok(outcome.take())
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends WebSockets, lets downloads end, and says what became of all.
    pub fn finish(self) -> Result<LongLivedOutcome> {
        self.stop.send_replace(true);
        let outcome = self.thread.join();
        outcome.map_err(|_| RunError::new("the client of WebSockets and downloads panicked"))?
    }
}

async fn keep_websocket(
    address: SocketAddr,
    stopped: watch::Receiver<bool>,
    outcome: Rc<RefCell<LongLivedOutcome>>,
) {
    if let Err(error) = websocket(address, &stopped, &outcome).await {
        outcome.borrow_mut().cut_websockets.push(error.to_string());
    }
}

/// Sends messages until it is stopped, and reads their echo.
async fn websocket(
    address: SocketAddr,
    stopped: &watch::Receiver<bool>,
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
    while !*stopped.borrow() {
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
    stopped: watch::Receiver<bool>,
    outcome: Rc<RefCell<LongLivedOutcome>>,
) {
    let mut nonce = u64::try_from(number).unwrap_or_default() << 32;
    while !*stopped.borrow() {
        nonce += 1;
        match download(address, nonce).await {
            Ok(()) => outcome.borrow_mut().downloads += 1,
            Err(error) => outcome.borrow_mut().cut_downloads.push(error.to_string()),
        }
    }
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
