//! A proxy with a deliberate flaw: it forwards bytes unchanged over one shared backend connection, and is strict except
//! for one well-known flaw. It proves that the oracle finds that flaw.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::grammar::{Framing, Step, elements, values};
use super::message::{Request, Response};

/// Its flaw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// None: shows that the oracle accepts a proxy that only forwards.
    None,
    /// `Content-Length` is used although there is a `Transfer-Encoding`: CL.TE.
    LengthWins,
    /// `Transfer-Encoding` is used and `Content-Length` is forwarded beside it: TE.CL.
    CodingWins,
    /// Any value that contains `chunked` counts as `chunked`: TE.TE.
    LooseCoding,
    /// Of two lengths the first is used.
    FirstLength,
    /// Of two lengths the last is used.
    LastLength,
    /// GET never has a body: 0.CL.
    GetHasNoBody,
    /// The length of a GET is not forwarded, its body is: CL.0.
    DropsLength,
    /// A line may end with a line feed alone.
    BareLf,
    /// A line may be folded.
    Folds,
    /// NUL counts as a space.
    Nul,
    /// White space is allowed before the colon.
    BlankBeforeColon,
    /// A chunk line may end with a line feed alone.
    ChunkBareLf,
    /// Chunk sizes wrap at 32 bits.
    ChunkOverflow,
    /// After an upgrade request, bytes are forwarded whatever the response.
    UpgradesAnyway,
    /// `Connection` removes any header it names.
    ConnectionStrips,
    /// Bytes after a response begin the next one.
    KeepsExtra,
    /// Of two lengths of a response the first is used.
    FirstLengthOfAnswer,
    /// A truncated response is ended as if it were complete.
    MendsCutAnswers,
}

/// The proxy. Its threads end with their connections.
#[derive(Debug)]
pub(crate) struct Naive {
    backend: SocketAddr,
    flaw: Flaw,
    pooled: Mutex<Option<Pooled>>,
}

