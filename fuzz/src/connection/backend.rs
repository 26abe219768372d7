//! A backend: reads requests like the reference parser, records them, and sends the bytes of the script.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::script::{EARLY, END, NONCE, PAUSE, PAUSES, RESET, Script};
use super::{pause, reset_on_close};
use crate::reference::{Request, values};

/// The records of all backends of a run.
pub(super) struct Seen {
    script: Script,
    /// Makes nonces unique to the run.
    salt: u64,
    /// The nonce of the canary's request.
    pub(super) canary: String,
    /// Backends that are pausing.
    pub(super) pausing: usize,
    /// Remaining pauses.
    pauses: usize,
    /// In order.
    pub(super) attempts: Vec<Attempt>,
}

/// One request at a backend.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The request as last read.
    pub(super) request: Request,
    /// Replaces the placeholder in the response.
    pub(super) nonce: String,
    /// Bytes sent so far.
    pub(super) response: Vec<u8>,
    /// Whether the end of the stream followed them.
    pub(super) has_ended: bool,
}

impl Seen {
    /// Nothing yet.
    pub(super) fn new(script: Script, salt: u64) -> Self {
        Self {
            script,
            salt,
            canary: format!("canary-{salt:016x}"),
            pausing: 0,
            pauses: PAUSES,
            attempts: Vec::new(),
        }
    }
}

/// Serves connections until it is dropped.
pub(super) async fn serve(listener: Rc<TcpListener>, seen: Rc<RefCell<Seen>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        reset_on_close(&stream);
        connections.spawn_local(connection(stream, Rc::clone(&seen)));
    }
}

/// Serves one connection. It ends with a reset, after which no port stays in TIME_WAIT.
async fn connection(mut stream: TcpStream, seen: Rc<RefCell<Seen>>) {
    let mut unread = Vec::new();
    loop {
        let Some(request) = head(&mut stream, &mut unread).await else {
            return;
        };
        let canary = seen.borrow().canary.clone();
        if values(&request.fields, "x-canary").any(|value| value == canary.as_bytes()) {
            unread.drain(..request.length);
            let response = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{canary}",
                canary.len()
            );
            if stream.write_all(response.as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        let index = take_down(&seen, request);
        let script = seen.borrow().script.response(index);
        let (is_early, script) = match &script[..] {
            [EARLY, script @ ..] => (true, script),
            script => (false, script),
        };
        if !is_early && body(&mut stream, &mut unread, &seen, index).await.is_none() {
            return;
        }
        if !send(&mut stream, script, &seen, index).await {
            return;
        }
        if crate::reference::Response::read_final(&seen.borrow().attempts[index].response, false, true)
            .is_some_and(|response| response.status == 101)
        {
            // Later bytes are no request.
            while matches!(stream.read_buf(&mut Vec::new()).await, Ok(1..)) {}
            return;
        }
        if is_early && body(&mut stream, &mut unread, &seen, index).await.is_none() {
            return;
        }
    }
}

fn take_down(seen: &RefCell<Seen>, request: Request) -> usize {
    let mut seen = seen.borrow_mut();
    let index = seen.attempts.len();
    let nonce = evenkeel_balance::rng::mix(seen.salt.wrapping_add(index as u64 + 1));
    seen.attempts.push(Attempt {
        request,
        nonce: format!("{nonce:016x}"),
        response: Vec::new(),
        has_ended: false,
    });
    index
}

/// The next request, with the part of its body that arrived with it. Bytes that are no request must not arrive.
async fn head(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Request> {
    loop {
        let is_whole = unread.windows(4).any(|bytes| bytes == b"\r\n\r\n");
        let request = Request::read(unread);
        assert!(
            request.is_some() == is_whole,
            "no request: {}",
            unread.escape_ascii()
        );
        if request.is_some() {
            return request;
        }
        if !matches!(stream.read_buf(unread).await, Ok(1..)) {
            return None;
        }
    }
}

/// Reads the body of an attempt; `None` if it does not arrive.
async fn body(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
    seen: &RefCell<Seen>,
    index: usize,
) -> Option<()> {
    loop {
        let request = Request::read(unread)?;
        let (is_whole, length) = (request.body.is_whole, request.length);
        seen.borrow_mut().attempts[index].request = request;
        if is_whole {
            unread.drain(..length);
            return Some(());
        }
        if !matches!(stream.read_buf(unread).await, Ok(1..)) {
            return None;
        }
    }
}

/// Sends the bytes of the script; returns `false` if nothing may follow.
async fn send(stream: &mut TcpStream, script: &[u8], seen: &RefCell<Seen>, index: usize) -> bool {
    let mut rest = script;
    loop {
        let length = rest
            .iter()
            .position(|byte| matches!(*byte, PAUSE | END | RESET))
            .unwrap_or(rest.len());
        let bytes = {
            let attempt = &mut seen.borrow_mut().attempts[index];
            let nonce = attempt.nonce.as_bytes();
            let with_nonce = |byte: &u8| {
                if *byte == NONCE {
                    nonce.to_vec()
                } else {
                    vec![*byte]
                }
            };
            let bytes: Vec<u8> = rest[..length].iter().flat_map(with_nonce).collect();
            attempt.response.extend_from_slice(&bytes);
            bytes
        };
        if stream.write_all(&bytes).await.is_err() {
            return false;
        }
        rest = match &rest[length..] {
            [] => return true,
            [PAUSE, rest @ ..] => rest,
            [END, ..] => {
                seen.borrow_mut().attempts[index].has_ended = true;
                let _ = stream.shutdown().await;
                while matches!(stream.read_buf(&mut Vec::new()).await, Ok(1..)) {}
                return false;
            }
            _ => return false,
        };
        if seen.borrow().pauses > 0 {
            seen.borrow_mut().pauses -= 1;
            seen.borrow_mut().pausing += 1;
            pause().await;
            seen.borrow_mut().pausing -= 1;
        }
    }
}
