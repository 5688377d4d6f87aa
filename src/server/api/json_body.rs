//! A request's body.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use crate::server::api::error::ApiError;
use crate::server::api::fields::{Object, kind};
use crate::server::http::discard;
use crate::server::http::router::App;
use crate::server::inference::request::do_work;

/// What was posted: the headers, and a JSON object. A large one takes a place for heavy work until it is dropped.
///
/// The body is read as JSON whatever its content type says, because curl and old JavaScript clients say nothing useful there.
pub(in crate::server) struct JsonBody {
    pub(in crate::server) headers: HeaderMap,
    pub(in crate::server) root: Object,
    _place: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        /// Bytes that are read in a millisecond or so.
        const SHORT: usize = 200_000;
        let (parts, mut body) = request.into_parts();
        let limit = app.settings.limits.body_time;
        let bytes = match tokio::time::timeout(limit, whole(&parts.headers, &mut body, app)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => {
                discard(body).await;
                return Err(error);
            }
            Err(_) => return Err(ApiError::too_slow(limit)),
        };
        let long = bytes.len() > SHORT;
        let place = if long { Some(app.heavy.place().await?) } else { None };
        let root = do_work(long, || object(&bytes))?;
        Ok(Self { headers: parts.headers, root, _place: place })
    }
}

/// All bytes of a body.
async fn whole(headers: &HeaderMap, body: &mut Body, app: &App) -> Result<Vec<u8>, ApiError> {
    let limit = app.settings.limits.body_bytes;
    // A body that says it is too long is not waited for.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limit as u64) {
        return Err(ApiError::too_large(limit));
    }
    let mut bytes = Vec::new();
    let mut permits = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::bad(format!("the body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(ApiError::too_large(limit));
        }
        // What has come is counted, not what has been announced: those who send slowly take little.
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let more = app.body_bytes.acquire_many(count).await.map_err(|error| ApiError::internal(error.to_string()))?;
        match &mut permits {
            None => permits = Some(more),
            Some(permits) => permits.merge(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The JSON object that a body is.
fn object(body: &[u8]) -> Result<Object, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| ApiError::bad(format!("the body is not UTF-8: {error}")))?;
    match serde_json::from_str(text) {
        Ok(Value::Object(root)) => Ok(root),
        Ok(other) => Err(ApiError::bad(format!("the body: expected a JSON object, found {}", kind(&other)))),
        Err(error) => Err(ApiError::bad(format!("the body is not JSON: {error}"))),
    }
}
