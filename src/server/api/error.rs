//! What a request is answered with when it cannot be served.
//!
//! One form for all: `{"error": "one sentence", "error_type": "kind"}` as application/json with its length. The clients of
//! huggingface_hub and huggingface.js show the text of `error` if it is one string, and nothing if it is a list. (Only those
//! of OpenAI look for it elsewhere, so their routes have their form.)

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::{Error, error_chain};

/// An answer that is not 200.
#[derive(Debug)]
pub(in crate::server) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    /// Seconds until a model that is being loaded will probably be there.
    estimated: Option<f64>,
    /// Seconds after which it makes sense to ask again.
    retry: Option<u64>,
}

/// What the log and the metrics tell of a refusal.
#[derive(Clone, Debug)]
pub(in crate::server) struct ErrorSummary {
    pub(in crate::server) kind: &'static str,
    pub(in crate::server) message: String,
}

impl ErrorSummary {
    /// The body as OpenAI's clients read it.
    pub(in crate::server) fn for_openai(&self) -> String {
        let Self { kind, message } = self;
        json!({ "error": { "message": message, "type": kind, "param": null, "code": kind } }).to_string()
    }
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), estimated: None, retry: None }
    }

    /// 400: the request is not what the route takes.
    pub(in crate::server) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "validation", message)
    }

    /// 401: no key, or a wrong one.
    pub(in crate::server) fn unauthorized() -> Self {
        let message = "a valid API key is needed: send it as `Authorization: Bearer KEY`";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 404: nothing is served under that name.
    pub(in crate::server) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 404: no such model.
    pub(in crate::server) fn no_model(asked: &str) -> Self {
        Self::not_found(format!("Model {} does not exist", shortened(asked)))
    }

    /// 405: the route exists, the method does not.
    pub(in crate::server) fn method(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// 408: the body did not arrive in time.
    pub(in crate::server) fn too_slow(limit: Duration) -> Self {
        let message = format!("the body did not arrive within {} s", limit.as_secs_f64());
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", message)
    }

    /// 413: the body has too many bytes.
    pub(in crate::server) fn too_large(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    /// 422: the request is understood and cannot be served.
    pub(in crate::server) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation", message)
    }

    /// 429: too many requests are waiting.
    pub(in crate::server) fn overloaded() -> Self {
        let message = "too many requests are waiting; try again later";
        Self { retry: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message) }
    }

    /// 500: our mistake, or a model that cannot be loaded. (Not 503: clients would try again at once and without end.)
    pub(in crate::server) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// 500: a panic.
    pub(in crate::server) fn mistake() -> Self {
        Self::internal("a mistake of ours; the log has more")
    }

    /// 503: the model is being loaded.
    pub(in crate::server) fn loading(name: &str, estimated: f64) -> Self {
        let message = format!("Model {name} is currently loading");
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "loading", message);
        Self { estimated: Some(estimated), retry: Some(estimated.ceil().max(1.0) as u64), ..error }
    }

    /// 503: the answer was not ready in time.
    pub(in crate::server) fn deadline(limit: Duration) -> Self {
        let message = format!("no answer within {} s", limit.as_secs_f64());
        Self { retry: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "deadline", message) }
    }

    /// 503: the server is about to end, or not all models are loaded.
    pub(in crate::server) fn unavailable(message: impl Into<String>) -> Self {
        Self { retry: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message) }
    }
}

/// A name from a request, as it is repeated to whoever sent it.
pub(in crate::server) fn shortened(name: &str) -> String {
    const LONG: usize = 100;
    match name.char_indices().nth(LONG) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}...", &name[..end]),
    }
}

/// What the library refuses, as the fault of the request.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::TooLong { .. } | Error::Prompt { .. } | Error::TokenId { .. } => {
                Self::unprocessable(error.to_string())
            }
            Error::Empty(_) => Self::bad(error.to_string()),
            error => Self::internal(error_chain(&error)),
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
        if let Some(seconds) = self.retry {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            // Without these very words huggingface_hub takes a 401 for a model that does not exist.
            let words = HeaderValue::from_static("Invalid credentials in Authorization header");
            headers.insert(HeaderName::from_static("x-error-message"), words);
        }
        response.extensions_mut().insert(ErrorSummary { kind: self.kind, message: self.message });
        response
    }
}
