//! New connections to backends, by the protocol that was negotiated on them.

use super::connection::Connection;
use crate::backend::Scheme;
use crate::clock::Instant;
use crate::http1::Limits;
use crate::http2::{self, Driver};
use crate::net::Stream;

/// A connection to a backend on which nothing was sent yet.
pub enum NewConnection {
    /// It carries one request after the other.
    Sequential(Connection),
    /// It carries many requests at a time. The driver moves their bytes, and has to be polled until it is ready.
    Multiplexed(SharedConnection, Driver),
}

impl NewConnection {
    /// Begins the protocol that was negotiated, or that the `scheme` of the backend prescribes.
    pub fn begin(stream: Stream, scheme: Scheme, limits: &Limits, now: Instant) -> Self {
        if scheme != Scheme::H2c && !stream.speaks_http2() {
            return Self::Sequential(Connection::new(stream));
        }
        let (shared, driver) = http2::begin(stream, limits, now);
        Self::Multiplexed(SharedConnection(shared), driver)
    }
}

/// A connection that carries many requests at a time.
#[derive(Debug)]
pub struct SharedConnection(http2::Shared);

impl SharedConnection {
    /// A connection for one more request, on this one. Nothing is sent yet.
    pub fn open(&self, now: Instant) -> Connection {
        Connection::of_stream(self.0.open(now))
    }

    /// Whether it can carry another request now.
    pub fn has_room(&self) -> bool {
        self.0.has_room()
    }

    /// Whether it carries no more requests.
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Requests in flight.
    pub fn running(&self) -> usize {
        self.0.running()
    }

    /// When the last request began.
    pub fn used(&self) -> Instant {
        self.0.used()
    }
}
