//! Every way in which a request can end other than with a backend's whole response: one table with one row per failure.
//! What the client gets, what the logs and metrics say and what `docs/errors.md` explains come from its row.

use evenkeel_balance::policy::Refusal;

use super::grpc;
use crate::message::Malformed;
use crate::retry::Cause;
use crate::telemetry::metrics::Timeout;

/// Why a client gets a local response.
#[derive(Debug)]
pub(super) enum LocalReason {
    /// The request failed.
    Failure(Failure),
    /// It has to come by https, at this port.
    Redirect(u16),
    /// It must not be forwarded any more (RFC 9110 §7.6.2).
    LastRecipient,
    /// The route itself has the response, or a policy refused the request.
    Refused(Box<Refusal>),
}

impl From<Failure> for LocalReason {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The facts about a failure.
struct Row {
    /// The word for the access log.
    code: &'static str,
    /// The status of a local response; 499 where nobody is left to get one.
    status: u16,
    /// The status of a local response to a gRPC call.
    grpc_status: u32,
    /// The cause under which the attempt may be retried; `None` when another attempt could not end otherwise or would
    /// not be wanted.
    cause: Option<Cause>,
    /// Whose doing it is.
    blame: Blame,
    /// The timeout that ran out, for the counters.
    timeout: Option<Timeout>,
    /// Its meaning for `docs/errors.md`; empty for malformed requests, whose reasons have a table of their own.
    help: &'static str,
}

/// Whose doing a failure is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blame {
    Client,
    Balancer,
    Backend,
}

