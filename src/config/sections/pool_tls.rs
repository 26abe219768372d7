//! `tls` of a pool. Reads the files, so that an invalid file is an error of the config.

use super::certificate_time::report_time;
use crate::config::print::{Item, map, path, text, word};
use crate::config::reader::{Reader, Written};
use crate::config::source::{Diagnostic, Span};
use crate::schema::{Form, Key, Kind, Section};
use crate::tls::{CertificateError, Client, ClientSettings, Files, ServerName};

/// The key of a pool.
pub(super) const KEY: Key = Key::new(
    "tls",
    Kind::Section(&POOL_TLS),
    "TLS with backends whose URL starts with `https`.",
)
.words(&["off", "none"])
.otherwise("off, or the defaults of its keys if a backend has an `https` URL");

/// `tls` of a pool.
pub(super) const POOL_TLS: Section = Section {
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

const FILE: Kind = Kind::Text(Form::new("a file"));

/// Reads `tls` of a pool. `None` when no backend uses TLS, or when it is invalid, which is reported.
pub(super) fn read(pool: &Reader<'_>, is_used: bool) -> Option<Client> {
    let span = pool.key_span("tls");
    let is_off = pool.is_off("tls");
    if !is_used && (span.is_none() || is_off) {
        return None;
    }
    if is_off && let Some(span) = span {
        report(
            pool,
            span,
            "`tls: off` cannot be used with a backend that has an `https` URL".to_owned(),
        );
        return None;
    }
    let tls = pool.section("tls", &POOL_TLS);
    let ca = tls.text("ca").filter(|written| written.text != "system");
    let server_name = tls.text("server_name");
    if let Some(written) = server_name.filter(|written| ServerName::try_from(written.text).is_err()) {
        tls.refuse("server_name", written, None);
    }
    let (cert, key) = (tls.text("cert"), tls.text("key"));
    if let (Some(one), None) | (None, Some(one)) = (cert, key) {
        report(&tls, one.span, "`cert` and `key` must be set together".to_owned());
    }
    let own = cert.zip(key).map(|(cert, key)| Files {
        cert: pool.cx.path(cert.text),
        key: pool.cx.path(key.text),
    });
    let settings = ClientSettings {
        ca: ca.map(|written| pool.cx.path(written.text)),
        server_name: server_name.map(|written| written.text.to_owned()),
        certificate: own.clone(),
        danger_skip_verify: tls.flag("danger_skip_verify", None),
    };
    if settings.danger_skip_verify
        && let Some(span) = span
    {
        let message =
            "certificate verification is disabled: anyone on the network path can impersonate these backends";
        tls.cx.report(Diagnostic::warning(span, message));
    }
    match Client::load(settings, &tls.cx.authorities) {
        Ok(client) => {
            if let (Some(certificate), Some(cert)) = (&client.certificate, cert) {
                report_time(&tls, cert.span, certificate);
            }
            Some(client)
        }
        Err(error) => {
            let is_of_key = own.as_ref().is_some_and(|files| error.is_of_key(files));
            let written = error.path().and_then(|path| {
                let is_it = |written: &Written<'_>| pool.cx.path(written.text) == *path;
                let order = if is_of_key {
                    [key, ca, cert]
                } else {
                    [ca, cert, key]
                };
                order.into_iter().flatten().find(is_it)
            });
            let diagnostic = match written.map(|written| written.span).or(span) {
                Some(span) => Diagnostic::error(span, error.to_string()),
                None => Diagnostic::whole(error.to_string()),
            };
            let is_bare = matches!(error, CertificateError::NoAuthorities);
            let diagnostic = diagnostic
                .note_if(is_bare.then(|| "set `tls.ca` to a file with the CAs of the backends".to_owned()));
            tls.cx.report(diagnostic);
            None
        }
    }
}

/// Prints TLS of a pool; `None` is off.
pub(super) fn show(tls: Option<&Client>) -> Item {
    let Some(settings) = tls.map(|tls| &tls.settings) else {
        return word("off");
    };
    let ca = settings.ca.as_deref().map_or_else(|| word("system"), path);
    let mut keys = vec![("ca", ca)];
    if let Some(name) = &settings.server_name {
        keys.push(("server_name", text(name)));
    }
    if let Some(files) = &settings.certificate {
        keys.extend([("cert", path(&files.cert)), ("key", path(&files.key))]);
    }
    keys.push(("danger_skip_verify", word(settings.danger_skip_verify)));
    map(keys)
}

fn report(reader: &Reader<'_>, span: Span, message: String) {
    reader.cx.report(Diagnostic::error(span, message));
}
