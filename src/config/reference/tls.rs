//! The keys about TLS.

use super::{Form, Key, Kind, Section};

const FILE: Kind = Kind::Text(Form {
    what: "a file",
    pattern: None,
    or_number: false,
});

/// `tls` of a listener.
pub(in crate::config) const LISTENER_TLS: Section = Section {
    name: "listeners[].tls",
    about: "TLS 1.2 and 1.3 towards clients. Files are read again when they change and at a reload; what is wrong with them then is logged, and the ones before stay in force.",
    keys: &[
        Key::new(
            "certificates",
            Kind::List(&Kind::Section(&CERTIFICATE)),
            "At least one. A client gets the one for the name that it asks for, by exact name before wildcard; the first when there is none. Of several for one name, with keys of different kinds (ECDSA, RSA), it gets one that it can verify.",
        )
        .required(),
        Key::new(
            "client_ca",
            FILE,
            "PEM file with the authorities that may have signed the certificates of clients.",
        )
        .words(&["none"])
        .default("none"),
        Key::new(
            "client_auth",
            Kind::Choice(&["none", "optional", "required"]),
            "Whether clients are asked for a certificate. Who it was given to stands in the log; backends get it as `Client-Cert` (RFC 9440).",
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
            "PEM file with the certificate, and behind it those between it and the root.",
        )
        .required(),
        Key::new("key", FILE, "PEM file with the key.").required(),
    ],
};

/// `tls` of a pool.
pub(in crate::config) const POOL_TLS: Section = Section {
    name: "pools.NAME.tls",
    about: "TLS 1.2 and 1.3 towards backends. Files are read again at a reload.",
    keys: &[
        Key::new(
            "ca",
            FILE,
            "PEM file with the authorities that may have signed the certificates of backends, or with these certificates themselves; `system` is those that this machine trusts.",
        )
        .words(&["system"])
        .default("system"),
        Key::new(
            "server_name",
            Kind::Text(Form {
                what: "a host name or an IP address",
                pattern: Some("^[0-9A-Za-z._:-]+$"),
                or_number: false,
            }),
            "The name that certificates of backends have to be for, and that they are asked for.",
        )
        .otherwise("the host of the URL"),
        Key::new("cert", FILE, "PEM file with a certificate to show to backends that ask for one; `key` goes with it.")
            .otherwise("none is shown"),
        Key::new("key", FILE, "PEM file with its key.").otherwise("none is shown"),
        Key::new(
            "danger_skip_verify",
            Kind::Flag,
            "Whether backends are believed without a look at their certificate. Whoever is on the way can then read and change everything.",
        )
        .default("false"),
    ],
};
