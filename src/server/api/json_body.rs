//! Reads the body of a request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::body_permits::BodyPermits;
use super::content_encoding::{ContentEncoding, gunzip};
use super::error::ApiError;
use super::fields::{JsonObject, describe};
use super::known_keys::KnownKeys;
use super::notes::ResponseNotes;
use super::state::ApiState;
use super::surrogates::replace_lone_surrogates;
use crate::server::inference::blocking::run_inline;

/// Bodies of at most this many bytes are parsed inline: it takes about a millisecond.
const MAX_INLINE_BODY_BYTES: usize = 200_000;

/// Lists and objects of a body in addition to two for each text.
const MAX_OTHER_CONTAINERS: usize = 10_000;

/// The headers of a request and its body, a JSON object, which may arrive as gzip. A large body
/// holds a permit for blocking work until it is dropped.
///
/// The content type is ignored, because curl and old JavaScript clients do not send a useful one.
pub(in crate::server) struct JsonBody {
    pub(super) headers: HeaderMap,
    pub(super) root: JsonObject,
    notes: Arc<ResponseNotes>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl JsonBody {
    /// Notes for the response which keys the route does not read.
    pub(super) fn report_unused_keys(&self, known: &KnownKeys) {
        known.report_unused(&self.root, &self.notes);
    }
}

impl FromRequest<Arc<ApiState>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<ApiState>) -> Result<Self, ApiError> {
        let (parts, mut body) = request.into_parts();
        let notes = parts.extensions.get::<Arc<ResponseNotes>>().cloned().unwrap_or_default();
        let limit = state.inference.limits().body_timeout;
        // Until the body is parsed, its bytes count towards those of all bodies.
        let mut permits = BodyPermits::new(&state.body_bytes);
        let reading = read_body(&parts.headers, &mut body, state, &mut permits);
        let mut bytes = match tokio::time::timeout(limit, reading).await {
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
            parse_object(&mut bytes, &notes)
        })?;
        Ok(Self { headers: parts.headers, root, notes, _permit: permit })
    }
}

/// Reads all bytes of a body, and unpacks them if they are packed.
async fn read_body(
    headers: &HeaderMap,
    body: &mut Body,
    state: &ApiState,
    permits: &mut BodyPermits<'_>,
) -> Result<Vec<u8>, ApiError> {
    let limit = state.inference.limits().max_body_bytes;
    let encoding = ContentEncoding::of(headers)?;
    // A body that announces too many bytes is rejected before it arrives.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limit as u64) {
        return Err(ApiError::payload_too_large(limit));
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::bad_request(format!("the body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(ApiError::payload_too_large(limit));
        }
        // Permits count the bytes that have arrived, not the announced ones, so slow clients hold
        // few.
        permits.reserve(bytes.len() + data.len()).await?;
        bytes.extend_from_slice(&data);
    }
    match encoding {
        ContentEncoding::Identity => Ok(bytes),
        ContentEncoding::Gzip => gunzip(&bytes, limit, permits).await,
    }
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

/// Parses a body, which must be a JSON object. Half of a surrogate pair in a string is read as
/// U+FFFD, and noted.
fn parse_object(body: &mut [u8], notes: &ResponseNotes) -> Result<JsonObject, ApiError> {
    let mut parsed = parse(body)?;
    if parsed.is_err() {
        let replaced = replace_lone_surrogates(body);
        notes.set_replaced_surrogates(replaced);
        if replaced > 0 {
            parsed = parse(body)?;
        }
    }
    match parsed {
        Ok(Value::Object(root)) => Ok(root),
        Ok(other) => {
            Err(ApiError::bad_request(format!("the body: expected a JSON object, found {}", describe(&other))))
        }
        Err(error) => Err(ApiError::bad_request(format!("the body is not JSON: {error}"))),
    }
}

fn parse(body: &[u8]) -> Result<serde_json::Result<Value>, ApiError> {
    let text = std::str::from_utf8(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body))
        .map_err(|error| ApiError::bad_request(format!("the body is not UTF-8: {error}")))?;
    Ok(serde_json::from_str(text))
}
