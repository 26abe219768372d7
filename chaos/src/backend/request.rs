//! Reads requests of HTTP/1.1 from a connection.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::nonce;

/// Longest head.
const LONGEST_HEAD: usize = 64 * 1024;
/// Longest body.
const LONGEST_BODY: usize = 16 * 1024 * 1024;
/// Most headers of a head.
const MOST_HEADERS: usize = 100;
/// Bytes asked for at a time.
const READ: usize = 16 * 1024;

/// What is served of a request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// The nonce of its path; `None` for probes.
    pub(super) nonce: Option<u64>,
    pub(super) query: String,
    pub(super) body_hash: u64,
    pub(super) closes: bool,
    /// Whether the connection is to become a tunnel.
    pub(super) is_upgrade: bool,
}

/// A connection, and what was read of it.
#[derive(Debug)]
pub(super) struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A parsed head.
#[derive(Debug)]
struct Head {
    method: String,
    target: String,
    length: usize,
    is_chunked: bool,
    closes: bool,
    is_upgrade: bool,
    size: usize,
}

impl Reader {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::with_capacity(READ),
        }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends back all that arrives, until the end.
    pub(super) async fn echo(&mut self) -> Result<()> {
        loop {
            self.stream.write_all(&self.buffer).await?;
            self.buffer.clear();
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Waits until the next request has begun. `false` at the end of the connection.
    pub(super) async fn begins(&mut self) -> Result<bool> {
        Ok(!self.buffer.is_empty() || self.fill().await? > 0)
    }

    /// Reads a whole request.
    pub(super) async fn request(&mut self) -> Result<Request> {
        let head = loop {
            if let Some(head) = parse(&self.buffer)? {
                break head;
            }
            if self.buffer.len() > LONGEST_HEAD {
                return Err(Error::new(ErrorKind::InvalidData, "the head is too long"));
            }
            self.more().await?;
        };
        self.buffer.drain(..head.size);
        let body = if head.is_chunked {
            self.chunks().await?
        } else {
            self.take(head.length).await?
        };
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        Ok(Request {
            nonce: path.strip_prefix(nonce::PREFIX).and_then(nonce::number),
            query: query.to_owned(),
            body_hash: nonce::hash(&body),
            closes: head.closes,
            is_upgrade: head.is_upgrade,
            method: head.method,
        })
    }

    async fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| Error::new(ErrorKind::InvalidData, "not the size of a chunk"))?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size).await?);
            self.line().await?;
            if body.len() > LONGEST_BODY {
                return Err(Error::new(ErrorKind::InvalidData, "the body is too long"));
            }
        }
    }

    async fn line(&mut self) -> Result<String> {
        let end = loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            self.more().await?;
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        if length > LONGEST_BODY {
            return Err(Error::new(ErrorKind::InvalidData, "the body is too long"));
        }
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn more(&mut self) -> Result<()> {
        match self.fill().await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn fill(&mut self) -> Result<usize> {
        self.buffer.reserve(READ);
        self.stream.read_buf(&mut self.buffer).await
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request
        .parse(bytes)
        .map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))?;
    let httparse::Status::Complete(size) = parsed else {
        return Ok(None);
    };
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        length: 0,
        is_chunked: false,
        closes: request.version == Some(0),
        is_upgrade: false,
        size,
    };
    for header in request.headers.iter() {
        let value = String::from_utf8_lossy(header.value).to_ascii_lowercase();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                head.length = value
                    .parse()
                    .map_err(|_| Error::new(ErrorKind::InvalidData, "not a length"))?;
            }
            "transfer-encoding" => head.is_chunked = true,
            "upgrade" => head.is_upgrade = value == "websocket",
            "connection" => head.closes |= value.contains("close"),
            _ => {}
        }
    }
    Ok(Some(head))
}
