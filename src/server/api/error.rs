//! The response to a request that fails.
//!
//! All errors have one format: `{"error": "one sentence", "error_type": "kind"}` as
//! application/json with a content length. The clients of huggingface_hub and huggingface.js show
//! `error` if it is a string, and nothing if it is a list. OpenAI's clients read another format, so
//! its routes use that one.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::response::to_json;
use crate::error::{Error, error_chain};
use crate::server::inference::error::InferenceError;

/// A response whose status is not 200.
#[derive(Debug)]
pub(in crate::server) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    /// Seconds until a loading model will probably be ready.
    estimated_time: Option<f64>,
    /// Seconds after which a retry makes sense.
    retry_after: Option<u64>,
}

/// The format of errors.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    error_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_time: Option<f64>,
}

/// OpenAI's format of errors.
#[derive(Serialize)]
struct OpenAiErrorBody<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

/// What the log and the metrics report about an error.
#[derive(Clone, Debug)]
pub(in crate::server) struct ErrorSummary {
    pub(in crate::server) kind: &'static str,
    pub(in crate::server) message: String,
}

impl ErrorSummary {
    /// The body in OpenAI's format.
    pub(in crate::server) fn openai_body(&self) -> String {
        let error = OpenAiError { message: &self.message, r#type: self.kind, param: None, code: self.kind };
        to_json(&OpenAiErrorBody { error }).unwrap_or_default()
    }
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), estimated_time: None, retry_after: None }
    }

    /// 400: the request does not have the format of the route.
    pub(in crate::server) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "validation", message)
    }

    /// 401: the API key is missing or wrong.
    pub(in crate::server) fn unauthorized() -> Self {
        let message = "a valid API key is required: send it as `Authorization: Bearer KEY`";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 404: the path, the task or the model does not exist.
    pub(in crate::server) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 404: no such model.
    pub(in crate::server) fn unknown_model(id: &str) -> Self {
        Self::not_found(format!("Model {} does not exist", shortened(id)))
    }

    /// 405: the route does not support the method.
    pub(in crate::server) fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// 408: the body did not arrive in time.
    pub(in crate::server) fn body_timeout(limit: Duration) -> Self {
        let message = format!("request body did not arrive within {} s (--body-timeout)", limit.as_secs_f64());
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", message)
    }

    /// 413: the body has too many bytes.
    pub(in crate::server) fn payload_too_large(limit: usize) -> Self {
        let message = format!("request body is larger than {limit} bytes (--payload-limit)");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    /// 422: the request is valid and cannot be served.
    pub(in crate::server) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation", message)
    }

    /// 429: too many requests or tokens are waiting.
    fn overloaded() -> Self {
        Self::retry(StatusCode::TOO_MANY_REQUESTS, "overloaded", "too many requests are waiting; try again later")
    }

    /// 500: a bug, or a model that cannot be loaded. (Not 503: some clients would retry forever
    /// without a pause.)
    pub(in crate::server) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// 500: a panic.
    pub(in crate::server) fn panicked() -> Self {
        Self::internal("internal server error; see the server log")
    }

    /// 503: the model is still loading.
    fn loading(model: &str, remaining: Duration) -> Self {
        let seconds = remaining.as_secs_f64();
        let message = format!("Model {model} is currently loading");
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "loading", message);
        Self { estimated_time: Some(seconds), retry_after: Some(seconds.ceil().max(1.0) as u64), ..error }
    }

    /// 503: the response was not ready in time.
    pub(in crate::server) fn request_timeout(limit: Duration) -> Self {
        let message = format!("no response within {} s (--request-timeout)", limit.as_secs_f64());
        Self::retry(StatusCode::SERVICE_UNAVAILABLE, "request_timeout", message)
    }

    /// 503: the server is shutting down, or not all models are loaded.
    pub(in crate::server) fn unavailable(message: impl Into<String>) -> Self {
        Self::retry(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    fn retry(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(status, kind, message) }
    }
}

/// Limits the length of a name from a request that an error repeats.
pub(in crate::server) fn shortened(name: &str) -> String {
    const MAX_CHARACTERS: usize = 100;
    match name.char_indices().nth(MAX_CHARACTERS) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}...", &name[..end]),
    }
}

impl From<InferenceError> for ApiError {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::UnknownModel(name) => Self::unknown_model(&name),
            InferenceError::Loading { model, remaining } => Self::loading(&model, remaining),
            InferenceError::Rejected(message) => Self::unprocessable(message),
            InferenceError::Overloaded => Self::overloaded(),
            InferenceError::ShuttingDown => Self::unavailable("the server is shutting down"),
            InferenceError::ClientDisconnected => Self::unavailable("the client has disconnected"),
            InferenceError::Library(error) => Self::from(error),
            InferenceError::Panicked => Self::panicked(),
            InferenceError::Failed(message) => Self::internal(message),
        }
    }
}

/// Maps what the library rejects to a client error, and everything else to a server error.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::TooLong { .. } | Error::Prompt { .. } | Error::TokenId { .. } => {
                Self::unprocessable(error.to_string())
            }
            Error::Empty(_) => Self::bad_request(error.to_string()),
            error => Self::internal(error_chain(&error)),
        }
    }
}

/// A response that cannot be serialized is a bug.
impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(format!("the response could not be serialized: {error}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: &self.message, error_type: self.kind, estimated_time: self.estimated_time };
        let body = to_json(&body).unwrap_or_default();
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status, [(header::CONTENT_TYPE, json)], body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            // Without exactly this text huggingface_hub reports a 401 as a model that does not
            // exist.
            let text = HeaderValue::from_static("Invalid credentials in Authorization header");
            headers.insert(HeaderName::from_static("x-error-message"), text);
        }
        response.extensions_mut().insert(ErrorSummary { kind: self.kind, message: self.message });
        response
    }
}