/// Makes the enum and the rows from the table, so that no failure can lack a row. A row that depends on the reason of its
/// failure has, after the type of the reason, an example for [`Failure::ALL`].
macro_rules! failures {
    ($(
        $(#[$doc:meta])*
        $name:ident $(($reason:ident: $type:ty = $example:expr))?, $message:literal { $($fact:tt)* }
    )*) => {
        /// How a request, or one attempt at it, failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        pub enum Failure {
            $($(#[$doc])* #[error($message)] $name $(($type))?,)*
        }

        impl Failure {
            /// One of each, in the order of the docs.
            pub const ALL: &'static [Self] = &[$(Self::$name $(($example))?),*];

            fn row(self) -> Row {
                match self {
                    $(Self::$name $(($reason))? => Row { $($fact)* },)*
                }
            }
        }
    };
}

failures! {
    /// The head, or the framing of the body, cannot be understood.
    Malformed(reason: Malformed = Malformed::BadRequestLine), "the request is malformed: {0}" {
        code: reason.code(), status: reason.status(), grpc_status: grpc::status_of_malformed(reason.status()),
        cause: None, blame: Blame::Client, timeout: None,
        help: "",
    }

    /// The HTTP/2 connection broke a rule before the head was whole (RFC 9113 §5.4.1).
    Http2ConnectionError, "the HTTP/2 connection failed before the head was whole" {
        code: "http2_connection_error", status: 400, grpc_status: grpc::INTERNAL,
        cause: None, blame: Blame::Client, timeout: None,
        help: "the client violated the HTTP/2 protocol before the headers of this request were complete, for example with a header block that cannot be decoded or DATA on a stream that was never opened; the connection was closed with GOAWAY (logged as status 400, but no response was sent)",
    }

    /// No whole head within `client_header`.
    HeaderTimeout, "the client did not send a whole head in time" {
        code: "client_header_timeout", status: 408, grpc_status: grpc::DEADLINE_EXCEEDED,
        cause: None, blame: Blame::Client, timeout: Some(Timeout::ClientHeader),
        help: "the client did not send complete headers within `timeouts.client_header`",
    }

    /// No body bytes within `progress`, or fewer than `min_body_rate`.
    BodyTimeout, "the client did not send its body in time" {
        code: "client_body_timeout", status: 408, grpc_status: grpc::DEADLINE_EXCEEDED,
        cause: None, blame: Blame::Client, timeout: Some(Timeout::Progress),
        help: "no bytes of the request body arrived for `timeouts.progress` (in a gRPC call: `timeouts.stream_idle`), or they arrived more slowly than `limits.min_body_rate`",
    }

    /// More body than `limits.body`.
    BodyTooLarge, "the request body is larger than the limit" {
        code: "request_body_too_large", status: 413, grpc_status: grpc::RESOURCE_EXHAUSTED,
        cause: None, blame: Blame::Client, timeout: None,
        help: "the request body was larger than `limits.body`, or than a policy `body_limit` allows",
    }

    /// The client went away before its response was complete.
    ClientGone, "the client left" {
        code: "client_gone", status: 499, grpc_status: grpc::UNKNOWN,
        cause: None, blame: Blame::Client, timeout: None,
        help: "the client closed the connection or canceled the request before its response was complete",
    }

    /// The client did not take the response within `progress`.
    ClientStalled, "the client did not take its response in time" {
        code: "client_stalled", status: 499, grpc_status: grpc::UNKNOWN,
        cause: None, blame: Blame::Client, timeout: Some(Timeout::Progress),
        help: "the client read nothing of its response for `timeouts.progress`",
    }

    /// Its head was not whole when its connection had to make room for another one.
    Evicted, "the connection had to make room" {
        code: "evicted", status: 408, grpc_status: grpc::DEADLINE_EXCEEDED,
        cause: None, blame: Blame::Client, timeout: None,
        help: "`limits.connections` was reached, and this connection had waited longest: its request headers were still incomplete",
    }

    /// It came by a connection that was made for another host, whose certificate is not good for this one.
    Misdirected, "the request is for a host that its connection was not made for" {
        code: "misdirected_request", status: 421, grpc_status: grpc::UNKNOWN,
        cause: None, blame: Blame::Client, timeout: None,
        help: "the TLS connection was made for another name, whose certificate is not valid for the requested host (status 421)",
    }

    /// It still ran when the process had waited long enough for its end.
    Stopped, "the balancer stopped" {
        code: "stopped", status: 503, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Balancer, timeout: None,
        help: "the process stopped, or a reload removed the listener or the worker of the request, which was still running at the end of `timeouts.drain` or at a second stop signal (logged as status 503 if no response had begun, but none was sent)",
    }

    /// It has passed through this process before: a backend leads back to a listener.
    LoopDetected, "the request has passed through this balancer before" {
        code: "loop_detected", status: 508, grpc_status: grpc::UNKNOWN,
        cause: None, blame: Blame::Balancer, timeout: None,
        help: "the request has passed through this process before, according to its `Via` header: a backend forwards to one of our own listeners (status 508)",
    }

    /// What `rewrite` makes of the path is not a path.
    RewriteInvalidPath, "the rewritten path is not valid" {
        code: "rewrite_invalid_path", status: 500, grpc_status: grpc::INTERNAL,
        cause: None, blame: Blame::Balancer, timeout: None,
        help: "`rewrite` of the route turned the path into something that is not a valid path (status 500)",
    }

    /// No route leads anywhere for this host and path.
    NoRoute, "no route matches" {
        code: "no_route", status: 404, grpc_status: grpc::UNIMPLEMENTED,
        cause: None, blame: Blame::Balancer, timeout: None,
        help: "no route matches the host and path",
    }

    /// No backend of the pool is eligible.
    NoBackend, "no backend is eligible" {
        code: "no_backend", status: 503, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Balancer, timeout: None,
        help: "no backend of the pool was eligible",
    }

    /// Every eligible backend of the pool has as many requests as `limits` allow.
    BackendsFull, "every eligible backend has as many requests as it may have" {
        code: "backends_full", status: 503, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Balancer, timeout: None,
        help: "every eligible backend of the pool had as many requests in flight as `limits` allow, and the pool has no `queue`",
    }

    /// As many requests wait for a backend of the pool as may.
    QueueFull, "too many requests wait for a backend" {
        code: "queue_full", status: 503, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Balancer, timeout: None,
        help: "no backend of the pool could take the request, and `queue.size` requests were waiting for one already",
    }

    /// No backend of the pool could take it while it waited.
    QueueTimeout, "no backend could take the request in time" {
        code: "queue_timeout", status: 503, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Balancer, timeout: None,
        help: "no backend of the pool could take the request within `queue.timeout`, or, while the pool was overloaded, within the shorter time that is allowed then",
    }

    /// No local port was left for a connection to the backend.
    NoLocalPort, "no local port is left for connecting to the backend" {
        code: "no_local_port", status: 503, grpc_status: grpc::UNAVAILABLE,
        // Ports are counted for each backend by itself, and another one may have an idle connection.
        cause: Some(Cause::ConnectFailure), blame: Blame::Balancer, timeout: None,
        help: "this machine had no local port left for a connection to the backend (`EADDRNOTAVAIL`); does not count as a failure of the backend",
    }

    /// No file descriptor was left for a connection to the backend.
    NoDescriptor, "no file descriptor is left for connecting to the backend" {
        code: "no_descriptor", status: 503, grpc_status: grpc::UNAVAILABLE,
        // Another backend may have an idle connection.
        cause: Some(Cause::ConnectFailure), blame: Blame::Balancer, timeout: None,
        help: "this process had no file descriptor left for a connection to the backend (`EMFILE`, `ENFILE`, or only reserved ones left); does not count as a failure of the backend",
    }

    /// No connection was established.
    ConnectFailed, "no connection to the backend" {
        code: "connect_failed", status: 503, grpc_status: grpc::UNAVAILABLE,
        cause: Some(Cause::ConnectFailure), blame: Blame::Backend, timeout: None,
        help: "could not connect to any of the backends tried",
    }

    /// The connection ended before the response's head was whole.
    BackendReset, "the backend closed the connection before it responded" {
        code: "backend_reset", status: 502, grpc_status: grpc::UNAVAILABLE,
        cause: Some(Cause::Reset), blame: Blame::Backend, timeout: None,
        help: "the backend closed the connection before the response headers were complete",
    }

    /// No response within `first_byte`, or `request` over all attempts, or the request was not taken within `progress`.
    BackendTimeout, "the backend did not respond in time" {
        code: "backend_timeout", status: 504, grpc_status: grpc::UNAVAILABLE,
        cause: Some(Cause::Timeout), blame: Blame::Backend, timeout: Some(Timeout::FirstByte),
        help: "no response began within `timeouts.first_byte`, `timeouts.request` or `retry.per_try_timeout`, or the backend did not read the request for `timeouts.progress`",
    }

    /// The backend was marked down or ejected while the request waited for it.
    BackendMarkedDown, "the backend was marked down while the request waited for its response" {
        code: "backend_down", status: 504, grpc_status: grpc::UNAVAILABLE,
        cause: Some(Cause::Timeout), blame: Blame::Backend, timeout: None,
        help: "the backend was marked down or ejected while the request waited for its response, and no other backend could be asked in its place",
    }

    /// No response came before the moment until which the client waits for it, as it has said (`grpc-timeout`).
    DeadlineExceeded, "the client's deadline has passed" {
        // The time of the client itself has passed. Another timeout is ours, and not what it asked about.
        code: "deadline_exceeded", status: 504, grpc_status: grpc::DEADLINE_EXCEEDED,
        cause: None, blame: Blame::Backend, timeout: None,
        help: "no response began within the time that a gRPC client set in `grpc-timeout`",
    }

    /// The response cannot be understood.
    MalformedResponse(_reason: Malformed = Malformed::BadStatusLine), "the response is malformed: {0}" {
        code: "malformed_response", status: 502, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Backend, timeout: None,
        help: "the status line or the headers of the response are malformed",
    }

    /// More interim responses than anybody needs.
    TooManyInterimResponses, "the backend sent too many interim responses" {
        code: "too_many_interim_responses", status: 502, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Backend, timeout: None,
        help: "the backend sent more than 32 interim responses (1xx)",
    }

    /// The backend switched protocols unasked.
    UnexpectedUpgrade, "the backend switched protocols unasked" {
        code: "unexpected_upgrade", status: 502, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Backend, timeout: None,
        help: "the backend switched protocols (status 101) although the request did not ask for it",
    }

    /// The backend switched to WebSocket, and its `Sec-WebSocket-Accept` does not belong to the key that we sent.
    WebSocketAccept, "the backend's Sec-WebSocket-Accept does not match the key" {
        code: "websocket_accept", status: 502, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Backend, timeout: None,
        help: "the backend accepted a WebSocket of an HTTP/2 client with a `Sec-WebSocket-Accept` that is missing, duplicated or does not match the key (status 502)",
    }

    /// The response's body ended too early, or its framing broke.
    ResponseTruncated, "the response was truncated" {
        code: "response_truncated", status: 502, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Backend, timeout: None,
        help: "the response ended before its body was complete, or its framing was invalid; the client received a truncated message",
    }

    /// The response's body paused for longer than allowed.
    ResponseStalled, "the response paused for too long" {
        code: "response_stalled", status: 504, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Backend, timeout: Some(Timeout::StreamIdle),
        help: "the response body stalled for longer than `timeouts.stream_idle` or `timeouts.progress`",
    }

    /// The response's body is larger than `limits.body`.
    ResponseTooLarge, "the response is larger than the limit" {
        code: "response_too_large", status: 502, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Backend, timeout: None,
        help: "the response body was larger than `limits.body`",
    }

    /// The response could not be compressed on its way.
    CompressionFailed, "the response could not be compressed" {
        code: "compression_failed", status: 500, grpc_status: grpc::INTERNAL,
        cause: None, blame: Blame::Balancer, timeout: None,
        help: "the encoder of the route's `compress` policy failed, most likely for lack of memory; the client received a truncated message",
    }

    /// Nothing moved through a tunnel within `tunnel_idle`.
    TunnelIdle, "nothing moved through the tunnel" {
        code: "tunnel_idle", status: 504, grpc_status: grpc::UNAVAILABLE,
        cause: None, blame: Blame::Backend, timeout: Some(Timeout::TunnelIdle),
        help: "no bytes passed through the tunnel for `timeouts.tunnel_idle`",
    }
}

impl Failure {
    /// The word for the access log.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The status of a local response; 499 where nobody is left to get one.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// The status of a local response to a gRPC call.
    pub(super) fn grpc_status(self) -> u32 {
        self.row().grpc_status
    }

    /// The cause under which the attempt may be retried; `None` when another attempt could not end otherwise or would
    /// not be wanted.
    pub fn cause(self) -> Option<Cause> {
        self.row().cause
    }

    /// Whether the client brought it about: no other backend can help.
    pub fn is_clients(self) -> bool {
        self.row().blame == Blame::Client
    }

    /// The timeout that ran out, for the counters.
    pub(super) fn timeout(self) -> Option<Timeout> {
        self.row().timeout
    }

    /// The meaning of its code, for the docs; `None` for malformed requests, whose reasons have codes of their own.
    pub fn help(self) -> Option<&'static str> {
        Some(self.row().help).filter(|help| !help.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::mem::discriminant;

    use evenkeel_balance::policy::POLICIES;

    use super::*;

    #[test]
    fn every_failure_has_one_row_and_a_code_of_its_own() {
        let reasons = Malformed::ALL.map(Malformed::code);
        let mut codes: BTreeSet<&str> = reasons.into_iter().collect();
        for (index, failure) in Failure::ALL.iter().enumerate() {
            let earlier = Failure::ALL.iter().take(index);
            assert!(
                !earlier
                    .map(discriminant)
                    .any(|other| other == discriminant(failure))
            );
            let is_reason = matches!(failure, Failure::Malformed(_));
            assert_eq!(codes.insert(failure.code()), !is_reason, "{failure:?}");
            assert_eq!(failure.help().is_none(), is_reason, "{failure:?}");
        }
    }

    #[test]
    fn the_codes_of_policies_are_not_those_of_failures() {
        let reasons = Malformed::ALL.map(Malformed::code);
        let failures = Failure::ALL.iter().map(|failure| failure.code());
        let ours: BTreeSet<&str> = reasons.into_iter().chain(failures).collect();
        let codes = POLICIES.iter().flat_map(|entry| entry.codes);
        let shared: Vec<&str> = codes
            .map(|(code, _)| *code)
            .filter(|code| ours.contains(code))
            .collect();
        // A body that is too large is the same error whichever limit it exceeds; only a body of unknown length has to be read for it.
        assert_eq!(shared, [Failure::BodyTooLarge.code()]);
    }

    #[test]
    fn the_facts_of_a_row_agree() {
        for failure in Failure::ALL {
            let status = failure.status();
            assert_eq!(
                status < 500,
                failure.is_clients() || *failure == Failure::NoRoute,
                "{failure:?}"
            );
            assert!(failure.cause().is_none() || !failure.is_clients(), "{failure:?}");
            let code = failure.code();
            let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(!code.is_empty() && code.bytes().all(is_word), "{failure:?}");
        }
    }

    #[test]
    fn a_malformed_request_has_the_code_and_status_of_its_reason() {
        for reason in Malformed::ALL {
            let failure = Failure::Malformed(reason);
            assert_eq!(
                (failure.code(), failure.status()),
                (reason.code(), reason.status())
            );
        }
    }
}
