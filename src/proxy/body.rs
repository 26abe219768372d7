//! The body of a request, which may be sent to several backends one after the other.

use std::task::{Context, Poll};

use super::Client;
use crate::head::{BodyLength, RequestHead};
use crate::message::{Connection, Replay, Transfer, TransferError};
use crate::pool::BackendConnection;

/// The body of one request.
pub(super) struct RequestBody {
    pub(super) transfer: Transfer,
    pub(super) replay: Replay,
    /// Whether the backend of this attempt has got all of it.
    pub(super) is_sent: bool,
}

impl RequestBody {
    /// One of which nothing was sent.
    #[inline]
    pub(super) fn new(transfer: Transfer) -> Self {
        Self {
            transfer,
            replay: Replay::default(),
            is_sent: false,
        }
    }

    /// Begins again with the backend of the next attempt.
    pub(super) fn restart(&mut self, head: &RequestHead, sink: &mut Connection, client: &Client) {
        let buffers = &client.worker.buffers;
        self.transfer.restart(sink, buffers, &self.replay, head.body);
        self.is_sent = false;
    }

    /// Sends more of it.
    pub(super) fn poll(
        &mut self,
        client: &mut Client,
        backend: &mut BackendConnection,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), TransferError>> {
        self.transfer.poll(
            context,
            &mut client.connection,
            &mut backend.connection,
            &client.worker.buffers,
            Some(&mut self.replay),
        )
    }
}

/// Whether a body that announces its length announces too much.
pub(super) fn is_larger(body: BodyLength, limit: Option<u64>) -> bool {
    matches!((body, limit), (BodyLength::Exact(length), Some(limit)) if length > limit)
}
