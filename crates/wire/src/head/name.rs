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
    MaxForwards,
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
    Authorization,
    // Of responses.
    Date,
    RetryAfter,
    WwwAuthenticate,
    // Used for local responses.
    Accept,
    /// A name that equals an identity header (`X-Forwarded-*`, `X-Real-IP`, `X-Request-Id`) when `_` or another mark is
    /// read as `-`, any other `X-Forwarded-*`, or `Client-Cert` (RFC 9440). Never forwarded from untrusted clients.
    IdentityAlias,
    /// `Content_Length`, `Transfer.Encoding` and similar names. Backends that read `_` as `-` (CGI and its descendants,
    /// some of which turn every mark into `_`) would use them for framing. Refused in requests.
    FramingAlias,
}

impl FieldName {
    /// Recognises a name, which must be a token, ignoring case (RFC 9110 §5.1).
    pub fn recognise(name: &[u8]) -> Self {
        let found = match name.len() {
            2 => pick(name, [(b"te", Self::Te)]),
            3 => pick(name, [(b"via", Self::Via)]),
            4 => pick(name, [(b"host", Self::Host), (b"date", Self::Date)]),
            6 => pick(name, [(b"accept", Self::Accept), (b"expect", Self::Expect)]),
            7 => pick(name, [(b"upgrade", Self::Upgrade), (b"trailer", Self::Trailer)]),
            9 => pick(
                name,
                [(b"x-real-ip", Self::XRealIp), (b"forwarded", Self::Forwarded)],
            ),
            10 => pick(
                name,
                [
                    (b"connection", Self::Connection),
                    (b"keep-alive", Self::KeepAlive),
                ],
            ),
            11 => pick(name, [(b"retry-after", Self::RetryAfter)]),
            12 => pick(
                name,
                [
                    (b"x-request-id", Self::XRequestId),
                    (b"max-forwards", Self::MaxForwards),
                ],
            ),
            13 => pick(name, [(b"authorization", Self::Authorization)]),
            14 => pick(
                name,
                [
                    (b"content-length", Self::ContentLength),
                    (b"http2-settings", Self::Http2Settings),
                ],
            ),
            15 => pick(name, [(b"x-forwarded-for", Self::XForwardedFor)]),
            16 => pick(
                name,
                [
                    (b"x-forwarded-host", Self::XForwardedHost),
                    (b"proxy-connection", Self::ProxyConnection),
                    (b"www-authenticate", Self::WwwAuthenticate),
                ],
            ),
            17 => pick(
                name,
                [
                    (b"transfer-encoding", Self::TransferEncoding),
                    (b"x-forwarded-proto", Self::XForwardedProto),
                ],
            ),
            _ => Self::Other,
        };
        if found == Self::Other { alias(name) } else { found }
    }

    /// Whether it is for one connection only and never forwarded (RFC 9110 §7.6.1). `TE`, `Trailer` and `Upgrade` are
    /// included: where needed, they are generated again.
    #[inline]
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Http2Settings
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::Trailer
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether it identifies the client or the path of the message: set by us, accepted from trusted proxies only.
    #[inline]
    pub fn is_identity(self) -> bool {
        matches!(
            self,
            Self::Forwarded
                | Self::IdentityAlias
                | Self::Via
                | Self::XForwardedFor
                | Self::XForwardedHost
                | Self::XForwardedProto
                | Self::XRealIp
                | Self::XRequestId
        )
    }

    /// Whether `Connection` may not remove the field: framing, `Host` and identity. Else a client could
    /// name these fields in `Connection` and so have us remove what protects the backend.
    #[inline]
    pub fn is_protected(self) -> bool {
        self.is_identity()
            || matches!(
                self,
                Self::ContentLength | Self::FramingAlias | Self::Host | Self::TransferEncoding
            )
    }
}

/// The entry that equals `name`, ignoring case. The length is a constant, so that a comparison takes a few machine words
/// instead of a loop. Setting the case bit of every byte is safe: no other byte of a token becomes a byte of a known name.
fn pick<const LENGTH: usize, const KNOWN: usize>(
    name: &[u8],
    known: [(&[u8; LENGTH], FieldName); KNOWN],
) -> FieldName {
    let Ok(name) = <&[u8; LENGTH]>::try_from(name) else {
        return FieldName::Other;
    };
    let lower = name.map(|byte| byte | 0x20);
    known
        .into_iter()
        .find(|(text, _)| **text == lower)
        .map_or(FieldName::Other, |(_, id)| id)
}

