//! What a browser sees: a page to try the models with, and the documentation of the API.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const DOCS: &str = include_str!("page/docs.html");
const DOCS_SCRIPT: &str = include_str!("page/docs.js");

/// The description of the API. It is written by hand; what it says is checked against the running server.
static OPENAPI: LazyLock<String> =
    LazyLock::new(|| include_str!("openapi.json").replace("{{version}}", env!("CARGO_PKG_VERSION")));

/// GET `/`: the page, for those who read HTML. Programs that look whether somebody is there get a word, as from the hosted API.
pub(in crate::server) async fn page(headers: HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    match accepted.into_iter().any(|kinds| kinds.contains("text/html")) {
        true => text("text/html; charset=utf-8", PAGE),
        false => text("application/json", r#"{"ok":"ok"}"#),
    }
}

/// GET `/docs`.
pub(in crate::server) async fn docs() -> Response {
    text("text/html; charset=utf-8", DOCS)
}

/// GET `/page.css`.
pub(in crate::server) async fn style() -> Response {
    text("text/css; charset=utf-8", STYLE)
}

/// GET `/page.js`.
pub(in crate::server) async fn script() -> Response {
    text("text/javascript; charset=utf-8", SCRIPT)
}

/// GET `/docs.js`.
pub(in crate::server) async fn docs_script() -> Response {
    text("text/javascript; charset=utf-8", DOCS_SCRIPT)
}

/// GET `/openapi.json`.
pub(in crate::server) async fn openapi() -> Response {
    text("application/json", &OPENAPI)
}

/// A file of the site. Browsers are told to load nothing from anywhere else, and to ask again after a new version.
fn text(kind: &'static str, body: &'static str) -> Response {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
        img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
    ];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), body).into_response()
}
