//! The dashboard: static files that are part of the binary. They contain nothing of this process, so that they need no token: the
//! page asks for it, and for everything that it shows.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use super::super::response::{ErrorResponse, Problem};
use super::body;

/// What the page may load and do: files of this API, and nothing else.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// A file of the page.
struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

/// An asset from the folder `dashboard`.
macro_rules! asset {
    ($name:literal, $kind:literal) => {
        Asset {
            name: $name,
            kind: $kind,
            text: include_str!(concat!("../dashboard/", $name)),
        }
    };
}

/// The page itself.
const INDEX: Asset = asset!("index.html", "text/html; charset=utf-8");

/// What the page loads, below `/assets/`.
const ASSETS: [Asset; 16] = [
    asset!("api.js", "text/javascript; charset=utf-8"),
    asset!("app.js", "text/javascript; charset=utf-8"),
    asset!("chart.js", "text/javascript; charset=utf-8"),
    asset!("config.js", "text/javascript; charset=utf-8"),
    asset!("dialog.js", "text/javascript; charset=utf-8"),
    asset!("dom.js", "text/javascript; charset=utf-8"),
    asset!("events.js", "text/javascript; charset=utf-8"),
    asset!("explain.js", "text/javascript; charset=utf-8"),
    asset!("format.js", "text/javascript; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
    asset!("listeners.js", "text/javascript; charset=utf-8"),
    asset!("overview.js", "text/javascript; charset=utf-8"),
    asset!("pools.js", "text/javascript; charset=utf-8"),
    asset!("state.js", "text/javascript; charset=utf-8"),
    asset!("store.js", "text/javascript; charset=utf-8"),
    asset!("style.css", "text/css; charset=utf-8"),
];

/// `GET /`.
pub(super) async fn index() -> Response {
    serve(&INDEX)
}

/// `GET /assets/{name}`.
pub(super) async fn asset(name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let name = body::path(name)?;
    let found = ASSETS.iter().find(|asset| asset.name == name);
    Ok(found.map_or_else(|| ErrorResponse::NotFound.into_response(), serve))
}

/// The names of the files below `/assets/`.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ASSETS.iter().map(|asset| asset.name)
}

fn serve(asset: &'static Asset) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (headers, asset.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_loads_nothing_from_elsewhere() {
        let all = || ASSETS.iter().chain([&INDEX]);
        let size: usize = all().map(|asset| asset.text.len()).sum();
        assert!(size <= 100 * 1024, "{size} bytes");
        for asset in all() {
            let namespace = asset.text.replace("http://www.w3.org/2000/svg", "");
            let example = namespace.replace("http://example.com/path", "");
            assert!(
                !example.contains("://") && !example.contains("url("),
                "{} names another server",
                asset.name
            );
            for markup in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!asset.text.contains(markup), "{} uses {markup}", asset.name);
            }
        }
    }

    #[test]
    fn every_module_that_the_page_names_is_served() {
        for asset in ASSETS.iter().chain([&INDEX]) {
            let modules = asset.text.split("from \"./").skip(1);
            let files = asset.text.split("\"/assets/").skip(1);
            for name in modules.chain(files).filter_map(|rest| rest.split('"').next()) {
                assert!(ASSETS.iter().any(|asset| asset.name == name), "{name}");
            }
        }
    }
}
