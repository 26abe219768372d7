//! Steady traffic for measurements: one client, one backend, one request at a time. They reuse their buffers, so that a
//! measurement in the same process counts the balancer only.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of the POST body.
const BODY: usize = 1024;
/// Bytes of a message of a WebSocket.
const PING: usize = 64;
/// Larger than any message here.
const MESSAGE: usize = 8 * 1024;

/// What all requests begin with after their path.
const HEAD: &str = "HTTP/1.1\r\nHost: test\r\nUser-Agent: traffic\r\nAccept: */*\r\n";

/// A kind of request, and how the client recognises the end of its response.
pub(crate) struct Exchange {
    /// Name for messages.
    pub(crate) name: &'static str,
    request: Vec<u8>,
    end: &'static [u8],
}

/// The measured kinds.
pub(crate) fn exchanges() -> [Exchange; 3] {
    let head = HEAD;
    let body = "x".repeat(BODY);
    [
        get("GET", "/small", ""),
        Exchange {
            name: "POST of 1 KiB",
            request: format!("POST /small {head}Content-Length: {BODY}\r\n\r\n{body}").into(),
            end: b"\r\n\r\nHello, world!",
        },
        Exchange {
            name: "chunked response",
            request: format!("GET /chunked {head}\r\n").into(),
            end: b"\r\n0\r\n\r\n",
        },
    ]
}

/// A GET of a small response, with these header lines in addition.
pub(crate) fn get(name: &'static str, path: &str, lines: &str) -> Exchange {
    Exchange {
        name,
        request: format!("GET {path} {HEAD}{lines}\r\n").into(),
        end: b"\r\n\r\nHello, world!",
    }
}

/// A client with one keep-alive connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: [u8; MESSAGE],
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the balancer listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("it can be set");
        stream.set_nodelay(true).expect("it can be set");
        Self {
            stream,
            buffer: [0; MESSAGE],
        }
    }

    /// Sends the request and reads its response, `times` times.
    pub(crate) fn repeat(&mut self, exchange: &Exchange, times: usize) {
        for _ in 0..times {
            let sent = self.stream.write_all(&exchange.request);
            sent.expect("the balancer takes a request");
            let is_whole = |seen: &[u8]| seen.ends_with(exchange.end);
            let response = read_until(&mut self.stream, &mut self.buffer, is_whole);
            let response = response
                .expect("the balancer responds")
                .expect("the connection stays open");
            assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", exchange.name);
        }
    }
}

/// A WebSocket whose backend returns every message.
pub(crate) struct WebSocket {
    client: Client,
}

impl WebSocket {
    /// Connects and switches.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut client = Client::connect(address);
        let request = b"GET /echo HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let sent = client.stream.write_all(request);
        sent.expect("the balancer takes a request");
        let is_whole = |seen: &[u8]| seen.ends_with(b"\r\n\r\n");
        let response = read_until(&mut client.stream, &mut client.buffer, is_whole);
        let response = response
            .expect("the balancer responds")
            .expect("the connection stays open");
        assert!(response.starts_with(b"HTTP/1.1 101 "));
        Self { client }
    }

    /// Sends a message and waits until it has come back, `times` times.
    pub(crate) fn repeat(&mut self, times: usize) {
        for _ in 0..times {
            let sent = self.client.stream.write_all(&[b'x'; PING]);
            sent.expect("the balancer takes a message");
            let is_whole = |seen: &[u8]| seen.len() == PING;
            let response = read_until(&mut self.client.stream, &mut self.client.buffer, is_whole);
            response
                .expect("the message comes back")
                .expect("the connection stays open");
        }
    }
}

/// Starts a backend that runs until the process ends.
pub(crate) fn start_backend() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection can be accepted");
            thread::spawn(move || serve(stream).expect("the balancer reads responses"));
        }
    });
    address
}

/// Responds until the balancer closes the connection.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    const SMALL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!";
    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nHello, \r\n6\r\nworld!\r\n0\r\n\r\n";
    const SWITCH: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.set_nodelay(true)?;
    let mut buffer = [0; MESSAGE];
    while let Some(request) = read_until(&mut stream, &mut buffer, is_whole_request)? {
        if request.starts_with(b"GET /echo ") {
            stream.write_all(SWITCH)?;
            while let Some(message) = read_until(&mut stream, &mut buffer, |seen| seen.len() == PING)? {
                stream.write_all(message)?;
            }
            return Ok(());
        }
        let is_chunked = request.starts_with(b"GET /chunked ");
        stream.write_all(if is_chunked { CHUNKED } else { SMALL })?;
    }
    Ok(())
}

fn is_whole_request(seen: &[u8]) -> bool {
    let end = b"\r\n\r\n";
    let head = seen.windows(end.len()).position(|bytes| bytes == end);
    let body = if seen.starts_with(b"POST ") { BODY } else { 0 };
    head.is_some_and(|head| seen.len() == head + end.len() + body)
}

/// Reads one message, whose end `is_whole` detects; `None` if the connection ended before it.
fn read_until<'a>(
    stream: &mut TcpStream,
    buffer: &'a mut [u8],
    is_whole: impl Fn(&[u8]) -> bool,
) -> io::Result<Option<&'a [u8]>> {
    let mut length = 0;
    loop {
        let rest = buffer.get_mut(length..).filter(|rest| !rest.is_empty());
        let count = stream.read(rest.ok_or(io::ErrorKind::StorageFull)?)?;
        if count == 0 {
            return Ok(None);
        }
        length += count;
        if buffer.get(..length).is_some_and(&is_whole) {
            return Ok(buffer.get(..length));
        }
    }
}
