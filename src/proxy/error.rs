//! Every way in which a request can end other than with a backend's whole response: one table of the status that the
//! client gets and of the word that the log carries.

use crate::message::Malformed;
use crate::retry::Cause;

/// Why a client gets a local response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LocalReason {
    /// The request failed.
    Failure(Failure),
    /// It has to come by https, at this port.
    Redirect(u16),
    /// It must not be forwarded any more (RFC 9110 §7.6.2).
    LastRecipient,
}

impl From<Failure> for LocalReason {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// How a request, or one attempt at it, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    // The client's doing.
    /// The head, or the framing of the body, cannot be understood.
    #[error("the request is malformed: {0}")]
    Malformed(Malformed),
    /// The HTTP/2 connection broke a rule before the head was whole (RFC 9113 §5.4.1).
    #[error("the HTTP/2 connection failed before the head was whole")]
    Http2ConnectionError,
    /// No whole head within `client_header`.
    #[error("the client did not send a whole head in time")]
    HeaderTimeout,
    /// No body bytes within `progress`, or fewer than `min_body_rate`.
    #[error("the client did not send its body in time")]
    BodyTimeout,
    /// More body than `limits.body`.
    #[error("the request body is larger than the limit")]
    BodyTooLarge,
    /// The client went away before its response was complete.
    #[error("the client left")]
    ClientGone,
    /// Its head was not whole when its connection had to make room for another one.
    #[error("the connection had to make room")]
    Evicted,
    /// The client did not take the response within `progress`.
    #[error("the client did not take its response in time")]
    ClientStalled,
    /// It came by a connection that was made for another host, whose certificate is not good for this one.
    #[error("the request is for a host that its connection was not made for")]
    Misdirected,
    // Ours.
    /// It still ran when the process had waited long enough for its end.
    #[error("the balancer stopped")]
    Stopped,
    /// It has passed through this process before: a backend leads back to a listener.
    #[error("the request has passed through this balancer before")]
    LoopDetected,
    /// No route leads anywhere for this host and path.
    #[error("no route matches")]
    NoRoute,
    /// No backend of the pool is eligible.
    #[error("no backend is eligible")]
    NoBackend,
    /// Every eligible backend of the pool has as many requests as `in_flight_per_backend` allows.
    #[error("every eligible backend has as many requests as it may have")]
    BackendsFull,
    /// No local port was left for a connection to the backend.
    #[error("no local port is left for connecting to the backend")]
    NoLocalPort,
    /// No file descriptor was left for a connection to the backend.
    #[error("no file descriptor is left for connecting to the backend")]
    NoDescriptor,
    // The backend's doing.
    /// No connection was established.
    #[error("no connection to the backend")]
    ConnectFailed,
    /// The connection ended before the response's head was whole.
    #[error("the backend closed the connection before it responded")]
    BackendReset,
    /// No response within `first_byte`, or `request` over all attempts, or the request was not taken within `progress`.
    #[error("the backend did not respond in time")]
    BackendTimeout,
    /// No response came before the moment until which the client waits for it, as it has said (`grpc-timeout`).
    #[error("the client's deadline has passed")]
    DeadlineExceeded,
    /// The response cannot be understood.
    #[error("the response is malformed: {0}")]
    MalformedResponse(Malformed),
    /// More interim responses than anybody needs.
    #[error("the backend sent too many interim responses")]
    TooManyInterimResponses,
    /// The backend switched protocols unasked.
    #[error("the backend switched protocols unasked")]
    UnexpectedUpgrade,
    /// The backend switched to WebSocket, and its `Sec-WebSocket-Accept` does not belong to the key that we sent.
    #[error("the backend's Sec-WebSocket-Accept does not match the key")]
    WebSocketAccept,
    /// The response's body ended too early, or its framing broke.
    #[error("the response was truncated")]
    ResponseTruncated,
    /// The response's body paused for longer than allowed.
    #[error("the response paused for too long")]
    ResponseStalled,
    /// The response's body is larger than `limits.body`.
    #[error("the response is larger than the limit")]
    ResponseTooLarge,
    /// Nothing moved through a tunnel within `tunnel_idle`.
    #[error("nothing moved through the tunnel")]
    TunnelIdle,
}

