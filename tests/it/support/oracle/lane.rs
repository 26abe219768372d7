//! One balancer between a client and a recording backend, all driven by one thread: a hostile client, and a canary that
//! must get its own responses, between the parts of the hostile input and on the backend connection that it leaves
//! behind.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::grammar::Step;
use super::message::Response;
use super::recorder::{Mode, Recorder, Script, Seen};
use super::wire::{End, Wire, wait_for_any};
use crate::support::DEADLINE;

/// Longest single wait.
const WAIT: Duration = Duration::from_millis(100);

/// One input.
#[derive(Debug, Clone, Default)]
pub(crate) struct Input {
    /// What the client sends, part by part.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// Whether the client keeps its sending side open until the balancer has ended the connection; otherwise it closes
    /// it after the last part.
    pub(crate) stays_open: bool,
    /// How the backend responds.
    pub(crate) mode: Mode,
    /// The backend's response to one special path.
    pub(crate) script: Option<Script>,
}

impl Input {
    /// One part, with the simplest kind of response.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self {
            pieces: vec![bytes.to_vec()],
            ..Self::default()
        }
    }

    /// All bytes that the client sends.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// What the balancer's route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Nothing but forward.
    Plain,
    /// What [`super::PLAN`] says.
    Planned,
}

/// Everything visible from outside for one input.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// The input.
    pub(crate) input: Input,
    /// The bytes that the client got.
    pub(crate) got: Vec<u8>,
    /// How its connection ended; `None` if it did not in time.
    pub(crate) end: Option<End>,
    /// The client's port, which is in the access log.
    pub(crate) port: u16,
    /// The requests that reached the backend, including the canary's.
    pub(crate) seen: Vec<Seen>,
    /// The bytes that the canary sent.
    pub(crate) canary_sent: Vec<u8>,
    /// The bytes that it got.
    pub(crate) canary_got: Vec<u8>,
    /// Whether every backend connection became idle.
    pub(crate) is_settled: bool,
    /// What the route does.
    pub(crate) route: Route,
}

/// The canary's connection, and the bytes that it has sent for one input.
#[derive(Debug)]
struct Canary {
    wire: Wire,
    sent: Vec<u8>,
}

/// A balancer with its client and its backend.
#[derive(Debug)]
pub(crate) struct Lane {
    recorder: Recorder,
    address: SocketAddr,
    canary: Option<Wire>,
    nonce: u64,
    route: Route,
}

impl Lane {
    /// Starts the backend and, with its address, the balancer; `start` returns the balancer's address.
    pub(crate) fn new(route: Route, start: impl FnOnce(SocketAddr) -> SocketAddr) -> Self {
        let mut recorder = Recorder::start();
        recorder.is_planned = route == Route::Planned;
        let address = start(recorder.address());
        Self {
            recorder,
            address,
            canary: None,
            nonce: 0,
            route,
        }
    }

    /// Runs one input.
    pub(crate) fn run(&mut self, input: Input) -> Evidence {
        self.recorder.mode = input.mode;
        self.recorder.script = input.script.clone();
        let mut client = self.connect();
        let mut canary = Canary {
            wire: self.canary.take().unwrap_or_else(|| self.connect()),
            sent: Vec::new(),
        };
        for (index, piece) in input.pieces.iter().enumerate() {
            if index > 0 {
                // When the canary has its response, the only worker has read the previous part, and has served another
                // client in the middle of this request.
                self.ask(&mut canary);
            }
            client.send(piece);
            self.until(&mut client, |_, client| client.is_sent());
        }
        if !input.stays_open {
            client.finish();
        }
        self.until(&mut client, |_, client| client.end.is_some());
        self.recorder.send_late();
        self.ask(&mut canary);
        let is_settled = self.until(&mut canary.wire, |lane, _| lane.recorder.is_settled());
        let canary_got = std::mem::take(&mut canary.wire.received);
        self.canary = canary.wire.end.is_none().then_some(canary.wire);
        Evidence {
            input,
            port: client.port(),
            got: client.received,
            end: client.end,
            seen: self.recorder.take(),
            canary_sent: canary.sent,
            canary_got,
            is_settled,
            route: self.route,
        }
    }

    /// Sends a canary request, and waits for its response.
    fn ask(&mut self, canary: &mut Canary) {
        self.nonce += 1;
        let nonce = self.nonce;
        let request = format!("GET /canary HTTP/1.1\r\nHost: canary\r\nX-Nonce: canary-{nonce}\r\n\r\n");
        canary.wire.send(request.as_bytes());
        canary.sent.extend_from_slice(request.as_bytes());
        let before = canary.wire.received.len();
        self.until(&mut canary.wire, |_, wire| has_response(wire, before));
    }

    fn connect(&self) -> Wire {
        Wire::new(TcpStream::connect_timeout(&self.address, DEADLINE).expect("the listener accepts"))
    }

    /// Moves bytes until `is_done`; returns `false` if nothing moved for too long.
    fn until(&mut self, wire: &mut Wire, is_done: impl Fn(&Self, &Wire) -> bool) -> bool {
        let mut idle = Duration::ZERO;
        loop {
            let has_moved = self.recorder.pump() | wire.pump();
            if is_done(self, wire) {
                return true;
            }
            if has_moved {
                idle = Duration::ZERO;
                continue;
            }
            if idle >= DEADLINE {
                return false;
            }
            let wires = self.recorder.wires().chain(std::iter::once(&*wire));
            wait_for_any(wires, self.recorder.listener(), WAIT);
            idle += WAIT;
        }
    }
}

/// Whether a final response, or bytes that never become one, follow the first `before` bytes.
fn has_response(wire: &Wire, before: usize) -> bool {
    let step = Response::read(&wire.received[before..], b"GET", wire.end.is_some());
    wire.end.is_some() || !matches!(step, Step::Partial(_))
}