/// The backend connection, with bytes that arrived too early.
#[derive(Debug)]
struct Pooled {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Naive {
    /// Starts one; returns its address. It listens until the process ends.
    pub(crate) fn start(backend: SocketAddr, flaw: Flaw) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let naive = Arc::new(Self {
            backend,
            flaw,
            pooled: Mutex::default(),
        });
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let naive = Arc::clone(&naive);
                // The oracle judges how it ends.
                thread::spawn(move || {
                    drop(naive.serve(&client));
                    drop(client.shutdown(Shutdown::Write));
                    drain(&client);
                });
            }
        });
        address
    }

    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut input = Vec::new();
        loop {
            let Some(end) = self.read_head(client, &mut input)? else {
                return Ok(());
            };
            let interpreted = self.flaw.interpreted(&input[..end]);
            let (Step::Whole(request, _) | Step::Partial(Some(request))) = Request::read(&interpreted) else {
                return client.write_all(REFUSAL);
            };
            let length = loop {
                match self.flaw.body_length(&input[end..], &request, &interpreted) {
                    Ok(Some(length)) => break length,
                    Ok(None) if !fill(client, &mut input)? => return Ok(()),
                    Ok(None) => {}
                    Err(()) => return client.write_all(REFUSAL),
                }
            };
            let message: Vec<u8> = input.drain(..end + length).collect();
            let head = self.flaw.forwarded_head(&message[..end], &request);
            let is_tunnel =
                self.flaw == Flaw::UpgradesAnyway && !elements(&request.fields, "upgrade").is_empty();
            let rest = if is_tunnel {
                std::mem::take(&mut input)
            } else {
                Vec::new()
            };
            let bytes = [&head, &message[end..], &rest].concat();
            if !self.exchange(&bytes, &request, client)? || !request.keeps_open() || is_tunnel {
                return Ok(());
            }
        }
    }

    /// Length of the head at the front of the input, as this flaw reads it.
    fn read_head(&self, client: &TcpStream, input: &mut Vec<u8>) -> io::Result<Option<usize>> {
        loop {
            let found = |what: &[u8]| {
                let at = input.windows(what.len()).position(|bytes| bytes == what);
                at.map(|at| at + what.len())
            };
            let end = match self.flaw {
                Flaw::BareLf => found(b"\r\n\r\n").into_iter().chain(found(b"\n\n")).min(),
                _ => found(b"\r\n\r\n"),
            };
            if end.is_some() || !fill(client, input)? {
                return Ok(end);
            }
        }
    }

    /// Sends a request over the shared connection and forwards the response; returns `false` if that was the last.
    fn exchange(&self, bytes: &[u8], request: &Request, mut client: &TcpStream) -> io::Result<bool> {
        let mut pooled = self.pooled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut backend = match pooled.take() {
            Some(backend) => backend,
            None => Pooled {
                stream: TcpStream::connect(self.backend)?,
                buffer: Vec::new(),
            },
        };
        backend.stream.write_all(bytes)?;
        let mut has_ended = false;
        loop {
            let interpreted = self.flaw.interpreted_response(&backend.buffer);
            match Response::read(&interpreted, &request.method, has_ended) {
                Step::Whole(response, length) => {
                    let length = length + backend.buffer.len() - interpreted.len();
                    client.write_all(&backend.buffer[..length])?;
                    backend.buffer.drain(..length);
                    if response.status < 200 {
                        continue;
                    }
                    if response.keeps_open() && (backend.buffer.is_empty() || self.flaw == Flaw::KeepsExtra) {
                        *pooled = Some(backend);
                    }
                    return Ok(response.keeps_open());
                }
                Step::Partial(Some(response)) if has_ended && self.flaw == Flaw::MendsCutAnswers => {
                    let body = &response.body.decoded;
                    write!(
                        client,
                        "HTTP/1.1 {} OK\r\nContent-Length: {}\r\n\r\n",
                        response.status,
                        body.len()
                    )?;
                    client.write_all(body)?;
                    return Ok(true);
                }
                Step::Partial(_) if has_ended => return client.write_all(BAD_GATEWAY).map(|()| false),
                Step::Partial(_) => has_ended = !fill(&backend.stream, &mut backend.buffer)?,
                Step::Broken(..) => return client.write_all(BAD_GATEWAY).map(|()| false),
            }
        }
    }
}

const REFUSAL: &[u8] = b"HTTP/1.1 400 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

impl Flaw {
    /// A head as this flaw reads it.
    fn interpreted(self, head: &[u8]) -> Vec<u8> {
        // One character per byte, so that text functions work.
        let text: String = head.iter().map(|byte| char::from(*byte)).collect();
        let is = |line: &str, name: &str| line.to_lowercase().starts_with(name);
        let text = match self {
            Self::BareLf => text.replace("\r\n", "\n").replace('\n', "\r\n"),
            Self::Folds => text.replace("\r\n ", "").replace("\r\n\t", ""),
            Self::Nul => text.replace('\0', ""),
            Self::BlankBeforeColon => text.replace(" :", ":"),
            _ => text,
        };
        let mut lines: Vec<String> = text.split_inclusive("\r\n").map(str::to_owned).collect();
        let has_coding = lines.iter().any(|line| is(line, "transfer-encoding:"));
        let lengths = lines.iter().filter(|line| is(line, "content-length:")).count();
        let mut count = 0;
        lines.retain(|line| {
            let is_length = is(line, "content-length:");
            count += usize::from(is_length);
            match self {
                Self::LengthWins => lengths == 0 || !is(line, "transfer-encoding:"),
                Self::CodingWins => !has_coding || !is_length,
                Self::FirstLength => !is_length || count == 1,
                Self::LastLength => !is_length || count == lengths,
                Self::GetHasNoBody => !is_length || !text.starts_with("GET "),
                _ => true,
            }
        });
        for line in &mut lines {
            if self == Self::LooseCoding && is(line, "transfer-encoding:") && line.contains("chunked") {
                "Transfer-Encoding: chunked\r\n".clone_into(line);
            }
        }
        lines.concat().chars().map(|byte| byte as u8).collect()
    }

