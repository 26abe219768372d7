//! The values of variables in headers, for one request.

use std::borrow::Cow;

use evenkeel_balance::policy::Notes;
use evenkeel_balance::request::Request as View;
use evenkeel_balance::router::PathCaptures;
use evenkeel_balance::template::{Fact, Variables};

use super::exchange::Exchange;

/// What variables are read from.
pub(super) struct RequestVariables<'a> {
    view: View<'a>,
    notes: Option<&'a Notes>,
    client_port: Option<u16>,
    request_id: &'a [u8],
    trace_id: Option<[u8; 32]>,
    route: Cow<'a, str>,
    pool: Cow<'a, str>,
    backend: Cow<'a, str>,
    certificate_subject: Cow<'a, str>,
    tls: (&'a [u8], &'a [u8]),
    captures: Option<PathCaptures<'a>>,
}

impl<'a> RequestVariables<'a> {
    /// Those of a request; `backend` is the one of this attempt.
    pub(super) fn of(exchange: &'a Exchange<'_>, backend: Cow<'a, str>) -> Self {
        let request = &exchange.request;
        let peer = &request.client.peer;
        let view = request.view(request.worker().wall());
        Self {
            notes: exchange
                .changes
                .as_ref()
                .and_then(|changes| changes.notes.as_deref()),
            client_port: peer.ip_address().map(|address| address.port()),
            request_id: request.identity.request_id(request.head),
            trace_id: exchange
                .trace
                .as_deref()
                .map(|trace| trace.context.trace_id.hex()),
            route: exchange
                .record
                .route
                .map(|route| route.label.text())
                .unwrap_or_default(),
            pool: exchange
                .record
                .pool
                .map(|pool| pool.label.text())
                .unwrap_or_default(),
            backend,
            certificate_subject: peer
                .certificate
                .as_ref()
                .map(|certificate| certificate.subject.text())
                .unwrap_or_default(),
            tls: peer.tls_facts(),
            captures: exchange
                .changes
                .as_ref()
                .and_then(|changes| request.snapshot.router.captures(changes.route, &view)),
            view,
        }
    }
}

impl Variables for RequestVariables<'_> {
    fn request(&self) -> View<'_> {
        self.view
    }

    fn notes(&self) -> Option<&Notes> {
        self.notes
    }

    fn client_port(&self) -> Option<u16> {
        self.client_port
    }

    fn fact(&self, fact: Fact) -> &[u8] {
        match fact {
            Fact::RequestId => self.request_id,
            Fact::TraceId => self.trace_id.as_ref().map_or(b"", |id| id),
            Fact::Route => self.route.as_bytes(),
            Fact::Pool => self.pool.as_bytes(),
            Fact::Backend => self.backend.as_bytes(),
            Fact::TlsVersion => self.tls.0,
            Fact::TlsSni => self.tls.1,
            Fact::ClientCertSubject => self.certificate_subject.as_bytes(),
        }
    }

    fn path_group(&self, name: &str) -> &[u8] {
        let found = self.captures.as_ref().and_then(|captures| captures.get(name));
        found.unwrap_or_default()
    }
}
