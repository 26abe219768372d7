//! The keys of TLS.

use crate::schema::{Form, Key, Kind, Section};

const FILE: Kind = Kind::Text(Form::new("a file"));

/// `tls` of a listener.
pub(in crate::config) const LISTENER_TLS: Section = Section {
    name: "listeners[].tls",
    about: "TLS 1.2 and 1.3 with clients. Files are read again when they change and at a reload. If they are then invalid, the error is logged and the previous certificates stay active.",
    keys: &[
        Key::new(
            "certificates",
            Kind::List(&Kind::Section(&CERTIFICATE)),
            "At least one. A client gets the certificate for the requested name (SNI), an exact match before a wildcard, else the first one. If several with different key types (ECDSA, RSA) match, it gets one that it can verify.",
        )
        .required(),
        Key::new(
            "client_ca",
            FILE,
            "PEM file with the CAs that client certificates must be signed by.",
        )
        .words(&["none"])
        .default("none"),
        Key::new(
            "client_auth",
            Kind::Choice(&["none", "optional", "required"]),
            "Whether clients are asked for a certificate; `required` closes connections without one. Its subject is logged, and backends receive it as `Client-Cert` (RFC 9440).",
        )
        .default("none"),
    ],
};

/// An item of `certificates`.
pub(in crate::config) const CERTIFICATE: Section = Section {
    name: "certificates[]",
    about: "A certificate and its key.",
    keys: &[
        Key::new(
            "cert",
            FILE,
            "PEM file with the certificate, followed by the intermediate certificates (full chain).",
        )
        .required(),
        Key::new("key", FILE, "PEM file with the private key.").required(),
    ],
};

/// `tls` of a pool.
pub(in crate::config) const POOL_TLS: Section = Section {
    name: "pools.NAME.tls",
    about: "TLS 1.2 and 1.3 with backends. Files are read again at a reload.",
    keys: &[
        Key::new(
            "ca",
            FILE,
            "PEM file with the CAs that backend certificates must be signed by, or with these certificates themselves; `system` is the CAs that this machine trusts.",
        )
        .words(&["system"])
        .default("system"),
        Key::new(
            "server_name",
            Kind::Text(Form::new("a host name or an IP address").matching("^[0-9A-Za-z._:-]+$")),
            "The name that backend certificates must be valid for; also sent as SNI.",
        )
        .otherwise("the host of the URL"),
        Key::new("cert", FILE, "PEM file with a client certificate for backends that request one. Requires `key`.")
            .otherwise("no client certificate"),
        Key::new("key", FILE, "PEM file with the private key of `cert`.").otherwise("no client certificate"),
        Key::new(
            "danger_skip_verify",
            Kind::Flag,
            "Skip certificate verification. Anyone on the network path can then impersonate the backend.",
        )
        .default("false"),
    ],
};
