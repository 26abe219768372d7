//! `tls` of a listener. Reads the files, so that an invalid file is an error of the config.

use super::certificate_time::report_time;
use crate::config::print::{Item, map, path, word};
use crate::config::reader::{Reader, is_off, written};
use crate::config::source::{Diagnostic, Span};
use crate::config::tree::Node;
use crate::schema::{Form, Key, Kind, Section};
use crate::tls::{Certificate, ClientAuth, Files, Overlap, Server, ServerSettings};

/// The key of a listener.
pub(super) const KEY: Key = Key::new("tls", Kind::Section(&LISTENER_TLS), "TLS with clients.")
    .words(&["off", "none"])
    .default("off");

/// `tls` of a listener.
pub(super) const LISTENER_TLS: Section = Section {
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
pub(super) const CERTIFICATE: Section = Section {
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

const FILE: Kind = Kind::Text(Form::new("a file"));

/// Reads `tls` of a listener. `None` when it is off, or invalid, which is reported.
pub(super) fn read(reader: &Reader<'_>, http2: bool) -> Option<Server> {
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
    if let (Some(written), false) = (client_ca, tls.has("client_auth")) {
        let warning = Diagnostic::warning(
            written.span,
            "`client_ca` has no effect: no client is asked for a certificate",
        );
        let note = "write `client_auth: required`, or `client_auth: optional`";
        reader.cx.report(warning.note(note));
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

/// Prints TLS of a listener; `None` is off.
pub(super) fn show(tls: Option<&Server>) -> Item {
    let Some(tls) = tls.map(Server::settings) else {
        return word("off");
    };
    let certificate = |files: &Files| map([("cert", path(&files.cert)), ("key", path(&files.key))]);
    let auth = match tls.client_auth {
        ClientAuth::None => "none",
        ClientAuth::Optional => "optional",
        ClientAuth::Required => "required",
    };
    map([
        (
            "certificates",
            Item::List(tls.certificates.iter().map(certificate).collect()),
        ),
        (
            "client_ca",
            tls.client_ca.as_deref().map_or_else(|| word("none"), path),
        ),
        ("client_auth", word(auth)),
    ])
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

fn report(reader: &Reader<'_>, span: Span, message: String) {
    reader.cx.report(Diagnostic::error(span, message));
}
