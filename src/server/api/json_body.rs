//! Reads the body of a request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::fields::{JsonObject, describe};
use super::state::ApiState;
use crate::server::inference::blocking::run_inline;

/// Bodies of at most this many bytes are parsed inline: it takes about a millisecond.
const MAX_INLINE_BODY_BYTES: usize = 200_000;

/// Lists and objects of a body in addition to two for each text.
const MAX_OTHER_CONTAINERS: usize = 10_000;

/// The headers of a request and its body, a JSON object. A large body holds a permit for blocking
/// work until it is dropped.
///
/// The content type is ignored, because curl and old JavaScript clients do not send a useful one.
pub(in crate::server) struct JsonBody {
    pub(super) headers: HeaderMap,
    pub(super) root: JsonObject,
    _permit: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Arc<ApiState>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<ApiState>) -> Result<Self, ApiError> {
        let (parts, mut body) = request.into_parts();
        let limit = state.inference.limits().body_timeout;
        let bytes = match tokio::time::timeout(limit, read_body(&parts.headers, &mut body, state)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => {
                discard_body(body).await;
                return Err(error);
            }
            Err(_) => return Err(ApiError::body_timeout(limit)),
        };
        let is_long = bytes.len() > MAX_INLINE_BODY_BYTES;
        let permit = if is_long { Some(state.inference.blocking().acquire().await?) } else { None };
        let max_containers = 2 * state.inference.limits().max_client_batch_size + MAX_OTHER_CONTAINERS;
        let root = run_inline(is_long, || {
            if is_long {
                check_container_count(&bytes, max_containers)?;
            }
            parse_object(&bytes)
        })?;
        Ok(Self { headers: parts.headers, root, _permit: permit })
    }
}

/// Reads all bytes of a body.
async fn read_body(headers: &HeaderMap, body: &mut Body, state: &ApiState) -> Result<Vec<u8>, ApiError> {
    let limit = state.inference.limits().max_body_bytes;
    // A body that announces too many bytes is rejected before it arrives.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limit as u64) {
        return Err(ApiError::payload_too_large(limit));
    }
    let mut bytes = Vec::new();
    let mut permits = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::bad_request(format!("the body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(ApiError::payload_too_large(limit));
        }
        // Permits count the bytes that have arrived, not the announced ones, so slow clients hold
        // few.
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let more = state.body_bytes.acquire_many(count).await.map_err(|error| ApiError::internal(error.to_string()))?;
        match &mut permits {
            None => permits = Some(more),
            Some(permits) => permits.merge(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Reads the rest of a body and discards it. Some clients read no response before they have sent
/// the whole body, and fail if the connection is closed meanwhile.
pub(in crate::server) async fn discard_body(mut body: Body) {
    const MAX_BYTES: usize = 64 << 20;
    const MAX_DURATION: Duration = Duration::from_secs(2);
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, |data| data.len());
            if bytes > MAX_BYTES {
                break;
            }
        }
    };
    // Whatever has not arrived by then is not read.
    drop(tokio::time::timeout(MAX_DURATION, reading).await);
}

/// Rejects a body with too many lists and objects: `{"":0}` takes seven bytes of a body, and a
/// hundred times as many once it is parsed.
fn check_container_count(body: &[u8], limit: usize) -> Result<(), ApiError> {
    let mut count = 0;
    let mut in_string = false;
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            // The next byte is escaped.
            b'\\' if in_string => drop(bytes.next()),
            b'{' | b'[' if !in_string => count += 1,
            _ => {}
        }
    }
    if count <= limit {
        return Ok(());
    }
    Err(ApiError::unprocessable(format!("the body contains {count} JSON lists and objects; the limit is {limit}")))
}

/// Parses a body, which must be a JSON object.
fn parse_object(body: &[u8]) -> Result<JsonObject, ApiError> {
    let text = std::str::from_utf8(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body))
        .map_err(|error| ApiError::bad_request(format!("the body is not UTF-8: {error}")))?;
    match serde_json::from_str(text) {
        Ok(Value::Object(root)) => Ok(root),
        Ok(other) => {
            Err(ApiError::bad_request(format!("the body: expected a JSON object, found {}", describe(&other))))
        }
        Err(error) => Err(ApiError::bad_request(format!("the body is not JSON: {error}"))),
    }
}
