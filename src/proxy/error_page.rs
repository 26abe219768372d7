//! Pages for people in place of error responses: of local ones, and of those of backends where the policy says so. The status and
//! what else the headers say stay; only what is about the body is replaced.

use std::borrow::Cow;

use evenkeel_balance::policy::{Edit, ErrorPages, Page};

use super::exchange::Exchange;
use super::page_fetch::{self, Loaded};
use crate::coding::is_digest;
use crate::head::FieldName;

/// Headers that are about the body, beside digests: they are not true of another one.
const ABOUT_BODY: [&[u8]; 9] = [
    b"accept-ranges",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-range",
    b"content-type",
    b"etag",
    b"last-modified",
];

/// The page that the client gets in place of a response with this status, if the route has one. `is_local` tells our own
/// responses from those of backends. From here on the response depends on what the client accepts, and says so.
#[inline]
pub(super) fn find<'a>(exchange: &mut Exchange<'a>, status: u16, is_local: bool) -> Option<&'a Page> {
    let pages = exchange.changes.as_ref()?.plan.error_pages()?;
    find_in(pages, exchange, status, is_local)
}

fn find_in<'a>(
    pages: &'a ErrorPages,
    exchange: &mut Exchange<'a>,
    status: u16,
    is_local: bool,
) -> Option<&'a Page> {
    let page = pages.page_for(status, is_local)?;
    if exchange.request.is_grpc {
        return None;
    }
    if let Some(changes) = &mut exchange.changes {
        let vary = Edit::Add("Vary".into(), b"Accept"[..].into());
        let worker = exchange.request.worker();
        let notes = changes.notes.get_or_insert_with(|| worker.lend_notes());
        if !notes.response_headers.contains(&vary) {
            notes.response_headers.push(vary);
        }
    }
    let is_wanted = ErrorPages::is_for(exchange.request.head.values(FieldName::Accept));
    is_wanted.then_some(page)
}

/// Loads a page. `None` if it is not there: then the client gets what it would get without pages.
pub(super) async fn load(exchange: &mut Exchange<'_>, page: &Page) -> Option<Loaded> {
    match page {
        Page::File(file) => Some(Loaded {
            media_type: Cow::Borrowed(file.media_type()),
            body: file.body()?,
        }),
        Page::Pool { pool, path } => page_fetch::fetch(exchange, pool, path).await,
    }
}

/// Whether a header is about the body, or one that a local response sets itself.
pub(super) fn is_about_body(name: &[u8]) -> bool {
    let mut names = ABOUT_BODY.iter();
    names.any(|known| name.eq_ignore_ascii_case(known))
        || is_digest(name)
        || name.eq_ignore_ascii_case(b"date")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_about_the_body_go_and_others_stay() {
        for name in [
            "ETag",
            "content-type",
            "Content-Encoding",
            "Last-Modified",
            "Content-Digest",
            "Digest",
        ] {
            assert!(is_about_body(name.as_bytes()), "{name}");
        }
        for name in [
            "WWW-Authenticate",
            "Set-Cookie",
            "Cache-Control",
            "Retry-After",
            "Vary",
            "Allow",
            "Location",
        ] {
            assert!(!is_about_body(name.as_bytes()), "{name}");
        }
    }
}
