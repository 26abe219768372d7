//! The client and the backend, on a core of their own.

use std::io::{ErrorKind, Read as _, Result, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Connections of the client.
pub(crate) const CONNECTIONS: usize = 8;
/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(30);
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!";

/// The cores for the balancer and for the load: one and the same where there is no other.
pub(crate) fn cores() -> [usize; 2] {
    let allowed = sched_getaffinity(None).expect("Linux has it");
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let first = cores.next().expect("this thread runs on one");
    [first, cores.next().unwrap_or(first)]
}

/// Keeps this thread, and what it starts from now on, on a core.
pub(crate) fn pin(core: usize) {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).expect("the core is allowed");
}

/// A backend that does not respond yet.
pub(crate) struct Backend(TcpListener);

/// Opens the port of the backend.
pub(crate) fn listen() -> Backend {
    Backend(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"))
}

impl Backend {
    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().expect("it has an address").port()
    }

    /// Responds until the process ends.
    pub(crate) fn serve(self) {
        thread::spawn(move || {
            for stream in self.0.incoming() {
                let stream = stream.expect("a connection can be accepted");
                // Ends with the balancer's connection.
                thread::spawn(move || respond(stream));
            }
        });
    }
}

/// Responds to every request, none of which has a body.
fn respond(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while read_until(&mut stream, &mut buffer, b"\r\n\r\n").is_ok() {
        stream.write_all(RESPONSE)?;
    }
    Ok(())
}

/// A client with some keep-alive connections.
pub(crate) struct Client {
    streams: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = |_| {
            let stream = TcpStream::connect(address).expect("the balancer listens");
            stream.set_read_timeout(Some(DEADLINE)).expect("it can be set");
            stream.set_nodelay(true).expect("it can be set");
            stream
        };
        Self {
            streams: (0..CONNECTIONS).map(stream).collect(),
            buffer: Vec::new(),
        }
    }

    /// Sends the request on every connection, and then reads all responses.
    pub(crate) fn batch(&mut self, request: &[u8]) {
        for stream in &mut self.streams {
            stream.write_all(request).expect("the balancer takes a request");
        }
        for stream in &mut self.streams {
            let read = read_until(stream, &mut self.buffer, b"\r\n\r\nHello, world!");
            read.expect("the balancer responds");
            let is_success = self.buffer.starts_with(b"HTTP/1.1 200 OK\r\n");
            assert!(is_success, "{}", String::from_utf8_lossy(&self.buffer));
        }
    }
}

/// Reads one message, which ends with these bytes, into the buffer.
fn read_until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> Result<()> {
    let mut piece = [0; 4096];
    buffer.clear();
    while !buffer.ends_with(end) {
        match stream.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            length => buffer.extend_from_slice(piece.get(..length).unwrap_or_default()),
        }
    }
    Ok(())
}
