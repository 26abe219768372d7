//! Sends one request on a connection of its own and reads the response: used by health probes.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::HeadFields;
use super::client;
use super::transport::Transport;
use crate::buffer::{Buffer, Buffers};
use crate::head::{Method, ResponseHead};
use crate::http1::Limits;
use crate::net::Stream;
use evenkeel_wire::http2::Engine;

/// Bytes of a response body that are kept; what follows is not read.
const KEPT: usize = 64 << 10;

/// A received response.
#[derive(Debug, Default)]
pub struct RoundTrip {
    /// The head, whose spans point into `lines`.
    pub head: ResponseHead,
    /// The header lines.
    pub lines: Vec<u8>,
    /// The body, as far as it is kept.
    pub body: Vec<u8>,
    /// The trailer lines.
    pub trailers: Vec<u8>,
}

impl RoundTrip {
    /// The value of a trailer, or of a header where the response consists of its headers alone. `name` is in lower case.
    pub fn trailer(&self, name: &str) -> Option<&[u8]> {
        value(&self.trailers, name).or_else(|| value(&self.lines, name))
    }
}

/// Why there was no response.
#[derive(Debug, thiserror::Error)]
pub enum RoundTripError {
    /// The socket failed, or was closed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The received bytes are not an HTTP/2 response.
    #[error("not an HTTP/2 response")]
    NotHttp2,
}

/// The exchange in progress.
struct Exchange {
    engine: Engine,
    transport: Transport,
    buffers: Buffers,
    request: HeadFields,
    body: Vec<u8>,
    sent: usize,
    /// The stream, once it is opened.
    stream: u32,
    has_responded: bool,
    response: RoundTrip,
}

/// Starts HTTP/2 on `stream`, sends one request and reads the response. The caller bounds the time.
///
/// # Errors
/// [`RoundTripError`].
pub async fn round_trip(
    stream: Stream,
    request: HeadFields,
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
        response: RoundTrip::default(),
    };
    poll_fn(move |context| exchange.poll(context)).await
}

impl Exchange {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<RoundTrip, RoundTripError>> {
        if let Poll::Ready(Some(())) = self.poll_whole(context) {
            return Poll::Ready(Ok(std::mem::take(&mut self.response)));
        }
        ready!(client::poll(
            context,
            &mut self.engine,
            &mut self.transport,
            &self.buffers
        ));
        let has_begun = self.engine.has_begun();
        self.engine.lose();
        // The bytes received before the end may hold the response.
        Poll::Ready(match self.poll_whole(context) {
            Poll::Ready(Some(())) => Ok(std::mem::take(&mut self.response)),
            _ if has_begun => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            _ => Err(RoundTripError::NotHttp2),
        })
    }

    /// Continues the exchange; ready when the response is complete, or as much of it as is kept. `None` if it cannot complete.
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
                // The backend may respond without reading the whole request.
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
            (self.response.head, self.response.lines) = (head, response.lines);
        }
        while self.response.body.len() <= KEPT {
            match ready!(self.engine.poll_take(context, self.stream)) {
                Ok(Some(payload)) => self.response.body.extend_from_slice(payload.unread()),
                Ok(None) => {
                    self.response.trailers = self.engine.take_trailers(self.stream);
                    break;
                }
                Err(_) => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(()))
    }
}

/// The value of the header with this name in these lines.
fn value<'a>(lines: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut lines = lines.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b": "));
    value.map(<[u8]>::trim_ascii)
}
