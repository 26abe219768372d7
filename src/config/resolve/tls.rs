//! `tls` of a listener: the files are read here, so that what is wrong with them is an error of the config.

use crate::clock;
use crate::config::reader::{Reader, is_off, written};
use crate::config::reference::{CERTIFICATE, LISTENER_TLS};
use crate::config::source::{Finding, Place};
use crate::config::tree::Node;
use crate::tls::{Certificate, CertificateError, ClientAuth, Files, Server, ServerSettings};

/// Reads it. `None` when it is off, or of no use, which is reported.
pub(super) fn listener(reader: &Reader<'_>, http2: bool) -> Option<Server> {
    let is_none = |node: &Node| written(node).is_some_and(|written| written.text == "none");
    let node = reader
        .node("tls")
        .filter(|node| !is_off(&node.value) && !is_none(node))?;
    let tls = Reader::open(reader.cx, &LISTENER_TLS, node)?;
    tls.require("certificates");
    let certificates: Vec<Files> = tls
        .list("certificates")?
        .iter()
        .filter_map(|item| files(&tls, item))
        .collect();
    if certificates.is_empty() {
        report(
            &tls,
            node.place,
            "`certificates` has none that can be used".to_owned(),
        );
        return None;
    }
    let client_ca = tls.text("client_ca").filter(|written| written.text != "none");
    let client_auth = match tls.choice("client_auth", None) {
        "optional" => ClientAuth::Optional,
        "required" => ClientAuth::Required,
        _ => ClientAuth::None,
    };
    if client_auth != ClientAuth::None && client_ca.is_none() {
        let message =
            "`client_auth` asks clients for certificates, and no `client_ca` says who may sign them";
        report(&tls, node.place, message.to_owned());
        return None;
    }
    let settings = ServerSettings {
        certificates,
        client_ca: client_ca.map(|written| reader.cx.path(written.text)),
        client_auth,
        http2,
    };
    match Server::load(settings) {
        Ok(server) => Some(server),
        Err(error) => {
            let place = client_ca.map_or(node.place, |written| written.place);
            report(&tls, place, error.to_string());
            None
        }
    }
}

/// One item of `certificates`, if both files are there and belong together.
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
            if certificate.has_expired(clock::wall()) {
                let message = format!("the certificate in {} has expired", files.cert.display());
                tls.cx.report(Finding::warning(cert.place, message));
            }
            Some(files)
        }
        Err(error) => {
            let is_of_the_key = match &error {
                CertificateError::Mismatch { .. } => true,
                CertificateError::Read { path, .. }
                | CertificateError::Empty { path, .. }
                | CertificateError::Unusable { path, .. } => *path == files.key,
            };
            let place = if is_of_the_key { key.place } else { cert.place };
            report(tls, place, error.to_string());
            None
        }
    }
}

fn report(reader: &Reader<'_>, place: Place, message: String) {
    reader.cx.report(Finding::error(place, message));
}
