//! The server's side of a connection: the handshake with our limits, and what comes of it.

use std::time::Duration;

use bytes::Bytes;
use h2::server::Builder;

use super::Counted;
use crate::http1::Limits;

/// Requests that one connection may have under way.
const STREAMS: u32 = 128;
/// What a head may have at least as the crate sees it: what takes the place of a flawed one is smaller.
const HEAD: u32 = 8 << 10;
/// Bytes of a request body that may be on their way, of one stream and of all.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of answers that one stream keeps when its client has given credit and does not read: those of one frame.
const SEND_BUFFER: usize = 16 << 10;
/// Streams that were reset and are still remembered, so that what was on its way for them is no error.
const RESET_STREAMS: usize = 32;
const RESET_FOR: Duration = Duration::from_secs(2);
/// Streams that were reset by the client before we took them up.
const RESET_UNSEEN: usize = 20;
/// Resets of ours that a client may provoke over the life of a connection.
const PROVOKED_RESETS: usize = 256;

/// A connection that was begun.
pub type Connection = h2::server::Connection<Counted, Bytes>;
/// What comes by it: a request, and the means to answer.
pub type Incoming = (http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>);

/// Exchanges prefaces and settings. Whoever calls bounds the time.
///
/// # Errors
/// Those of the socket and of the protocol.
pub async fn handshake(stream: Counted, limits: &Limits) -> Result<Connection, h2::Error> {
    let head = u32::try_from(limits.head).unwrap_or(u32::MAX).max(HEAD);
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(head)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_FOR)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(Some(PROVOKED_RESETS))
        .enable_connect_protocol();
    builder.handshake(stream).await
}
