//! A backend that uses less CPU than any balancer, so that the balancer is the bottleneck: one thread, keep-alive, no
//! framework.
//!
//! `bench-backend ADDRESS:PORT…` prints `ready` once it listens on all addresses. Over HTTP/1.1, `/bytes/N` returns N
//! bytes and any other path 13, to a POST once its body has arrived; `/stats` returns the numbers of connections and
//! requests so far. A client that begins with the HTTP/2 preface gets the response of a gRPC call to any request.

mod http1;
mod http2;

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use evenkeel_bench_tools::events::Events;
use slab::Slab;

use http1::Http1;
use http2::Http2;

/// Largest response, in bytes.
const LARGEST: usize = 16 << 20;

/// Bytes read at a time.
const READ: usize = 256 << 10;

/// The listen backlog, for bursts of new connections.
const BACKLOG: i32 = 4096;

struct Connection {
    stream: TcpStream,
    protocol: Protocol,
}

enum Protocol {
    /// No byte has arrived yet.
    Unknown,
    Http1(Http1),
    Http2(Http2),
}

/// State shared by all connections.
struct Shared {
    /// The longest body, of which others are prefixes.
    body: Vec<u8>,
    accepted: u64,
    requests: u64,
}

struct Backend {
    connections: Slab<Connection>,
    buffer: Vec<u8>,
    shared: Shared,
}

fn main() -> io::Result<()> {
    let mut events = Events::new()?;
    let mut listeners = Vec::new();
    for argument in std::env::args().skip(1) {
        let listener = listen(&argument)?;
        events.add_listener(&listener, listeners.len())?;
        listeners.push(listener);
    }
    println!("ready");
    let mut backend = Backend {
        connections: Slab::new(),
        buffer: vec![0; READ],
        shared: Shared {
            body: vec![b'x'; LARGEST],
            accepted: 0,
            requests: 0,
        },
    };
    let mut ready = Vec::new();
    loop {
        events.wait(None, &mut ready)?;
        for key in &ready {
            match listeners.get(*key) {
                Some(listener) => backend.accept(listener, &events, listeners.len())?,
                None => backend.serve(key - listeners.len()),
            }
        }
    }
}

fn listen(address: &str) -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

impl Backend {
    fn accept(&mut self, listener: &TcpListener, events: &Events, first_key: usize) -> io::Result<()> {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let entry = self.connections.vacant_entry();
            events.add(&stream, first_key + entry.key())?;
            entry.insert(Connection {
                stream,
                protocol: Protocol::Unknown,
            });
            self.shared.accepted += 1;
        }
        Ok(())
    }

    fn serve(&mut self, key: usize) {
        // An earlier event of the same batch may have closed it.
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.drive(&mut self.buffer, &mut self.shared).is_err() {
            self.connections.remove(key);
        }
    }
}

impl Connection {
    /// Sends remaining bytes, then reads. Any error closes the connection.
    fn drive(&mut self, buffer: &mut [u8], shared: &mut Shared) -> io::Result<()> {
        match &mut self.protocol {
            Protocol::Unknown => {}
            Protocol::Http1(http1) => http1.send(&mut self.stream, &shared.body)?,
            Protocol::Http2(http2) => http2.send(&mut self.stream)?,
        }
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.take(&buffer[..count], shared)?;
            // Less than requested: new bytes cause another edge.
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, bytes: &[u8], shared: &mut Shared) -> io::Result<()> {
        if let Protocol::Unknown = self.protocol {
            // No method begins like this. Loopback does not split so few bytes.
            self.protocol = if bytes.starts_with(b"PRI ") {
                Protocol::Http2(Http2::new())
            } else {
                Protocol::Http1(Http1::default())
            };
        }
        match &mut self.protocol {
            Protocol::Http1(http1) => http1.take(&mut self.stream, bytes, shared),
            Protocol::Http2(http2) => http2.take(&mut self.stream, bytes),
            Protocol::Unknown => Ok(()),
        }
    }
}
