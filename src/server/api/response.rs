//! JSON responses.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::server::inference::blocking::run_inline;
use crate::server::inference::request::InferenceResponse;
use crate::server::inference::service::MAX_INLINE_FLOATS;

/// Serializes a value. Each float has the fewest digits that give it back.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string(value)
}

/// A response with a JSON body.
///
/// # Errors
/// If the value cannot be serialized, which only a map with keys that are not strings would cause.
pub(super) fn json_response<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Response> {
    to_json(value).map(json_text_response)
}

/// A response whose body is JSON text already.
pub(super) fn json_text_response(text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// A response with a JSON body and the headers that describe how it was computed.
///
/// # Errors
/// If the body cannot be serialized.
pub(super) fn inference_response<T: Serialize + ?Sized>(
    response: &InferenceResponse,
    body: &T,
) -> serde_json::Result<Response> {
    let floats: usize = response.result.rows.iter().map(Vec::len).sum();
    let mut http = run_inline(floats > MAX_INLINE_FLOATS, || json_response(body))?;
    let stats = &response.stats;
    let mut insert = |name, value: HeaderValue| {
        http.headers_mut().insert(HeaderName::from_static(name), value);
    };
    insert("x-compute-type", HeaderValue::from_static(if stats.cached { "cache" } else { "cpu" }));
    // Digits and a point are always a valid header value.
    if let Ok(seconds) = HeaderValue::from_str(&format!("{:.3}", response.started.elapsed().as_secs_f64())) {
        insert("x-compute-time", seconds);
    }
    insert("x-compute-characters", stats.characters.into());
    insert("x-compute-tokens", stats.tokens.into());
    insert("x-truncated-texts", stats.truncated.into());
    http.extensions_mut().insert(response.stats.clone());
    Ok(http)
}
