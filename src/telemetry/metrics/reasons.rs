//! What counters are divided by: the fixed values of labels. No request can add one.

use crate::retry::Cause;

/// An expired timeout, as in the config's `timeouts:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// A request head was not received completely.
    ClientHeader,
    /// An idle client connection was closed.
    ClientIdle,
    /// A connection to a backend was not established.
    Connect,
    /// No response to an attempt began.
    FirstByte,
    /// No response to a request began in all its attempts together.
    Request,
    /// Sending or receiving a message stalled.
    Progress,
    /// A two-way stream or a paused response was silent.
    StreamIdle,
    /// A tunnel was silent.
    TunnelIdle,
}

impl Timeout {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::ClientHeader,
        Self::ClientIdle,
        Self::Connect,
        Self::FirstByte,
        Self::Request,
        Self::Progress,
        Self::StreamIdle,
        Self::TunnelIdle,
    ];

    /// The key in the config, which is the value of the label `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientHeader => "client_header",
            Self::ClientIdle => "client_idle",
            Self::Connect => "connect",
            Self::FirstByte => "first_byte",
            Self::Request => "request",
            Self::Progress => "progress",
            Self::StreamIdle => "stream_idle",
            Self::TunnelIdle => "tunnel_idle",
        }
    }
}

/// The reason why a TLS handshake with a client failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It did not finish within `client_header`.
    Timeout,
    /// The client closed the connection.
    ClientLeft,
    /// The client did not send TLS, but for example plain HTTP.
    NotTls,
    /// No version, suite or protocol in common.
    Incompatible,
    /// The client's certificate is missing or invalid.
    ClientCertificate,
    /// The client rejected our certificate.
    RefusedByClient,
    /// The connection was closed to make room for another one.
    Evicted,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::ClientLeft,
        Self::NotTls,
        Self::Incompatible,
        Self::ClientCertificate,
        Self::RefusedByClient,
        Self::Evicted,
        Self::Other,
    ];

    /// The value of the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ClientLeft => "client_left",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client_certificate",
            Self::RefusedByClient => "refused_by_client",
            Self::Evicted => "evicted",
            Self::Other => "other",
        }
    }
}

/// The label of a handshake without a key exchange: a resumed session of TLS 1.2.
pub(super) const NO_GROUP: &str = "none";

/// The versions and groups that successful handshakes are counted by; the last counts all others.
pub const HANDSHAKES: [(&str, &str); 9] = [
    ("TLSv1.3", "X25519MLKEM768"),
    ("TLSv1.3", "x25519"),
    ("TLSv1.3", "secp256r1"),
    ("TLSv1.3", "secp384r1"),
    ("TLSv1.2", "x25519"),
    ("TLSv1.2", "secp256r1"),
    ("TLSv1.2", "secp384r1"),
    ("TLSv1.2", NO_GROUP),
    ("other", "other"),
];

/// Why a request that had to wait for a backend did not get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueDrop {
    /// The queue was full.
    Full,
    /// It waited as long as it may.
    Timeout,
    /// Its client left while it waited.
    ClientLeft,
    /// The wait became pointless: no backend was usable for too long, or the pool was removed.
    Outage,
}

impl QueueDrop {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Full, Self::Timeout, Self::ClientLeft, Self::Outage];

    /// The value of the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Timeout => "timeout",
            Self::ClientLeft => "client_left",
            Self::Outage => "outage",
        }
    }
}

/// Why an attempt was retried, as the access log names it; the last counts all other reasons.
pub const RETRY_REASONS: [&str; RETRY_REASON_COUNT] = retry_reasons();

const RETRY_REASON_COUNT: usize = Cause::NAMES.len() + OTHER_REASONS.len();

/// The reasons that are no causes of the config: what this machine lacked, a backend that was marked down, and any other.
const OTHER_REASONS: [&str; 4] = ["no_local_port", "no_descriptor", "backend_down", "other"];

#[allow(clippy::indexing_slicing, reason = "it is evaluated by the compiler")]
const fn retry_reasons() -> [&'static str; RETRY_REASON_COUNT] {
    let mut reasons = [""; RETRY_REASON_COUNT];
    let mut position = 0;
    while position < reasons.len() {
        reasons[position] = match position < Cause::NAMES.len() {
            true => Cause::NAMES[position],
            false => OTHER_REASONS[position - Cause::NAMES.len()],
        };
        position += 1;
    }
    reasons
}
