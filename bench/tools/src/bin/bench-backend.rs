//! A backend that costs less than any balancer, so that the balancer is what is measured: one thread, HTTP/1.1
//! keep-alive, no framework.
//!
//! `bench-backend ADDRESS:PORT…` prints `ready` once it listens on all of them. `/bytes/N` answers with N bytes, any other
//! path with 13, a POST too once its body has come. `/stats` tells how many connections and requests there have been.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use evenkeel_bench_tools::events::Events;
use evenkeel_bench_tools::head;
use slab::Slab;

/// Largest answer, in bytes.
const LARGEST: usize = 16 << 20;

/// Largest head of a request, in bytes.
const HEAD: usize = 64 << 10;

/// Bytes read at a time.
const READ: usize = 256 << 10;

/// Connections that the kernel keeps until they are accepted, for bursts of new ones.
const BACKLOG: i32 = 4096;

struct Connection {
    stream: TcpStream,
    /// The beginning of a head that is not whole yet.
    partial: Vec<u8>,
    /// Bytes of the request's body that are still to come.
    body: u64,
    /// What is to be sent: a head, and how much of the body after it.
    head: Vec<u8>,
    answer: usize,
    sent: usize,
    close: bool,
}

struct Backend {
    connections: Slab<Connection>,
    body: Vec<u8>,
    buffer: Vec<u8>,
    accepted: u64,
    requests: u64,
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
        body: vec![b'x'; LARGEST],
        buffer: vec![0; READ],
        accepted: 0,
        requests: 0,
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
                partial: Vec::new(),
                body: 0,
                head: Vec::new(),
                answer: 0,
                sent: 0,
                close: false,
            });
            self.accepted += 1;
        }
        Ok(())
    }

    fn serve(&mut self, key: usize) {
        // It may have been closed by an earlier event of the same batch.
        if self.connections.contains(key) && self.drive(key).is_err() {
            self.connections.remove(key);
        }
    }

    /// Sends what is left, reads what has come. Any error ends the connection.
    fn drive(&mut self, key: usize) -> io::Result<()> {
        self.connections[key].send(&self.body)?;
        loop {
            let count = match self.connections[key].stream.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.take(key, count)?;
            // Less than asked for: more will be another edge.
            if count < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// Takes `count` bytes that were read, and answers every request that became whole. Balancers send the next request
    /// when they have the answer to the last one, so there is never more than one answer under way.
    fn take(&mut self, key: usize, count: usize) -> io::Result<()> {
        let connection = &mut self.connections[key];
        let mut rest = &self.buffer[..count];
        let joined;
        if !connection.partial.is_empty() {
            connection.partial.extend_from_slice(rest);
            joined = std::mem::take(&mut connection.partial);
            rest = &joined;
        }
        loop {
            let part = connection.body.min(rest.len() as u64);
            connection.body -= part;
            rest = &rest[part as usize..];
            connection.send(&self.body)?;
            let Some(head) = head::read(rest) else {
                break;
            };
            if head.encoded {
                return Err(io::ErrorKind::Unsupported.into());
            }
            self.requests += 1;
            connection.body = head.body;
            connection.close = head.close;
            connection.prepare(head.target(), self.accepted, self.requests);
            rest = &rest[head.length..];
        }
        if rest.len() > HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        connection.partial = rest.to_vec();
        Ok(())
    }
}

impl Connection {
    /// Makes the answer for a target; it is sent when the request's body has come.
    fn prepare(&mut self, target: &[u8], accepted: u64, requests: u64) {
        self.head.clear();
        self.sent = 0;
        if target == b"/stats" {
            let text = format!("{{\"connections\":{accepted},\"requests\":{requests}}}");
            self.answer = 0;
            let _ = write!(
                self.head,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            return;
        }
        let size = target
            .strip_prefix(b"/bytes/")
            .and_then(head::number)
            .unwrap_or(13);
        self.answer = (size as usize).min(LARGEST);
        let _ = write!(
            self.head,
            "HTTP/1.1 200 OK\r\nServer: b\r\nContent-Type: text/plain\r\n{}Content-Length: {}\r\n\r\n",
            if self.close { "Connection: close\r\n" } else { "" },
            self.answer
        );
    }

    /// Sends as much of the answer as the socket takes.
    fn send(&mut self, body: &[u8]) -> io::Result<()> {
        while self.body == 0 && self.sent < self.head.len() + self.answer {
            let head = self.head.get(self.sent..).unwrap_or_default();
            let from = self.sent.saturating_sub(self.head.len());
            let parts = [IoSlice::new(head), IoSlice::new(&body[from..self.answer])];
            match self.stream.write_vectored(&parts) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let whole = self.body == 0 && !self.head.is_empty();
        if self.close && whole {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}
