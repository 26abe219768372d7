//! The heads of one request and its response as the plan of the route changes them: values of headers with their variables.

use std::borrow::Cow;

use evenkeel_balance::rewrite::{Host, Rewrite};

use super::changes::{Changes, HeaderChange, HeaderChanges, RequestChanges};
use super::exchange::Exchange;
use super::variables::RequestVariables;
use crate::backend::Address;
use crate::telemetry::Label;

/// The changes of the head of a request to this backend; `None` for a request whose plan changes nothing of it.
#[inline]
pub(super) fn of_request<'e>(exchange: &'e Exchange<'_>, backend: &Address) -> Option<RequestChanges<'e>> {
    let changes = exchange
        .changes
        .as_ref()
        .filter(|changes| changes.affect_request())?;
    Some(request_changes(exchange, changes, backend))
}

fn request_changes<'e>(
    exchange: &'e Exchange<'_>,
    changes: &'e Changes<'_>,
    backend: &Address,
) -> RequestChanges<'e> {
    let plan = changes.plan;
    let authority = match plan.rewrite.as_ref().map(Rewrite::host) {
        None | Some(Host::Keep) => None,
        Some(Host::Backend) => Some(backend.authority().as_bytes().into()),
        Some(Host::Name(name)) => Some(name.as_bytes().into()),
    };
    let mut list = Vec::new();
    if let Some(prefix) = changes.prefix() {
        list.push(prefix);
    }
    if let Some(mark) = changes.without_mark(exchange.request.identity.is_trusted) {
        list.push(mark);
    }
    if let Some(notes) = &changes.notes {
        list.extend(notes.request_headers.iter().map(HeaderChange::of));
    }
    let edits = plan.request_headers.as_ref();
    RequestChanges {
        path: changes.path.as_deref(),
        authority,
        headers: HeaderChanges::new(edits, list, || {
            RequestVariables::of(exchange, Cow::Borrowed(&backend.url))
        }),
    }
}

/// The changes of the headers of a response; none where the plan and its policies change nothing.
#[inline]
pub(super) fn of_response<'a>(exchange: &Exchange<'a>) -> Option<HeaderChanges<'a>> {
    let changes = exchange
        .changes
        .as_ref()
        .filter(|changes| changes.affect_response())?;
    Some(response_changes(exchange, changes))
}

fn response_changes<'a>(exchange: &Exchange<'a>, changes: &Changes<'a>) -> HeaderChanges<'a> {
    let mut list = Vec::new();
    if let Some(notes) = &changes.notes {
        let policies = notes.response_headers.iter();
        list.extend(policies.map(|edit| HeaderChange::of(edit).into_owned()));
    }
    HeaderChanges::new(changes.plan.response_headers.as_ref(), list, || {
        let backend = exchange.record.backend().map(Label::text);
        RequestVariables::of(exchange, backend.unwrap_or_default())
    })
}
