//! A backend that records the requests it receives, splits them with the independent parser, and responds to each with
//! a unique serial number and the request's nonce.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};

use super::grammar::{Step, values};
use super::message::Request;
use super::plan;
use super::wire::Wire;

/// The path that only the canary uses.
pub(super) const CANARY: &[u8] = b"/canary";

/// How it responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// With a length, and waits for the next request.
    #[default]
    Length,
    /// In chunks, and waits for the next request.
    Chunked,
    /// Then closes.
    Close,
    /// As soon as the head has arrived, whatever happens to the body.
    Early,
    /// Several interim responses first.
    Interim,
}

impl Mode {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Length,
        Self::Chunked,
        Self::Close,
        Self::Early,
        Self::Interim,
    ];
}

/// Its response to the requests for one path, which overrides the mode.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// The path.
    pub(crate) path: Vec<u8>,
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    /// Whether it closes after that.
    pub(crate) closes: bool,
    /// Whether it responds before the body arrived.
    pub(crate) is_early: bool,
    /// Bytes that it sends on the same connection once the client has its response.
    pub(crate) late: Vec<u8>,
}

/// A request that it received.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Index of the connection.
    pub(crate) connection: usize,
    /// Serial number of its response; 0 if it got none.
    pub(crate) serial: u64,
    /// The bytes of its head, or all bytes if they are no request.
    pub(crate) head: Vec<u8>,
    /// The parsed request.
    pub(crate) step: Step<Request>,
    /// Whether the balancer ended the connection.
    pub(crate) has_ended: bool,
}

/// The backend.
#[derive(Debug)]
pub(super) struct Recorder {
    listener: TcpListener,
    connections: Vec<Connection>,
    count: usize,
    serial: u64,
    seen: Vec<Seen>,
    /// How it responds now.
    pub(super) mode: Mode,
    /// Its response to one path.
    pub(super) script: Option<Script>,
    /// Whether the balancer's route has the plan, which it undoes.
    pub(super) is_planned: bool,
}

#[derive(Debug)]
struct Connection {
    number: usize,
    wire: Wire,
    /// The response's serial number, if the request that is still arriving already has its response.
    early: Option<u64>,
    is_over: bool,
    is_scripted: bool,
}

