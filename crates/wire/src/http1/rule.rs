//! The rules that messages must follow, one sentence each. The access log, the admin API and the documentation take the
//! sentences from this table.

use super::Malformed;

/// A rule for messages. An error code of the log stands for one or more rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table below has the sentence of each")]
pub enum Rule {
    BareLf,
    BareCr,
    ControlByte,
    PaddedValue,
    TlsHandshake,
    PlainHttp,
    Http2Preface,
    Http2Response,
    TlsResponse,
    RequestLine,
    RequestPseudoHeaders,
    Method,
    MethodLength,
    Connect,
    Version,
    TargetForm,
    TargetCharacter,
    Scheme,
    Escape,
    RequestLineLength,
    StatusLine,
    StatusPseudoHeader,
    Folding,
    HeaderName,
    HeaderColon,
    HeaderNameEmpty,
    HeaderNameSpace,
    HeaderNameHttp2,
    PseudoHeader,
    HeaderLength,
    HeaderCount,
    CookieCount,
    HeadSize,
    HostMissing,
    HostOnce,
    HostSame,
    Host,
    ContentLength,
    BodyLength,
    ContentLengthOnce,
    LengthAlone,
    TransferEncoding,
    TransferCoding,
    TransferEncodingAllowed,
    FramingName,
    Expectation,
    MaxForwards,
    Connection,
    ConnectionHttp2,
    UpgradeBody,
    ChunkSize,
    ChunkEnd,
    ChunkExtension,
    ChunkExtensionsSize,
    TrailersSize,
}

/// One row of the table.
struct Row {
    rule: Rule,
    code: Malformed,
    sentence: &'static str,
}

const fn row(rule: Rule, code: Malformed, sentence: &'static str) -> Row {
    Row { rule, code, sentence }
}

