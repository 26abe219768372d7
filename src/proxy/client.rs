//! A client's connection as the request path sees it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::terms::Terms;
use super::worker::Worker;
use crate::clock::Alarm;
use crate::message::Connection;
use crate::telemetry::Label;

/// One client.
pub struct Client {
    /// The bytes.
    pub connection: Connection,
    /// The other end, as the socket says.
    pub peer: Rc<Peer>,
    /// The one timer of this connection.
    pub alarm: Alarm,
    /// The worker that owns it.
    pub worker: Rc<Worker>,
    /// Whether its connection is closed after the request that comes next.
    pub is_last_request: bool,
}

/// The other end of a client's connection, written out once: every request names it to the backend and to the log.
#[derive(Debug)]
pub struct Peer {
    pub(super) address: SocketAddr,
    /// Its IP address alone, IPv6 without brackets; an IPv4 client of a socket for both families as IPv4.
    pub(super) ip: Box<str>,
    /// With its port, for the log.
    pub(super) label: Label,
    /// Whether it speaks TLS with us.
    pub is_secure: bool,
    /// Who its verified certificate was given to, if it showed one.
    pub certificate: Option<Certificate>,
    /// What its listener asks of its requests.
    pub terms: Terms,
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
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            ip: address.ip().to_canonical().to_string().into(),
            label: Label::of_address(address),
            is_secure: false,
            certificate: None,
            terms: Terms::None,
        }
    }

    /// Where it is, if [`Self::new`] makes the same of that.
    pub fn only_address(&self) -> Option<SocketAddr> {
        let is_plain = !self.is_secure && matches!(self.terms, Terms::None);
        is_plain.then_some(self.address)
    }
}

impl Client {
    /// Watches a client that has nothing to send for now. Ready with an error when its connection broke. The end of
    /// what it sends is no such thing (RFC 9112 §9.6: it may still read), and early bytes of a next request wait in the
    /// input, as many as fit.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        self.connection.poll_broken_off(context, &self.worker.buffers)
    }
}
