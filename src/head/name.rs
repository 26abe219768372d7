//! The field names that the balancer acts on, recognised once when a head is parsed.

/// A field name that we act on, or `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each variant is the field of that name")]
pub enum FieldName {
    #[default]
    Other,
    Connection,
    ContentLength,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRealIp,
    XRequestId,
    // Answers.
    Date,
    RetryAfter,
    // What our own replies look at.
    Accept,
    /// A name that becomes one of the names that carry identity (`Forwarded`, `X-Forwarded-*`, `X-Real-IP`,
    /// `X-Request-Id`) when `_` is read as `-`, or an `X-Forwarded-*` of another kind: never forwarded from clients
    /// that are not trusted.
    IdentityAlias,
}