/// Every rule, in the order of [`Rule`]. If nothing tells the rules of one code apart, the first is reported.
/// The sentences are stable: people search for them.
const TABLE: &[Row] = &[
    row(
        Rule::BareLf,
        Malformed::BareLf,
        "a line must end with CR LF, not with LF alone",
    ),
    row(Rule::BareCr, Malformed::BareCr, "CR must be followed by LF"),
    row(
        Rule::ControlByte,
        Malformed::ControlByte,
        "the start line and headers must not contain control characters; a tab is allowed in header values only",
    ),
    row(
        Rule::PaddedValue,
        Malformed::ControlByte,
        "an HTTP/2 header value must not begin or end with whitespace",
    ),
    row(
        Rule::TlsHandshake,
        Malformed::TlsHandshake,
        "a listener without `tls` does not accept a TLS handshake",
    ),
    row(
        Rule::PlainHttp,
        Malformed::PlainHttp,
        "a listener with `tls` does not accept plain HTTP",
    ),
    row(
        Rule::Http2Preface,
        Malformed::Http2Preface,
        "HTTP/2 is accepted only at the start of a connection, and not on a listener with `http2: false`",
    ),
    row(
        Rule::Http2Response,
        Malformed::Http2Response,
        "a backend with an `http://` URL must respond in HTTP/1, and this one speaks HTTP/2: use `h2c://`",
    ),
    row(
        Rule::TlsResponse,
        Malformed::TlsResponse,
        "a backend with an `http://` URL must respond in HTTP/1, and this one speaks TLS: use `https://`",
    ),
    row(
        Rule::RequestLine,
        Malformed::BadRequestLine,
        "a request line must be a method, one space, a target, one space and a version",
    ),
    row(
        Rule::RequestPseudoHeaders,
        Malformed::BadRequestLine,
        "an HTTP/2 request needs :method, :scheme and :path, and may have :protocol with CONNECT only",
    ),
    row(
        Rule::Method,
        Malformed::BadMethod,
        "a method must consist of letters, digits and !#$%&'*+-.^_`|~",
    ),
    row(
        Rule::MethodLength,
        Malformed::MethodTooLong,
        "a method must not be longer than 64 bytes",
    ),
    row(
        Rule::Connect,
        Malformed::ConnectRefused,
        "CONNECT is not supported: this is not a forward proxy",
    ),
    row(
        Rule::Version,
        Malformed::UnsupportedVersion,
        "the version must be HTTP/1.0 or HTTP/1.1",
    ),
    row(
        Rule::TargetForm,
        Malformed::BadTarget,
        "a request target must be a path that begins with /, an http or https URL, or * with OPTIONS",
    ),
    row(
        Rule::TargetCharacter,
        Malformed::BadTarget,
        "a request target must not contain this character unless it is percent-encoded",
    ),
    row(
        Rule::Scheme,
        Malformed::BadTarget,
        ":scheme must be a URI scheme of at most 64 bytes",
    ),
    row(
        Rule::Escape,
        Malformed::BadEscape,
        "a % in a path must be followed by two hexadecimal digits that are not 00",
    ),
    row(
        Rule::RequestLineLength,
        Malformed::TargetTooLong,
        "a request line must not be longer than `limits.line`",
    ),
    row(
        Rule::StatusLine,
        Malformed::BadStatusLine,
        "a response must begin with HTTP/1.0 or HTTP/1.1, one space and a status from 100 to 599",
    ),
    row(
        Rule::StatusPseudoHeader,
        Malformed::BadStatusLine,
        "an HTTP/2 response needs a :status from 100 to 599",
    ),
    row(
        Rule::Folding,
        Malformed::ObsFold,
        "a header must not continue on the next line",
    ),
    row(
        Rule::HeaderName,
        Malformed::BadFieldName,
        "a header name must consist of letters, digits and !#$%&'*+-.^_`|~",
    ),
    row(
        Rule::HeaderColon,
        Malformed::BadFieldName,
        "a header line must have a colon after the name",
    ),
    row(
        Rule::HeaderNameEmpty,
        Malformed::BadFieldName,
        "a header name must not be empty",
    ),
    row(
        Rule::HeaderNameSpace,
        Malformed::BadFieldName,
        "no whitespace is allowed between a header name and its colon",
    ),
    row(
        Rule::HeaderNameHttp2,
        Malformed::BadFieldName,
        "an HTTP/2 header name must consist of lower-case letters, digits and !#$%&'*+-.^_`|~",
    ),
    row(
        Rule::PseudoHeader,
        Malformed::BadFieldName,
        "a pseudo-header must be defined for its message, occur once and come before all other headers",
    ),
    row(
        Rule::HeaderLength,
        Malformed::FieldTooLong,
        "a header line must not be longer than `limits.line`",
    ),
    row(
        Rule::HeaderCount,
        Malformed::TooManyFields,
        "a message must not have more headers than `limits.fields`",
    ),
    row(
        Rule::CookieCount,
        Malformed::TooManyFields,
        "an HTTP/2 request must not have more than 1000 header lines, counting each line of a split cookie",
    ),
    row(
        Rule::HeadSize,
        Malformed::HeadTooLarge,
        "the start line and headers together must not be larger than `limits.head`",
    ),
    row(
        Rule::HostMissing,
        Malformed::MissingHost,
        "an HTTP/1.1 request needs a Host header, and an HTTP/2 request an :authority",
    ),
    row(
        Rule::HostOnce,
        Malformed::DuplicateHost,
        "a request must not have more than one Host header",
    ),
    row(
        Rule::HostSame,
        Malformed::DuplicateHost,
        "in HTTP/2, Host must be the same as :authority and occur at most once",
    ),
    row(
        Rule::Host,
        Malformed::BadHost,
        "a host must be a name or an IP address, and may have a port",
    ),
    row(
        Rule::ContentLength,
        Malformed::BadContentLength,
        "Content-Length must be one decimal number below 2^63",
    ),
    row(
        Rule::BodyLength,
        Malformed::BadContentLength,
        "a body must be as long as its Content-Length says",
    ),
    row(
        Rule::ContentLengthOnce,
        Malformed::DuplicateContentLength,
        "a message must not have more than one Content-Length",
    ),
    row(
        Rule::LengthAlone,
        Malformed::LengthConflict,
        "a message must not have both Content-Length and Transfer-Encoding",
    ),
    row(
        Rule::TransferEncoding,
        Malformed::BadTransferEncoding,
        "Transfer-Encoding must be exactly one `chunked`",
    ),
    row(
        Rule::TransferCoding,
        Malformed::UnknownTransferCoding,
        "the only supported transfer coding is `chunked`",
    ),
    row(
        Rule::TransferEncodingAllowed,
        Malformed::UnexpectedTransferEncoding,
        "Transfer-Encoding is not allowed in HTTP/1.0",
    ),
    row(
        Rule::FramingName,
        Malformed::FramingAlias,
        "a header name must not imitate Content-Length or Transfer-Encoding",
    ),
    row(
        Rule::Expectation,
        Malformed::UnknownExpectation,
        "the only supported expectation is `100-continue`",
    ),
    row(
        Rule::MaxForwards,
        Malformed::BadMaxForwards,
        "Max-Forwards must be one number",
    ),
    row(
        Rule::Connection,
        Malformed::BadConnection,
        "Connection must contain at most 32 options, each of letters, digits and !#$%&'*+-.^_`|~",
    ),
    row(
        Rule::ConnectionHttp2,
        Malformed::BadConnection,
        "HTTP/2 does not allow connection-specific headers, nor TE other than `trailers`",
    ),
    row(
        Rule::UpgradeBody,
        Malformed::UpgradeWithBody,
        "an upgrade request must not have a body",
    ),
    row(
        Rule::ChunkSize,
        Malformed::BadChunkSize,
        "a chunk size must be 1 to 16 hexadecimal digits and below 2^63",
    ),
    row(
        Rule::ChunkEnd,
        Malformed::BadChunkEnd,
        "a chunk, and the line with its size, must end with CR LF",
    ),
    row(
        Rule::ChunkExtension,
        Malformed::BadChunkExtension,
        "a chunk extension must be ;name or ;name=value",
    ),
    row(
        Rule::ChunkExtensionsSize,
        Malformed::ChunkExtensionsTooLarge,
        "the chunk extensions of a body must not be larger than `limits.chunk_extensions`",
    ),
    row(
        Rule::TrailersSize,
        Malformed::TrailersTooLarge,
        "the trailers of a body must not be larger than `limits.trailers`",
    ),
];

