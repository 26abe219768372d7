//! Reports certificates that are expired or not valid yet.

use std::time::SystemTime;

use crate::clock;
use crate::config::reader::Reader;
use crate::config::source::{Diagnostic, Span};
use crate::telemetry::Timestamp;
use crate::tls::Certificate;

/// Reports a certificate that is expired or not valid yet. This does not keep the process from starting.
pub(super) fn report_time(reader: &Reader<'_>, span: Span, certificate: &Certificate) {
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

fn show(time: SystemTime) -> String {
    Timestamp::text(time)
}
