//! The reasons for which a message is refused, each with its response status and its error code for the access log.

/// Why a message was refused. Nothing is guessed or repaired: its connection is closed, because it is not known where the
/// next message begins.
#[derive(thiserror::Error, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A line feed without a carriage return before it (RFC 9112 §2.2).
    #[error("line that ends with LF alone instead of CR LF")]
    BareLf,
    /// A carriage return without a line feed after it (RFC 9112 §2.2).
    #[error("CR without LF after it")]
    BareCr,
    /// A control byte, including NUL, where none is allowed (RFC 9110 §5.5).
    #[error("control character in the start line or a header")]
    ControlByte,
    /// A TLS handshake on a plain HTTP listener.
    #[error("TLS handshake on a listener without `tls`")]
    TlsHandshake,
    /// Plain HTTP on a TLS listener.
    #[error("plain HTTP on a listener with `tls`")]
    PlainHttp,
    /// The HTTP/2 preface on an HTTP/1 connection (RFC 9113 §3.4).
    #[error("HTTP/2 preface on an HTTP/1 connection")]
    Http2Preface,
    /// The first line is not `method SP target SP version` (RFC 9112 §3).
    #[error("invalid request line")]
    BadRequestLine,
    /// The method is not a token (RFC 9112 §3.1).
    #[error("invalid method")]
    BadMethod,
    /// The method is longer than any that is known (RFC 9112 §3).
    #[error("method too long")]
    MethodTooLong,
    /// `CONNECT`: we are not a forward proxy, and the bytes that follow it on the connection could not be trusted.
    #[error("CONNECT is not supported")]
    ConnectRefused,
    /// A well-formed version other than HTTP/1.0 and HTTP/1.1.
    #[error("unsupported HTTP version")]
    UnsupportedVersion,
    /// The target has no form that the method allows (RFC 9112 §3.2), or contains a byte that is not allowed.
    #[error("invalid request target")]
    BadTarget,
    /// A `%` in the path without two hexadecimal digits after it, or `%00`.
    #[error("invalid percent-encoding in the path")]
    BadEscape,
    /// The request line is longer than `limits.line`.
    #[error("request line too long")]
    TargetTooLong,
    /// The first line is not `version SP status [SP reason]`, or the status is not from 100 to 599 (RFC 9112 §4).
    #[error("invalid status line")]
    BadStatusLine,
    /// HTTP/2 frames instead of a status line (RFC 9113 §3.4).
    #[error("the backend seems to speak HTTP/2, as gRPC servers do: use h2c:// instead of http:// for it")]
    Http2Response,
    /// A TLS alert instead of a status line (RFC 8446 §6).
    #[error("the backend speaks TLS: use https:// instead of http:// for it")]
    TlsResponse,
    /// A line that continues the previous line, or white space before the first field (RFC 9112 §2.2, §5.2).
    #[error("header that continues on the next line")]
    ObsFold,
    /// A field line without a name, with a name that is not a token, or with white space before the colon (RFC 9112 §5.1).
    #[error("invalid header name")]
    BadFieldName,
    /// A field line longer than `limits.line`.
    #[error("header line too long")]
    FieldTooLong,
    /// More field lines than `limits.fields`.
    #[error("too many headers")]
    TooManyFields,
    /// A head longer than `limits.head`.
    #[error("start line and headers too large")]
    HeadTooLarge,
    /// HTTP/1.1 without `Host` (RFC 9112 §3.2).
    #[error("missing Host header")]
    MissingHost,
    /// More than one `Host` line, even with equal values (RFC 9112 §3.2).
    #[error("more than one Host header")]
    DuplicateHost,
    /// A `Host`, or an authority in the target, that is not a host with an optional port.
    #[error("invalid host")]
    BadHost,
    /// A `Content-Length` that is not one decimal number of at most 63 bits (RFC 9110 §8.6).
    #[error("invalid Content-Length")]
    BadContentLength,
    /// More than one `Content-Length` line, even with equal values.
    #[error("more than one Content-Length header")]
    DuplicateContentLength,
    /// `Content-Length` and `Transfer-Encoding` in one message (RFC 9112 §6.1).
    #[error("both Content-Length and Transfer-Encoding")]
    LengthConflict,
    /// `Transfer-Encoding` that is not exactly one `chunked` (RFC 9112 §6.1).
    #[error("invalid Transfer-Encoding")]
    BadTransferEncoding,
    /// `Transfer-Encoding` with one coding that is not `chunked` (RFC 9112 §6.1).
    #[error("unsupported transfer coding")]
    UnknownTransferCoding,
    /// `Transfer-Encoding` in an HTTP/1.0 message (RFC 9112 §6.1).
    #[error("Transfer-Encoding in HTTP/1.0")]
    UnexpectedTransferEncoding,
    /// `Content_Length` or `Transfer_Encoding`, which some backends read as the fields with a hyphen.
    #[error("header name that imitates Content-Length or Transfer-Encoding")]
    FramingAlias,
    /// `Expect` with anything but `100-continue` (RFC 9110 §10.1.1).
    #[error("unsupported Expect header")]
    UnknownExpectation,
    /// `Max-Forwards` of OPTIONS or TRACE that is not one number (RFC 9110 §7.6.2).
    #[error("Max-Forwards is not a number")]
    BadMaxForwards,
    /// `Connection` with an option that is not a token, or with too many options (RFC 9110 §7.6.1); in HTTP/2 any
    /// connection-specific field (RFC 9113 §8.2.2).
    #[error("invalid Connection header, or a connection-specific header in HTTP/2")]
    BadConnection,
    /// An upgrade request that has a body (RFC 9110 §7.8).
    #[error("upgrade request with a body")]
    UpgradeWithBody,
    /// A chunk size that is not 1 to 16 hexadecimal digits, or too large (RFC 9112 §7.1).
    #[error("invalid chunk size")]
    BadChunkSize,
    /// A chunk line or chunk that does not end in CRLF (RFC 9112 §7.1).
    #[error("chunk, or line with a chunk size, that does not end with CR LF")]
    BadChunkEnd,
    /// A chunk extension that is not `;name[=value]` (RFC 9112 §7.1.1).
    #[error("invalid chunk extension")]
    BadChunkExtension,
    /// Chunk extensions that are together longer than `limits.chunk_extensions`.
    #[error("chunk extensions too large")]
    ChunkExtensionsTooLarge,
    /// A trailer section longer than `limits.trailers`.
    #[error("trailers too large")]
    TrailersTooLarge,
}

