//! HTTP/1.1 of the client: strict about where a response ends, so that a truncated one never passes as whole.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::record::Failure;
use super::request::Outgoing;
use super::response::Response;
use crate::nonce;

/// Most headers of a response.
const MOST_HEADERS: usize = 100;
/// Longest body.
const LONGEST_BODY: usize = 16 * 1024 * 1024;
/// Bytes asked for at a time.
const READ: usize = 16 * 1024;

type Result<T> = std::result::Result<T, Failure>;

/// The connections of a client that are kept.
#[derive(Debug)]
pub(super) struct Connections {
    address: SocketAddr,
    most: usize,
    open: Cell<usize>,
    idle: RefCell<VecDeque<Connection>>,
}

/// A connection, and what was read of it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// How a response says where its body ends.
#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// A parsed head.
#[derive(Debug)]
struct Head {
    response: Response,
    framing: Framing,
    closes: bool,
    size: usize,
}

impl Connections {
    pub(super) fn new(address: SocketAddr, most: usize) -> Self {
        Self {
            address,
            most,
            open: Cell::new(0),
            idle: RefCell::default(),
        }
    }

    /// Exchanges on the connection that was idle for longest, so that all are used, or on a new one while there are few.
    pub(super) async fn exchange(&self, request: &Outgoing) -> Result<Response> {
        let idle = if self.open.get() < self.most {
            None
        } else {
            self.take_idle()
        };
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let connection = Connection::open(self.address).await?;
                self.open.set(self.open.get() + 1);
                connection
            }
        };
        let outcome = connection.exchange(request, true).await;
        match outcome {
            Ok((response, true)) if self.idle.borrow().len() < self.most => {
                self.idle.borrow_mut().push_back(connection);
                Ok(response)
            }
            outcome => {
                self.open.set(self.open.get().saturating_sub(1));
                outcome.map(|(response, _)| response)
            }
        }
    }

    /// Exchanges on a connection that is closed afterwards.
    pub(super) async fn exchange_on_new(&self, request: &Outgoing) -> Result<Response> {
        let mut connection = Connection::open(self.address).await?;
        connection
            .exchange(request, false)
            .await
            .map(|(response, _)| response)
    }

    fn take_idle(&self) -> Option<Connection> {
        loop {
            let connection = self.idle.borrow_mut().pop_front()?;
            if connection.is_quiet() {
                return Some(connection);
            }
            self.open.set(self.open.get().saturating_sub(1));
        }
    }
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.map_err(|_| Failure::Connect)?;
        drop(stream.set_nodelay(true));
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Whether neither bytes nor the end of the connection have arrived while it was idle.
    fn is_quiet(&self) -> bool {
        let mut byte = [0; 1];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends a request and reads its response. Returns whether the connection may be used again.
    pub(super) async fn exchange(&mut self, request: &Outgoing, is_kept: bool) -> Result<(Response, bool)> {
        // The balancer may respond, and close, before it has read all: its response counts.
        let written = self.stream.write_all(&write(request, is_kept)).await;
        let head = self.head().await?;
        let Head {
            mut response,
            framing,
            closes,
            ..
        } = head;
        response.body = self.body(framing).await?;
        response.is_last = closes;
        let ends = matches!(framing, Framing::UntilClose);
        let is_reusable = is_kept && !closes && !ends && self.buffer.is_empty() && written.is_ok();
        Ok((response, is_reusable))
    }

    async fn head(&mut self) -> Result<Head> {
        loop {
            if let Some(head) = parse(&self.buffer)? {
                self.buffer.drain(..head.size);
                if head.response.status >= 200 {
                    return Ok(head);
                }
            } else if self.fill().await.unwrap_or(0) == 0 {
                let is_empty = self.buffer.is_empty();
                return Err(if is_empty {
                    Failure::Closed
                } else {
                    Failure::Truncated
                });
            }
        }
    }

    async fn body(&mut self, framing: Framing) -> Result<Vec<u8>> {
        match framing {
            Framing::Length(length) => self.take(length).await,
            Framing::Chunked => self.chunks().await,
            Framing::UntilClose => {
                while self.fill().await.map_err(|_| Failure::Truncated)? > 0 {}
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| Failure::Malformed)?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size).await?);
            if !self.line().await?.is_empty() || body.len() > LONGEST_BODY {
                return Err(Failure::Malformed);
            }
        }
    }

    async fn line(&mut self) -> Result<String> {
        let end = loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                break end;
            }
            self.more().await?;
        };
        let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        if length > LONGEST_BODY {
            return Err(Failure::Malformed);
        }
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn more(&mut self) -> Result<()> {
        match self.fill().await {
            Ok(1..) => Ok(()),
            _ => Err(Failure::Truncated),
        }
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        self.buffer.reserve(READ);
        self.stream.read_buf(&mut self.buffer).await
    }
}

fn write(request: &Outgoing, is_kept: bool) -> Vec<u8> {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: chaos.test\r\n{}: {}\r\n",
        request.method.name(),
        request.target,
        nonce::NONCE,
        nonce::hex(request.nonce),
    );
    if let Some(cookie) = &request.cookie {
        head.push_str(&format!("Cookie: {cookie}\r\n"));
    }
    if !request.body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    if !is_kept {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&request.body);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let size = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Malformed),
    };
    let mut response = Response {
        status: parsed.code.ok_or(Failure::Malformed)?,
        ..Response::default()
    };
    let mut framing = match response.status {
        100..200 | 204 | 304 => Framing::Length(0),
        _ => Framing::UntilClose,
    };
    let mut closes = false;
    for header in parsed.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        let value = std::str::from_utf8(header.value).map_err(|_| Failure::Malformed)?;
        match name.as_str() {
            "content-length" => framing = Framing::Length(value.parse().map_err(|_| Failure::Malformed)?),
            "transfer-encoding" => framing = Framing::Chunked,
            "connection" => closes |= value.eq_ignore_ascii_case("close"),
            _ => response.note(&name, value),
        }
    }
    Ok(Some(Head {
        response,
        framing,
        closes,
        size,
    }))
}