impl Rule {
    /// The first rule of an error code, for when nothing more is known.
    pub fn of(code: Malformed) -> Option<Self> {
        let row = TABLE.iter().find(|row| row.code == code);
        row.map(|row| row.rule)
    }

    /// Its sentence.
    pub fn sentence(self) -> &'static str {
        TABLE.get(self as usize).map_or("", |row| row.sentence)
    }
}

impl Malformed {
    /// The sentences of all rules of this error code.
    pub fn rules(self) -> impl Iterator<Item = &'static str> {
        let rows = TABLE.iter().filter(move |row| row.code == self);
        rows.map(|row| row.sentence)
    }

    /// The sentence of its first rule.
    pub fn rule(self) -> &'static str {
        Rule::of(self).map_or("the message is malformed", Rule::sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_has_every_rule_at_its_place() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.rule as usize, place, "{:?}", row.rule);
        }
        assert_eq!(TABLE.last().map(|row| row.rule), Some(Rule::TrailersSize));
    }

    #[test]
    fn every_code_has_a_rule_and_every_rule_a_sentence_of_its_own() {
        for code in Malformed::ALL {
            assert!(code.rules().next().is_some(), "{} needs a row", code.code());
        }
        let sentences: HashSet<_> = TABLE.iter().map(|row| row.sentence).collect();
        assert_eq!(sentences.len(), TABLE.len());
        for sentence in sentences {
            assert!(
                sentence.is_ascii() && sentence.len() < 120 && !sentence.ends_with('.'),
                "{sentence}"
            );
        }
    }
}