impl Malformed {
    /// Every reason, in the order in which the documentation lists them.
    pub const ALL: [Self; 41] = [
        Self::BareLf,
        Self::BareCr,
        Self::ControlByte,
        Self::TlsHandshake,
        Self::PlainHttp,
        Self::Http2Preface,
        Self::BadRequestLine,
        Self::BadMethod,
        Self::MethodTooLong,
        Self::ConnectRefused,
        Self::UnsupportedVersion,
        Self::BadTarget,
        Self::BadEscape,
        Self::TargetTooLong,
        Self::BadStatusLine,
        Self::Http2Response,
        Self::TlsResponse,
        Self::ObsFold,
        Self::BadFieldName,
        Self::FieldTooLong,
        Self::TooManyFields,
        Self::HeadTooLarge,
        Self::MissingHost,
        Self::DuplicateHost,
        Self::BadHost,
        Self::BadContentLength,
        Self::DuplicateContentLength,
        Self::LengthConflict,
        Self::BadTransferEncoding,
        Self::UnknownTransferCoding,
        Self::UnexpectedTransferEncoding,
        Self::FramingAlias,
        Self::UnknownExpectation,
        Self::BadMaxForwards,
        Self::BadConnection,
        Self::UpgradeWithBody,
        Self::BadChunkSize,
        Self::BadChunkEnd,
        Self::BadChunkExtension,
        Self::ChunkExtensionsTooLarge,
        Self::TrailersTooLarge,
    ];

    /// The response status for a request that is refused for this reason. A refused backend response becomes 502 for any
    /// reason.
    pub fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::UnknownExpectation => 417,
            Self::FieldTooLong | Self::TooManyFields | Self::HeadTooLarge | Self::TrailersTooLarge => 431,
            Self::MethodTooLong | Self::ConnectRefused | Self::UnknownTransferCoding => 501,
            Self::UnsupportedVersion => 505,
            _ => 400,
        }
    }

    /// The error code in the access log's `error`. Stable: log queries depend on it.
    pub fn code(self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::ControlByte => "control_byte",
            Self::TlsHandshake => "tls_handshake",
            Self::PlainHttp => "plain_http",
            Self::Http2Preface => "http2_preface",
            Self::BadRequestLine => "bad_request_line",
            Self::BadMethod => "bad_method",
            Self::MethodTooLong => "method_too_long",
            Self::ConnectRefused => "connect_method",
            Self::UnsupportedVersion => "unsupported_version",
            Self::BadTarget => "bad_target",
            Self::BadEscape => "bad_escape",
            Self::TargetTooLong => "target_too_long",
            Self::BadStatusLine => "bad_status_line",
            Self::Http2Response => "http2_response",
            Self::TlsResponse => "tls_response",
            Self::ObsFold => "obs_fold",
            Self::BadFieldName => "bad_field_name",
            Self::FieldTooLong => "field_too_long",
            Self::TooManyFields => "too_many_fields",
            Self::HeadTooLarge => "head_too_large",
            Self::MissingHost => "missing_host",
            Self::DuplicateHost => "duplicate_host",
            Self::BadHost => "bad_host",
            Self::BadContentLength => "bad_content_length",
            Self::DuplicateContentLength => "duplicate_content_length",
            Self::LengthConflict => "length_conflict",
            Self::BadTransferEncoding => "bad_transfer_encoding",
            Self::UnknownTransferCoding => "unknown_transfer_coding",
            Self::UnexpectedTransferEncoding => "unexpected_transfer_encoding",
            Self::FramingAlias => "framing_alias",
            Self::UnknownExpectation => "unknown_expectation",
            Self::BadMaxForwards => "bad_max_forwards",
            Self::BadConnection => "bad_connection",
            Self::UpgradeWithBody => "upgrade_with_body",
            Self::BadChunkSize => "bad_chunk_size",
            Self::BadChunkEnd => "bad_chunk_end",
            Self::BadChunkExtension => "bad_chunk_extension",
            Self::ChunkExtensionsTooLarge => "chunk_extensions_too_large",
            Self::TrailersTooLarge => "trailers_too_large",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Malformed;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_code_in_snake_case() {
        let codes: HashSet<_> = Malformed::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Malformed::ALL.len());
        for code in codes {
            assert!(
                code.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{code}"
            );
        }
    }

    #[test]
    fn the_list_of_reasons_leaves_none_out() {
        for (place, reason) in Malformed::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason}");
        }
        assert_eq!(
            Malformed::ALL.last(),
            Some(&Malformed::TrailersTooLarge),
            "the last of the enum"
        );
    }

    #[test]
    fn every_reason_has_a_status_of_an_error() {
        for reason in Malformed::ALL {
            assert!(
                [400, 414, 417, 431, 501, 505].contains(&reason.status()),
                "{reason}"
            );
        }
    }
}
