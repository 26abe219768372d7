//! A backend that uses less CPU than any balancer, so that the balancer is the bottleneck: one thread, keep-alive, no
//! framework.
//!
//! `bench-backend [--bodies FOLDER] ADDRESS:PORT…` prints `ready` once it listens on all addresses. Over HTTP/1.1,
//! `/bytes/N` returns N bytes and any other path 13, to a POST once its body has arrived; `/stats` returns the numbers of
//! connections and requests so far. `/bodies/NAME` returns a file of FOLDER with its length, `/chunked/NAME` in chunks.
//! `/echo` accepts a WebSocket and returns every byte of it; `/events` is an event stream. A client that begins with the
//! HTTP/2 preface gets the response of a gRPC call to any request.

mod bodies;
mod http1;
mod http2;
mod stream_turns;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use evenkeel_bench_tools::events::Events;
use slab::Slab;

use bodies::Bodies;
use http1::{Http1, Next};
use http2::Http2;
use stream_turns::StreamTurns;

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
    /// A WebSocket: every byte goes back.
    Echo,
    /// An event stream, which receives nothing more.
    Events,
}

/// State shared by all connections.
struct Shared {
    /// The longest body, of which others are prefixes.
    body: Vec<u8>,
    bodies: Bodies,
    accepted: u64,
    requests: u64,
}

struct Backend {
    connections: Slab<Connection>,
    buffer: Vec<u8>,
    shared: Shared,
    /// The event streams, by their keys.
    streams: StreamTurns,
}

fn main() -> io::Result<()> {
    let mut events = Events::new()?;
    let mut listeners = Vec::new();
    let mut bodies = Bodies::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--bodies" {
            let folder = arguments
                .next()
                .ok_or_else(|| io::Error::other("--bodies needs a folder"))?;
            bodies = Bodies::read(folder.as_ref())?;
            continue;
        }
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
            bodies,
            accepted: 0,
            requests: 0,
        },
        streams: StreamTurns::new(Instant::now()),
    };
    let mut ready = Vec::new();
    loop {
        events.wait(backend.streams.until_next(Instant::now()), &mut ready)?;
        backend.send_events();
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
        match connection.drive(&mut self.buffer, &mut self.shared) {
            Ok(true) => self.streams.add(key),
            Ok(false) => {}
            Err(_) => {
                self.connections.remove(key);
            }
        }
    }

    /// Sends an event to each stream whose turn it is.
    fn send_events(&mut self) {
        let Self {
            connections, streams, ..
        } = self;
        streams.take_turns(Instant::now(), |key| {
            let Some(Connection {
                stream,
                protocol: Protocol::Events,
            }) = connections.get_mut(key)
            else {
                return false;
            };
            let is_sent = stream
                .write(http1::EVENT)
                .is_ok_and(|count| count == http1::EVENT.len());
            // Nobody reads: the load has ended, or counts too few events.
            if !is_sent {
                connections.remove(key);
            }
            is_sent
        });
    }
}

impl Connection {
    /// Sends remaining bytes, then reads. Returns whether it has become an event stream. Any error closes the connection.
    fn drive(&mut self, buffer: &mut [u8], shared: &mut Shared) -> io::Result<bool> {
        let mut begins_stream = false;
        match &mut self.protocol {
            Protocol::Unknown | Protocol::Echo | Protocol::Events => {}
            Protocol::Http1(http1) => http1.send(&mut self.stream, &shared.body)?,
            Protocol::Http2(http2) => http2.send(&mut self.stream)?,
        }
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(begins_stream),
                Err(error) => return Err(error),
            };
            begins_stream |= self.take(&buffer[..count], shared)?;
            // Less than requested: new bytes cause another edge.
            if count < buffer.len() {
                return Ok(begins_stream);
            }
        }
    }

    /// Returns whether it has become an event stream.
    fn take(&mut self, bytes: &[u8], shared: &mut Shared) -> io::Result<bool> {
        if let Protocol::Unknown = self.protocol {
            // No method begins like this. Loopback does not split so few bytes.
            self.protocol = if bytes.starts_with(b"PRI ") {
                Protocol::Http2(Http2::new())
            } else {
                Protocol::Http1(Http1::default())
            };
        }
        match &mut self.protocol {
            Protocol::Http1(http1) => match http1.take(&mut self.stream, bytes, shared)? {
                Next::Request => {}
                Next::Echo => self.protocol = Protocol::Echo,
                Next::Events => {
                    self.protocol = Protocol::Events;
                    return Ok(true);
                }
            },
            Protocol::Http2(http2) => http2.take(&mut self.stream, bytes)?,
            // A message is so small, and waits for its response, that the socket always takes it whole.
            Protocol::Echo => self.stream.write_all(bytes)?,
            Protocol::Unknown | Protocol::Events => {}
        }
        Ok(false)
    }
}
