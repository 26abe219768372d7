//! Resolves `tls` of a listener and of a pool. Reads the files, so that an invalid file is an error of the config.

use std::time::SystemTime;

use crate::clock;
use crate::config::reader::{Reader, Written, is_off, written};
use crate::config::reference::{CERTIFICATE, LISTENER_TLS, POOL_TLS};
use crate::config::source::{Diagnostic, Span};
use crate::config::tree::Node;
use crate::telemetry::Timestamp;
use crate::tls::{
    Certificate, CertificateError, Client, ClientAuth, ClientSettings, Files, Overlap, Server, ServerName,
    ServerSettings,
};

/// Reads `tls` of a listener. `None` when it is off, or invalid, which is reported.
pub(super) fn listener(reader: &Reader<'_>, http2: bool) -> Option<Server> {
    let is_none = |node: &Node| written(node).is_some_and(|written| written.text == "none");
    let node = reader
        .node("tls")
        .filter(|node| !is_off(&node.value) && !is_none(node))?;
    let tls = Reader::open(reader.cx, &LISTENER_TLS, node)?;
    tls.require("certificates");
    let items = tls.list("certificates")?;
    if items.is_empty() {
        let message = "`certificates` is empty: TLS requires at least one";
        report(&tls, node.span, message.to_owned());
    }
    let read = |item: &Node| Some((files(&tls, item)?, item.span));
    let (certificates, spans): (Vec<Files>, Vec<Span>) = items.iter().filter_map(read).unzip();
    let client_ca = tls.text("client_ca").filter(|written| written.text != "none");
    let client_auth = match tls.choice("client_auth", None) {
        "optional" => ClientAuth::Optional,
        "required" => ClientAuth::Required,
        _ => ClientAuth::None,
    };
    if client_auth != ClientAuth::None && client_ca.is_none() {
        let message = "`client_auth` requires `client_ca`, a file with the CAs of the clients";
        report(&tls, node.span, message.to_owned());
        return None;
    }
    if certificates.is_empty() {
        return None;
    }
    let settings = ServerSettings {
        certificates,
        client_ca: client_ca.map(|written| reader.cx.path(written.text)),
        client_auth,
        http2,
    };
    match Server::load(settings) {
        Ok(server) => {
            for overlap in server.overlaps() {
                let span = spans.get(overlap.hidden.0).copied().unwrap_or(node.span);
                report_overlap(&tls, span, &overlap);
            }
            Some(server)
        }
        Err(error) => {
            let is_of_clients =
                error.path() == client_ca.map(|written| reader.cx.path(written.text)).as_ref();
            let span = client_ca.filter(|_| is_of_clients).map(|written| written.span);
            let span = span.unwrap_or(node.span);
            report(&tls, span, error.to_string());
            None
        }
    }
}

/// Reads `tls` of a pool. `None` when no backend uses TLS, or when it is invalid, which is reported.
pub(super) fn pool(pool: &Reader<'_>, is_used: bool) -> Option<Client> {
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

/// One item of `certificates`. `None` when a file is invalid or the key does not match, which is reported.
fn files(tls: &Reader<'_>, item: &Node) -> Option<Files> {
    let reader = Reader::open(tls.cx, &CERTIFICATE, item)?;
    reader.require("cert");
    reader.require("key");
    let (cert, key) = (reader.text("cert")?, reader.text("key")?);
    let files = Files {
        cert: tls.cx.path(cert.text),
        key: tls.cx.path(key.text),
    };
    match Certificate::load(&files) {
        Ok(certificate) => {
            report_time(tls, cert.span, &certificate);
            report_nameless(tls, cert.span, &certificate);
            Some(files)
        }
        Err(error) => {
            let span = if error.is_of_key(&files) {
                key.span
            } else {
                cert.span
            };
            let is_one = files.cert == files.key;
            let note = is_one.then(|| "`cert` and `key` name the same file".to_owned());
            tls.cx
                .report(Diagnostic::error(span, error.to_string()).note_if(note));
            None
        }
    }
}

/// Reports a certificate that is expired or not valid yet. This does not keep the process from starting.
fn report_time(reader: &Reader<'_>, span: Span, certificate: &Certificate) {
    let now = clock::wall();
    let path = certificate.files.cert.display();
    if certificate.has_expired(now) {
        let message = format!(
            "the certificate in {path} expired at {}",
            show(certificate.expires)
        );
        reader.cx.report(Diagnostic::overdue(span, message));
    } else if !certificate.has_begun(now) {
        let message = format!(
            "the certificate in {path} is not valid before {}",
            show(certificate.begins)
        );
        reader.cx.report(Diagnostic::warning(span, message));
    }
}

/// Warns of a certificate without names: clients ignore its common name (RFC 9525 §2).
fn report_nameless(reader: &Reader<'_>, span: Span, certificate: &Certificate) {
    if certificate.names.is_empty() {
        let path = certificate.files.cert.display();
        let message =
            format!("the certificate in {path} is not valid for any host: it has no subjectAltName");
        let note = "clients reject it, whatever its common name: create one with `openssl req -addext subjectAltName=DNS:example.com`";
        reader.cx.report(Diagnostic::warning(span, message).note(note));
    }
}

/// Warns of a certificate that is never used for one of its names.
fn report_overlap(reader: &Reader<'_>, span: Span, overlap: &Overlap) {
    let message = format!(
        "the certificate in {} is not used for `{}`: {} comes first and has the same key type ({})",
        overlap.hidden.1.display(),
        overlap.name,
        overlap.used.display(),
        overlap.kind
    );
    let note = "remove one of them, or use different key types: each client then gets a certificate that it can verify";
    reader.cx.report(Diagnostic::warning(span, message).note(note));
}

fn show(time: SystemTime) -> String {
    Timestamp::text(time)
}

fn report(reader: &Reader<'_>, span: Span, message: String) {
    reader.cx.report(Diagnostic::error(span, message));
}
