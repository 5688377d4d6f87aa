//! A request's body.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::app::App;
use super::ask::do_work;
use super::error::ApiError;
use super::fields::{Object, kind};

/// What was posted: the headers, and a JSON object.
///
/// The body is read as JSON whatever its content type says, because curl and old JavaScript clients say nothing useful there.
pub(super) struct Posted {
    pub(super) headers: HeaderMap,
    pub(super) root: Object,
}

impl FromRequest<Arc<App>> for Posted {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let limits = &app.settings.limits;
        let (parts, body) = request.into_parts();
        // A body that says it is too long is not waited for.
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > limits.body_bytes as u64) {
            return Err(ApiError::too_large(limits.body_bytes));
        }
        let whole = Limited::new(body, limits.body_bytes).collect();
        let bytes = match tokio::time::timeout(limits.body_time, whole).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(ApiError::too_large(limits.body_bytes)),
            Ok(Err(error)) => return Err(ApiError::bad(format!("the body could not be read: {error}"))),
            Err(_) => return Err(ApiError::too_slow(limits.body_time)),
        };
        // A few hundred kilobytes take a millisecond or so to read.
        let root = do_work(bytes.len() > 200_000, || object(&bytes))?;
        Ok(Self { headers: parts.headers, root })
    }
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