impl Recorder {
    /// Starts one on a port of its own.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        Self {
            listener,
            connections: Vec::new(),
            count: 0,
            serial: 0,
            seen: Vec::new(),
            mode: Mode::default(),
            script: None,
            is_planned: false,
        }
    }

    /// Its address.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a listener has an address")
    }

    /// The socket that reports new connections.
    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Its connections.
    pub(super) fn wires(&self) -> impl Iterator<Item = &Wire> {
        self.connections.iter().map(|connection| &connection.wire)
    }

    /// Does everything that is possible now. Returns whether anything happened.
    pub(super) fn pump(&mut self) -> bool {
        let mut has_moved = false;
        while let Ok((stream, _)) = self.listener.accept() {
            self.connections.push(Connection {
                number: self.count,
                wire: Wire::new(stream),
                early: None,
                is_over: false,
                is_scripted: false,
            });
            self.count += 1;
            has_moved = true;
        }
        let mut connections = std::mem::take(&mut self.connections);
        for connection in &mut connections {
            while connection.wire.pump() {
                has_moved = true;
                while self.serve(connection) {}
            }
        }
        self.connections = connections;
        has_moved
    }

    /// Responds to the first request on a connection; returns `false` if none is complete.
    fn serve(&mut self, connection: &mut Connection) -> bool {
        if connection.is_over || connection.wire.received.is_empty() {
            return false;
        }
        let step = self.read(&connection.wire.received);
        match &step {
            Step::Whole(request, used) => {
                let used = *used;
                let serial = connection
                    .early
                    .take()
                    .unwrap_or_else(|| self.response(connection, request));
                self.note(connection, step, serial);
                connection.wire.received.drain(..used);
                true
            }
            Step::Partial(Some(request)) if connection.early.is_none() && self.is_early(request) => {
                connection.early = Some(self.response(connection, request));
                false
            }
            Step::Partial(_) => false,
            Step::Broken(..) => {
                connection.is_over = true;
                self.note(connection, step, 0);
                let sorry = b"HTTP/1.1 400 Broken\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                connection.wire.send(sorry);
                connection.wire.finish();
                false
            }
        }
    }

    fn read(&self, bytes: &[u8]) -> Step<Request> {
        let step = Request::read(bytes);
        match self.is_planned {
            true => plan::undo_request(step),
            false => step,
        }
    }

    fn is_early(&self, request: &Request) -> bool {
        match &self.script {
            Some(script) if script.path == request.target => script.is_early,
            _ => self.mode_for(request) == Mode::Early,
        }
    }

    /// The response to the canary always keeps its connection reusable.
    fn mode_for(&self, request: &Request) -> Mode {
        if request.target == CANARY {
            Mode::Length
        } else {
            self.mode
        }
    }

    fn response(&mut self, connection: &mut Connection, request: &Request) -> u64 {
        self.serial += 1;
        let scripted = self
            .script
            .as_ref()
            .filter(|script| script.path == request.target);
        let closes = if let Some(script) = scripted {
            connection.wire.send(&script.bytes);
            connection.is_scripted = true;
            script.closes
        } else {
            let mode = self.mode_for(request);
            connection.wire.send(&ordinary(mode, self.serial, request));
            mode == Mode::Close
        };
        if closes {
            connection.wire.finish();
            connection.is_over = true;
        }
        self.serial
    }

    fn note(&mut self, connection: &Connection, step: Step<Request>, serial: u64) {
        let bytes = &connection.wire.received;
        let head = match &step {
            Step::Whole(request, _) | Step::Partial(Some(request)) => &bytes[..request.head_length],
            _ => bytes,
        };
        self.seen.push(Seen {
            connection: connection.number,
            serial,
            head: head.to_vec(),
            step,
            has_ended: connection.wire.end.is_some(),
        });
    }

    /// Whether no connection is in the middle of a request.
    pub(super) fn is_settled(&self) -> bool {
        let is_settled = |connection: &Connection| {
            connection.wire.end.is_some() || connection.is_over || connection.wire.received.is_empty()
        };
        self.connections.iter().all(is_settled)
    }

    /// Sends the late bytes of the script on the connections that got its response.
    pub(super) fn send_late(&mut self) {
        let Some(script) = &self.script else { return };
        for connection in &mut self.connections {
            if connection.is_scripted && !connection.is_over {
                connection.wire.send(&script.late);
            }
        }
    }

    /// Returns and clears what arrived since the last call, including incomplete requests.
    pub(super) fn take(&mut self) -> Vec<Seen> {
        let mut connections = std::mem::take(&mut self.connections);
        for connection in &mut connections {
            let early = connection.early.take();
            if !connection.wire.received.is_empty() && (early.is_some() || !connection.is_over) {
                let step = self.read(&connection.wire.received);
                self.note(connection, step, early.unwrap_or_default());
            }
        }
        self.connections = connections;
        for connection in &mut self.connections {
            connection.is_scripted = false;
            // Returned already: later bytes on it would be misread as a new request.
            connection.is_over |= !connection.wire.received.is_empty();
        }
        self.connections
            .retain(|connection| connection.wire.end.is_none() || !connection.wire.is_sent());
        std::mem::take(&mut self.seen)
    }
}

/// An ordinary response with the serial number and the nonce.
fn ordinary(mode: Mode, serial: u64, request: &Request) -> Vec<u8> {
    let nonce = values(&request.fields, "x-nonce")
        .first()
        .copied()
        .unwrap_or_default();
    let body = [serial.to_string().as_bytes(), b" ", nonce].concat();
    let length = body.len();
    let framing = match mode {
        Mode::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
        Mode::Close => format!("Connection: close\r\nContent-Length: {length}\r\n"),
        _ => format!("Content-Length: {length}\r\n"),
    };
    let mut response = Vec::new();
    if mode == Mode::Interim && request.version == 1 {
        response.extend_from_slice(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        );
    }
    response.extend_from_slice(format!("HTTP/1.1 200 OK\r\nX-Serial: {serial}\r\n{framing}\r\n").as_bytes());
    if request.method == b"HEAD" {
        return response;
    }
    match mode {
        Mode::Chunked => {
            response.extend_from_slice(format!("{length:x}\r\n").as_bytes());
            response.extend_from_slice(&body);
            response.extend_from_slice(b"\r\n0\r\n\r\n");
        }
        _ => response.extend_from_slice(&body),
    }
    response
}
