//! How a request wants to be handled: headers, or the body's options of old clients.

use axum::http::HeaderMap;

use super::error::ApiError;
use super::fields::Fields;
use crate::server::inference::request::RequestOptions;

/// Reads the options. A header has precedence over the body.
///
/// # Errors
/// 400 if a value is neither true nor false.
pub(super) fn request_options(headers: &HeaderMap, body: &Fields<'_>) -> Result<RequestOptions, ApiError> {
    let either = |header, key| Ok::<_, ApiError>(header_flag(headers, header)?.or(body.bool(key)?));
    Ok(RequestOptions {
        wait_for_model: either("x-wait-for-model", "wait_for_model")?.unwrap_or(false),
        use_cache: either("x-use-cache", "use_cache")?.unwrap_or(true),
    })
}

/// Reads a boolean header in the spellings that clients have used.
fn header_flag(headers: &HeaderMap, name: &str) -> Result<Option<bool>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str().unwrap_or_default().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(Some(true)),
        "false" | "0" => Ok(Some(false)),
        _ => Err(ApiError::bad_request(format!("header {name}: expected true or false, found {value:?}"))),
    }
}
