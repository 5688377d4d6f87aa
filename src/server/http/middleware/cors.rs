//! Cross-origin requests from browsers.

use std::time::Duration;

use axum::http::{HeaderName, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use crate::server::settings::AllowedOrigins;

/// The response headers that pages of other origins may read.
const EXPOSED_HEADERS: [&str; 9] = [
    "x-request-id",
    "x-compute-type",
    "x-compute-time",
    "x-compute-characters",
    "x-compute-tokens",
    "x-truncated-texts",
    "x-unused-keys",
    "x-replaced-surrogates",
    "retry-after",
];

/// The layer that allows pages of other origins to call the API. Returns `None` if no other origin
/// is allowed.
pub(in crate::server::http) fn cors_layer(origins: &AllowedOrigins) -> Option<CorsLayer> {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        // Clients send custom headers. Allowing all is safe: the only one that grants access
        // is the key, which a page must know.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED_HEADERS.map(HeaderName::from_static))
        .max_age(Duration::from_secs(3600));
    match origins {
        AllowedOrigins::None => None,
        AllowedOrigins::Any => Some(layer.allow_origin(Any)),
        AllowedOrigins::List(origins) => Some(layer.allow_origin(AllowOrigin::list(origins.iter().cloned()))),
    }
}
