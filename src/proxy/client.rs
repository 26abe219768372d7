//! A client's connection as the request path sees it.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;

use super::departure::HalfClose;
use super::listener_policy::ListenerPolicy;
use super::pinned::Pinned;
use super::worker::Worker;
use crate::clock::Timer;
use crate::message::Connection;
use crate::net::{ClientAddress, ProxyHeader, Stream};
use crate::telemetry::Label;
use crate::telemetry::access_log::TlsFacts;

/// One client.
pub struct Client {
    /// The bytes.
    pub connection: Connection,
    /// The other end, as the socket or a PROXY header says.
    pub peer: Rc<Peer>,
    /// The one timer of this connection.
    pub timer: Timer,
    /// The worker that owns it.
    pub worker: Rc<Worker>,
    /// Whether its connection is closed after the request that comes next.
    pub is_last_request: bool,
    /// The connection to a backend that belongs to this one.
    pub pinned: Option<Box<Pinned>>,
}

/// The other end of a client's connection, written out once: every request names it to the backend and to the log.
#[derive(Debug)]
pub struct Peer {
    pub(super) address: ClientAddress,
    /// With its port, for the log.
    pub(super) label: Label,
    /// Where in the label its IP address stands; empty without one.
    ip: Range<usize>,
    /// Whether it can be a trusted proxy. Somebody whom a PROXY header does not name cannot, whoever sent the header.
    pub(super) may_be_trusted: bool,
    /// Whether a PROXY header says who it is, in place of its socket.
    is_introduced: bool,
    /// Where it connected to, once somebody has asked.
    destination: OnceCell<Option<SocketAddr>>,
    /// Whether it speaks TLS with us.
    pub is_secure: bool,
    /// Who its verified certificate was given to, if it showed one.
    pub certificate: Option<Certificate>,
    /// What its listener asks of its requests.
    pub policy: ListenerPolicy,
    /// What its listener takes the end of what it sends for.
    pub half_close: HalfClose,
    /// What its TLS handshake has negotiated.
    pub tls: Option<Box<TlsFacts>>,
    /// The id of its listener.
    pub listener: usize,
}

/// A verified certificate of a client.
#[derive(Debug)]
pub struct Certificate {
    /// Who it was given to, for the log.
    pub subject: Label,
    /// As `Client-Cert` tells it to backends (RFC 9440 §2.2).
    pub field: Box<str>,
}

impl Peer {
    /// Writes an address out.
    pub fn new(address: impl Into<ClientAddress>) -> Self {
        let address = address.into();
        let (label, ip) = match address {
            ClientAddress::Ip(address) => Label::of_address(address),
            ClientAddress::Unix => (Label::new("unix:"), 0..0),
        };
        Self {
            address,
            label,
            ip,
            may_be_trusted: true,
            is_introduced: false,
            destination: OnceCell::new(),
            is_secure: false,
            certificate: None,
            policy: ListenerPolicy::None,
            half_close: HalfClose::default(),
            tls: None,
            listener: 0,
        }
    }

    /// The TLS version and the server name that the client asked for; both empty without TLS.
    pub(super) fn tls_facts(&self) -> (&[u8], &[u8]) {
        let facts = self.tls.as_deref();
        facts.map_or((b"", b""), |facts| {
            (facts.version.as_bytes(), facts.server_name.as_bytes())
        })
    }

    /// Where it is, if [`Self::new`] makes the same of that and of its listener.
    pub fn only_address(&self) -> Option<ClientAddress> {
        let is_plain = !self.is_secure
            && !self.is_introduced
            && matches!(self.policy, ListenerPolicy::None)
            && self.half_close == HalfClose::default();
        is_plain.then_some(self.address)
    }

    /// Whom a PROXY header names, which came from `sender`. A client of whom it says nothing keeps the sender's address, not
    /// its trust: what such a client says of itself was vouched for by nobody. Nor is a client of a Unix socket on another
    /// machine one of ours.
    pub fn from_proxy_header(header: ProxyHeader, sender: ClientAddress) -> Self {
        let peer = match header {
            ProxyHeader::Ip { source, destination } => Self {
                destination: OnceCell::from(Some(destination)),
                ..Self::new(source)
            },
            ProxyHeader::Unix => Self {
                may_be_trusted: false,
                ..Self::new(ClientAddress::Unix)
            },
            ProxyHeader::Unknown => Self {
                may_be_trusted: false,
                ..Self::new(sender)
            },
            ProxyHeader::Local => return Self::new(sender),
        };
        Self {
            is_introduced: true,
            ..peer
        }
    }

    /// Looks where it connected to, unless that is known: later its socket is out of reach.
    pub fn note_destination(&self, stream: &Stream) {
        self.destination.get_or_init(|| stream.local_address());
    }

    /// Its IP address alone, IPv6 without brackets; an IPv4 client of a socket for both families as IPv4. Empty without one.
    pub(super) fn ip(&self) -> &[u8] {
        self.label.part(self.ip.clone())
    }

    /// Its IP address and port, if it has them.
    pub fn ip_address(&self) -> Option<SocketAddr> {
        match self.address {
            ClientAddress::Ip(address) => Some(address),
            ClientAddress::Unix => None,
        }
    }
}

impl Client {
    /// Whether its connection ends after the request that runs, because the process or its listener stops.
    #[inline]
    pub fn is_draining(&self) -> bool {
        self.worker.is_draining(self.peer.listener)
    }

    /// Where it connected to, if that is an IP address.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        let peer = &self.peer.destination;
        *peer.get_or_init(|| self.connection.local_address())
    }
}
