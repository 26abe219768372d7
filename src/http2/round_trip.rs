//! One exchange on a connection of its own: what probes need.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::client;
use super::engine::Engine;
use super::transport::Transport;
use crate::buffer::{Buffer, Buffers};
use crate::head::{Method, ResponseHead};
use crate::http1::Limits;
use crate::net::Stream;

/// Bytes of an answer that are kept; what follows is not read.
const KEPT: usize = 64 << 10;

/// An answer.
#[derive(Debug, Default)]
pub struct RoundTrip {
    /// Its head, whose spans point into `lines`.
    pub head: ResponseHead,
    /// The lines of its head.
    pub lines: Vec<u8>,
    /// Its body, as far as it is kept.
    pub body: Vec<u8>,
    /// The lines of what stands behind it.
    pub trailers: Vec<u8>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum RoundTripError {
    /// The socket failed, or ended.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no answer.
    #[error("not an answer of HTTP/2")]
    NotHttp2,
}

/// The exchange under way.
struct Exchange {
    engine: Engine,
    transport: Transport,
    buffers: Buffers,
    request: Vec<u8>,
    body: Vec<u8>,
    sent: usize,
    /// The stream, once it is opened.
    stream: u32,
    has_responded: bool,
    asked: RoundTrip,
}

/// Begins a connection by `stream`, sends one request, whose head is lines, and reads its answer. Whoever calls bounds the time.
///
/// # Errors
/// [`RoundTripError`].
pub async fn round_trip(
    stream: Stream,
    request: Vec<u8>,
    body: Vec<u8>,
) -> Result<RoundTrip, RoundTripError> {
    let mut exchange = Exchange {
        engine: Engine::client(&Limits::default()),
        transport: Transport::new(stream, Buffer::default()),
        buffers: Buffers::default(),
        request,
        body,
        sent: 0,
        stream: 0,
        has_responded: false,
        asked: RoundTrip::default(),
    };
    poll_fn(move |context| exchange.poll(context)).await
}

impl Exchange {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<RoundTrip, RoundTripError>> {
        if let Poll::Ready(Some(())) = self.poll_whole(context) {
            return Poll::Ready(Ok(std::mem::take(&mut self.asked)));
        }
        ready!(client::poll(
            context,
            &mut self.engine,
            &mut self.transport,
            &self.buffers
        ));
        let has_begun = self.engine.has_begun();
        self.engine.lose();
        // What came before the end may be the answer.
        Poll::Ready(match self.poll_whole(context) {
            Poll::Ready(Some(())) => Ok(std::mem::take(&mut self.asked)),
            _ if has_begun => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            _ => Err(RoundTripError::NotHttp2),
        })
    }

    /// Moves the exchange on; ready when the answer is whole, or as much of it as is kept. `None` where it cannot become so.
    fn poll_whole(&mut self, context: &Context<'_>) -> Poll<Option<()>> {
        if self.stream == 0 {
            let is_end = self.body.is_empty();
            let opened = self.engine.poll_open(context, &self.request, Method::Get, is_end);
            match ready!(opened) {
                Ok(stream) => self.stream = stream,
                Err(_) => return Poll::Ready(None),
            }
        }
        while let Some(rest @ [_, ..]) = self.body.get(self.sent..) {
            let sent = self
                .engine
                .poll_data(context, self.stream, &[IoSlice::new(rest)], true);
            match sent {
                Poll::Ready(Ok((count, _))) => self.sent += count,
                // It may have answered without reading all.
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        while !self.has_responded {
            let Ok(response) = ready!(self.engine.poll_response(context, self.stream)) else {
                return Poll::Ready(None);
            };
            let Ok(head) = response.result else {
                return Poll::Ready(None);
            };
            self.has_responded = head.status >= 200;
            (self.asked.head, self.asked.lines) = (head, response.lines);
        }
        while self.asked.body.len() <= KEPT {
            match ready!(self.engine.poll_take(context, self.stream)) {
                Ok(Some(payload)) => self.asked.body.extend_from_slice(payload.unread()),
                Ok(None) => {
                    self.asked.trailers = self.engine.take_trailers(self.stream);
                    break;
                }
                Err(_) => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(()))
    }
}
