//! What a request is answered with when it cannot be served.
//!
//! One form for all: `{"error": "one sentence", "error_type": "kind"}` as application/json with its length. The clients of
//! huggingface_hub and huggingface.js show the text of `error` if it is one string, and nothing if it is a list.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::Error;

/// An answer that is not 200.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    /// Seconds until a model that is being loaded will probably be there.
    estimated: Option<f64>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), estimated: None }
    }

    /// 400: the request is not what the route takes.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "validation", message)
    }

    /// 404: nothing is served under that name.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 405: the route exists, the method does not.
    pub(super) fn method(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// 413: the body has too many bytes.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    /// 422: the request is understood and cannot be served.
    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation", message)
    }

    /// 429: too many requests are waiting.
    pub(super) fn overloaded() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", "too many requests are waiting; try again later")
    }

    /// 500: our mistake.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// 503: the model is being loaded.
    pub(super) fn loading(name: &str, estimated: f64) -> Self {
        let message = format!("Model {name} is currently loading");
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "loading", message);
        Self { estimated: Some(estimated), ..error }
    }

    /// 503: the model cannot be loaded, or the server is about to end.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }
}

/// What the library refuses, as the fault of the request.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::TooLong { .. } | Error::Prompt { .. } => Self::unprocessable(error.to_string()),
            Error::Empty(_) => Self::bad(error.to_string()),
            error => Self::internal(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.message, "error_type": self.kind });
        if let Some(estimated) = self.estimated {
            body["estimated_time"] = json!(estimated);
        }
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status, [(header::CONTENT_TYPE, json)], body.to_string()).into_response();
        if let Some(estimated) = self.estimated {
            let seconds = HeaderValue::from(estimated.ceil().max(1.0) as u64);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
