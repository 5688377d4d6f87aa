//! The pages for browsers: a demo of the models, and the documentation of the API.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const EXPLAIN_SCRIPT: &str = include_str!("page/explain.js");
const DOCS: &str = include_str!("page/docs.html");
const DOCS_SCRIPT: &str = include_str!("page/docs.js");

/// The description of the API. It is written by hand, and checked against a running server by
/// `.ci/schemathesis`.
static OPENAPI: LazyLock<String> =
    LazyLock::new(|| include_str!("openapi.json").replace("{{version}}", env!("CARGO_PKG_VERSION")));

/// GET `/`: the page for browsers. Other programs receive a short JSON response, as from the hosted
/// API.
pub(super) async fn page(headers: HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.into_iter().any(|kinds| kinds.contains("text/html")) {
        asset("text/html; charset=utf-8", PAGE)
    } else {
        asset("application/json", r#"{"ok":"ok"}"#)
    }
}

/// GET `/docs`.
pub(super) async fn docs() -> Response {
    asset("text/html; charset=utf-8", DOCS)
}

/// GET `/docs/`: redirects to `/docs`, because the page's links are relative.
pub(super) async fn docs_with_slash() -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "../docs")]).into_response()
}

/// GET `/page.css`.
pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

/// GET `/page.js`.
pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

/// GET `/explain.js`.
pub(super) async fn explain_script() -> Response {
    asset("text/javascript; charset=utf-8", EXPLAIN_SCRIPT)
}

/// GET `/docs.js`.
pub(super) async fn docs_script() -> Response {
    asset("text/javascript; charset=utf-8", DOCS_SCRIPT)
}

/// GET `/openapi.json`.
pub(super) async fn openapi() -> Response {
    asset("application/json", &OPENAPI)
}

/// The response with a file. The headers forbid browsers to load anything from elsewhere, and make
/// them revalidate the file.
fn asset(kind: &'static str, body: &'static str) -> Response {
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