impl Failure {
    /// Every word that `error` in the access log can have beside those of malformed messages, with its meaning.
    pub const CODES: &'static [(&'static str, &'static str)] = &[
        (
            "http2_connection_error",
            "the client violated the HTTP/2 protocol before the headers of this request were complete, for example with a header block that cannot be decoded or DATA on a stream that was never opened; the connection was closed with GOAWAY (logged as status 400, but no response was sent)",
        ),
        (
            "client_header_timeout",
            "the client did not send complete headers within `timeouts.client_header`",
        ),
        (
            "client_body_timeout",
            "no bytes of the request body arrived for `timeouts.progress` (in a gRPC call: `timeouts.stream_idle`), or they arrived more slowly than `limits.min_body_rate`",
        ),
        (
            "request_body_too_large",
            "the request body was larger than `limits.body`",
        ),
        (
            "client_gone",
            "the client closed the connection or canceled the request before its response was complete",
        ),
        (
            "client_stalled",
            "the client read nothing of its response for `timeouts.progress`",
        ),
        (
            "evicted",
            "`limits.connections` was reached, and this connection had waited longest: its request headers were still incomplete",
        ),
        (
            "misdirected_request",
            "the TLS connection was made for another name, whose certificate is not valid for the requested host (status 421)",
        ),
        (
            "stopped",
            "the process stopped: the request was still running at the end of `timeouts.drain` or at a second stop signal (logged as status 503 if no response had begun, but none was sent)",
        ),
        (
            "loop_detected",
            "the request has passed through this process before, according to its `Via` header: a backend forwards to one of our own listeners (status 508)",
        ),
        ("no_route", "no route matches the host and path"),
        ("no_backend", "no backend of the pool was eligible"),
        (
            "backends_full",
            "every eligible backend of the pool had as many requests in flight as `limits.in_flight_per_backend` allows",
        ),
        (
            "no_local_port",
            "this machine had no local port left for a connection to the backend (`EADDRNOTAVAIL`); does not count as a failure of the backend",
        ),
        (
            "no_descriptor",
            "this process had no file descriptor left for a connection to the backend (`EMFILE`, `ENFILE`, or only reserved ones left); does not count as a failure of the backend",
        ),
        ("connect_failed", "could not connect to any of the backends tried"),
        (
            "backend_reset",
            "the backend closed the connection before the response headers were complete",
        ),
        (
            "backend_timeout",
            "no response began within `timeouts.first_byte` or `timeouts.request`, or the backend did not read the request for `timeouts.progress`",
        ),
        (
            "deadline_exceeded",
            "no response began within the time that a gRPC client set in `grpc-timeout`",
        ),
        (
            "malformed_response",
            "the status line or the headers of the response are malformed",
        ),
        (
            "too_many_interim_responses",
            "the backend sent more than 32 interim responses (1xx)",
        ),
        (
            "unexpected_upgrade",
            "the backend switched protocols (status 101) although the request did not ask for it",
        ),
        (
            "websocket_accept",
            "the backend accepted a WebSocket of an HTTP/2 client with a `Sec-WebSocket-Accept` that is missing, duplicated or does not match the key (status 502)",
        ),
        (
            "response_truncated",
            "the response ended before its body was complete, or its framing was invalid; the client received a truncated message",
        ),
        (
            "response_stalled",
            "the response body stalled for longer than `timeouts.stream_idle` or `timeouts.progress`",
        ),
        (
            "response_too_large",
            "the response body was larger than `limits.body`",
        ),
        (
            "tunnel_idle",
            "no bytes passed through the tunnel for `timeouts.tunnel_idle`",
        ),
    ];

    /// The word for the access log.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed(reason) => reason.code(),
            Self::MalformedResponse(_) => "malformed_response",
            Self::Http2ConnectionError => "http2_connection_error",
            Self::HeaderTimeout => "client_header_timeout",
            Self::BodyTimeout => "client_body_timeout",
            Self::BodyTooLarge => "request_body_too_large",
            Self::ClientGone => "client_gone",
            Self::ClientStalled => "client_stalled",
            Self::Evicted => "evicted",
            Self::TunnelIdle => "tunnel_idle",
            Self::Misdirected => "misdirected_request",
            Self::Stopped => "stopped",
            Self::LoopDetected => "loop_detected",
            Self::NoRoute => "no_route",
            Self::NoBackend => "no_backend",
            Self::BackendsFull => "backends_full",
            Self::NoLocalPort => "no_local_port",
            Self::NoDescriptor => "no_descriptor",
            Self::ConnectFailed => "connect_failed",
            Self::BackendReset => "backend_reset",
            Self::BackendTimeout => "backend_timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::TooManyInterimResponses => "too_many_interim_responses",
            Self::UnexpectedUpgrade => "unexpected_upgrade",
            Self::WebSocketAccept => "websocket_accept",
            Self::ResponseTruncated => "response_truncated",
            Self::ResponseStalled => "response_stalled",
            Self::ResponseTooLarge => "response_too_large",
        }
    }

    /// The status of a local response; 499 where nobody is left to get one.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(reason) => reason.status(),
            Self::Http2ConnectionError => 400,
            Self::HeaderTimeout | Self::BodyTimeout | Self::Evicted => 408,
            Self::BodyTooLarge => 413,
            Self::ClientGone | Self::ClientStalled => 499,
            Self::Misdirected => 421,
            Self::LoopDetected => 508,
            Self::NoRoute => 404,
            Self::Stopped
            | Self::NoBackend
            | Self::BackendsFull
            | Self::NoLocalPort
            | Self::NoDescriptor
            | Self::ConnectFailed => 503,
            Self::BackendTimeout | Self::DeadlineExceeded | Self::ResponseStalled | Self::TunnelIdle => 504,
            Self::BackendReset
            | Self::MalformedResponse(_)
            | Self::TooManyInterimResponses
            | Self::UnexpectedUpgrade
            | Self::WebSocketAccept
            | Self::ResponseTruncated
            | Self::ResponseTooLarge => 502,
        }
    }

    /// The cause under which the attempt may be retried; `None` when another attempt could not end otherwise or would
    /// not be wanted.
    pub fn cause(self) -> Option<Cause> {
        match self {
            // Ports are counted for each backend by itself, and another one may have an idle connection.
            Self::ConnectFailed | Self::NoLocalPort | Self::NoDescriptor => Some(Cause::ConnectFailure),
            Self::BackendReset => Some(Cause::Reset),
            Self::BackendTimeout => Some(Cause::Timeout),
            _ => None,
        }
    }

    /// Whether the client brought it about: no other backend can help.
    pub fn is_clients(self) -> bool {
        matches!(
            self,
            Self::Malformed(_)
                | Self::Http2ConnectionError
                | Self::HeaderTimeout
                | Self::BodyTimeout
                | Self::BodyTooLarge
                | Self::ClientGone
                | Self::ClientStalled
                | Self::Evicted
                | Self::Misdirected
        )
    }
}