/// Recognises names that equal an identity or framing header when every mark is read as `-`.
fn alias(name: &[u8]) -> FieldName {
    const FORWARDED: &[u8] = b"x-forwarded";
    const IDENTITY: [&[u8]; 2] = [b"x-real-ip", b"x-request-id"];
    const CERTIFICATE: [&[u8]; 2] = [b"client-cert", b"client-cert-chain"];
    const FRAMING: [&[u8]; 2] = [b"content-length", b"transfer-encoding"];

    match name.first() {
        Some(b'x' | b'X') => {
            let is_forwarded = name
                .split_at_checked(FORWARDED.len())
                .is_some_and(|(prefix, rest)| {
                    is_same_with_dashes(prefix, FORWARDED)
                        && rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric())
                });
            if is_forwarded || IDENTITY.iter().any(|known| is_same_with_dashes(name, known)) {
                return FieldName::IdentityAlias;
            }
            FieldName::Other
        }
        Some(b'c' | b'C' | b't' | b'T') if FRAMING.iter().any(|known| is_same_with_dashes(name, known)) => {
            FieldName::FramingAlias
        }
        Some(b'c' | b'C') if CERTIFICATE.iter().any(|known| is_same_with_dashes(name, known)) => {
            FieldName::IdentityAlias
        }
        _ => FieldName::Other,
    }
}

/// Whether `name` equals `known` (lower case) when every byte that is not a letter or digit is read as `-`.
fn is_same_with_dashes(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name.iter().zip(known).all(|(byte, expected)| {
            if byte.is_ascii_alphanumeric() {
                byte.to_ascii_lowercase() == *expected
            } else {
                *expected == b'-'
            }
        })
}

#[cfg(test)]
mod tests {
    use super::FieldName;

    #[test]
    fn recognises_every_name_in_any_case() {
        let names: [(&str, FieldName); 24] = [
            ("Max-Forwards", FieldName::MaxForwards),
            ("Authorization", FieldName::Authorization),
            ("WWW-Authenticate", FieldName::WwwAuthenticate),
            ("Connection", FieldName::Connection),
            ("Content-Length", FieldName::ContentLength),
            ("Expect", FieldName::Expect),
            ("Forwarded", FieldName::Forwarded),
            ("Host", FieldName::Host),
            ("HTTP2-Settings", FieldName::Http2Settings),
            ("Keep-Alive", FieldName::KeepAlive),
            ("Proxy-Connection", FieldName::ProxyConnection),
            ("TE", FieldName::Te),
            ("Trailer", FieldName::Trailer),
            ("Transfer-Encoding", FieldName::TransferEncoding),
            ("Upgrade", FieldName::Upgrade),
            ("Via", FieldName::Via),
            ("X-Forwarded-For", FieldName::XForwardedFor),
            ("X-Forwarded-Host", FieldName::XForwardedHost),
            ("X-Forwarded-Proto", FieldName::XForwardedProto),
            ("X-Real-IP", FieldName::XRealIp),
            ("X-Request-Id", FieldName::XRequestId),
            ("Date", FieldName::Date),
            ("Retry-After", FieldName::RetryAfter),
            ("Accept", FieldName::Accept),
        ];
        for (name, id) in names {
            assert_eq!(FieldName::recognise(name.as_bytes()), id, "{name}");
            assert_eq!(FieldName::recognise(name.to_uppercase().as_bytes()), id, "{name}");
            assert_eq!(FieldName::recognise(name.to_lowercase().as_bytes()), id, "{name}");
        }
    }

    #[test]
    fn recognises_aliases_of_identity_headers() {
        for name in [
            "X_Forwarded_For",
            "x-forwarded_host",
            "X_FORWARDED-PROTO",
            "X-Forwarded-Prefix",
            "X-Forwarded-Port",
            "x_forwarded_server",
            "X-Forwarded",
            "X_Real_IP",
            "x_request-id",
            "X.Forwarded.For",
            "x-forwarded+for",
            "X!Real~IP",
            "x-request.id",
        ] {
            assert_eq!(
                FieldName::recognise(name.as_bytes()),
                FieldName::IdentityAlias,
                "{name}"
            );
        }
    }

    #[test]
    fn recognises_aliases_of_framing_headers() {
        for name in [
            "Content_Length",
            "content_LENGTH",
            "Transfer_Encoding",
            "Content.Length",
            "transfer~encoding",
        ] {
            assert_eq!(
                FieldName::recognise(name.as_bytes()),
                FieldName::FramingAlias,
                "{name}"
            );
        }
    }

    #[test]
    fn leaves_other_names_alone() {
        for name in [
            "",
            "x",
            "X-ForwardedFor",
            "X-Forwarde",
            "Content-Lengt",
            "Content-Type",
            "ContentXLength",
            "Content--Length",
            "X-ForwardedXFor",
            "Hosts",
            "x-real-ipp",
        ] {
            assert_eq!(FieldName::recognise(name.as_bytes()), FieldName::Other, "{name}");
        }
    }
}