    /// A response as this flaw reads it.
    fn interpreted_response(self, bytes: &[u8]) -> Vec<u8> {
        let field = b"Content-Length: ";
        let starts: Vec<usize> = (0..bytes.len())
            .filter(|at| bytes[*at..].starts_with(field))
            .collect();
        match starts[..] {
            [_, second, ..] if self == Self::FirstLengthOfAnswer => {
                let line = bytes[second..]
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .unwrap_or(0);
                [&bytes[..second], &bytes[second + line + 1..]].concat()
            }
            _ => bytes.to_vec(),
        }
    }

    /// Length of the body on the wire; `None` if more bytes must be read.
    fn body_length(self, bytes: &[u8], request: &Request, interpreted: &[u8]) -> Result<Option<usize>, ()> {
        let length = match request.framing {
            Framing::Length(length) => usize::try_from(length).map_err(|_| ())?,
            Framing::None | Framing::UntilEnd => 0,
            Framing::Chunked if matches!(self, Self::ChunkBareLf | Self::ChunkOverflow) => {
                return self.chunks_length(bytes);
            }
            Framing::Chunked => {
                return match Request::read(&[interpreted, bytes].concat()) {
                    Step::Whole(_, length) => Ok(Some(length - interpreted.len())),
                    Step::Partial(_) => Ok(None),
                    Step::Broken(..) => Err(()),
                };
            }
        };
        Ok((bytes.len() >= length).then_some(length))
    }

    fn chunks_length(self, bytes: &[u8]) -> Result<Option<usize>, ()> {
        let mut at = 0;
        loop {
            let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n') else {
                return Ok(None);
            };
            let line = String::from_utf8_lossy(&bytes[at..at + end])
                .trim_end()
                .to_owned();
            let size = u128::from_str_radix(&line, 16).map_err(|_| ())?;
            let size = if self == Self::ChunkOverflow {
                size & 0xffff_ffff
            } else {
                size
            };
            let size = usize::try_from(size).map_err(|_| ())?;
            at += end + 1 + size;
            let line_end = bytes
                .get(at..)
                .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'));
            let Some(line_end) = line_end else {
                return Ok(None);
            };
            at += line_end + 1;
            if size == 0 {
                return Ok(Some(at));
            }
        }
    }

    /// The head that it sends: the received bytes, with the lines that every proxy adds.
    fn forwarded_head(self, head: &[u8], request: &Request) -> Vec<u8> {
        let host = values(&request.fields, "host")
            .first()
            .copied()
            .unwrap_or_default();
        let stripped = elements(&request.fields, "connection");
        let is_stripped = |line: &[u8]| {
            let name: Vec<u8> = line.iter().take_while(|byte| **byte != b':').copied().collect();
            let name = name.to_ascii_lowercase();
            match self {
                Self::ConnectionStrips => name == b"connection" || stripped.contains(&name),
                Self::DropsLength => name == b"content-length" && request.method == b"GET",
                _ => false,
            }
        };
        let line_end = head.iter().position(|byte| *byte == b'\n').unwrap_or_default() + 1;
        let (start, rest) = head.split_at(line_end);
        let own = [
            &b"X-Forwarded-Host: "[..],
            host,
            b"\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nVia: 1.1 evenkeel-0123456789abcdef\r\n",
            b"X-Request-Id: 0123456789abcdef0123456789abcdef\r\n",
        ];
        let lines = [&own.concat(), rest].concat();
        let kept = lines
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| !is_stripped(line));
        [start, &kept.flatten().copied().collect::<Vec<u8>>()].concat()
    }
}

/// Reads more bytes; returns `false` at the end.
fn fill(mut stream: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 4096];
    let count = stream.read(&mut piece)?;
    buffer.extend_from_slice(&piece[..count]);
    Ok(count > 0)
}

/// Reads remaining bytes, so that closing does not reset the connection.
fn drain(stream: &TcpStream) {
    let mut rest = Vec::new();
    while fill(stream, &mut rest).unwrap_or(false) {
        rest.clear();
    }
}
