//! Why an attempt got no response, and what that says of its connection.

use super::Failure;
use crate::message::RequestFate;
use crate::net::DialError;
use crate::pool::BackendConnection;
use crate::retry::{AttemptEnd, ConnectionEvent, Outcome};

/// Why an attempt got no response.
#[derive(Debug)]
pub(super) struct AttemptError {
    pub(super) failure: Failure,
    /// What happened to the connection, if that says nothing about the health of the backend.
    pub(super) event: Option<ConnectionEvent>,
    /// Whether the backend cannot have seen any byte of the request.
    pub(super) nothing_sent: bool,
    /// Whether the backend said that it did not process the request.
    pub(super) was_refused: bool,
    /// What exactly was wrong, where that is known.
    pub(super) detail: Option<String>,
}

impl AttemptError {
    /// An attempt that sent nothing.
    pub(super) fn unsent(failure: Failure) -> Self {
        Self {
            failure,
            event: None,
            nothing_sent: true,
            was_refused: false,
            detail: None,
        }
    }

    /// The same, with what exactly was wrong.
    pub(super) fn because(self, detail: String) -> Self {
        Self {
            detail: Some(detail),
            ..self
        }
    }

    /// An attempt that could not connect.
    pub(super) fn unconnected(error: &DialError) -> Self {
        let ours = match error {
            DialError::NoLocalPort(_) => Failure::NoLocalPort,
            DialError::NoDescriptor(_) => Failure::NoDescriptor,
            _ => return Self::unsent(Failure::ConnectFailed),
        };
        Self {
            event: Some(ConnectionEvent::Unconnectable),
            ..Self::unsent(ours)
        }
    }

    /// Writes what it says into the outcome of its attempt.
    pub(super) fn write(&self, outcome: &mut Outcome) {
        outcome.end = AttemptEnd::Failure(self.failure.cause());
        outcome.event = self.event;
        outcome.nothing_sent = self.nothing_sent;
        outcome.was_refused = self.was_refused;
    }

    /// How an attempt failed over a connection that had sent `bytes_before` bytes before it.
    pub(super) fn over(backend: &mut BackendConnection, failure: Failure, bytes_before: u64) -> Self {
        let is_reused = backend.is_reused;
        let RequestFate {
            is_unprocessed: nothing_sent,
            is_refused: was_refused,
            is_connection_over: is_over,
        } = backend.connection.request_fate(bytes_before);
        let event = match failure {
            Failure::BackendReset if was_refused && is_over => Some(ConnectionEvent::Closing),
            // Where only the stream was reset, the connection was not stale.
            Failure::BackendReset if is_reused && is_over => Some(ConnectionEvent::Stale),
            Failure::BackendReset if nothing_sent => Some(ConnectionEvent::Unprocessed),
            _ => None,
        };
        Self {
            failure,
            event,
            nothing_sent,
            was_refused,
            detail: None,
        }
    }
}
