//! The response to a request that fails.
//!
//! All errors have one format: `{"error": "one sentence", "error_type": "kind"}` as
//! application/json with a content length. The clients of huggingface_hub and huggingface.js show
//! `error` if it is a string, and nothing if it is a list. OpenAI's clients read another format, so
//! its routes use that one. The clients of rerank services read `message` or `detail`, which their
//! routes add.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::response::to_json;
use crate::error::{CrossEncoderError, Error, SparseEncoderError};
use crate::server::inference::error::{Failure, InferenceError, ServedKind, UnknownTokenId, WrongKind};

/// A response whose status is not 200.
#[derive(Debug)]
pub(in crate::server) struct ApiError {
    status: StatusCode,
    /// In a box, because results carry it.
    summary: Box<ErrorSummary>,
    /// Seconds after which a retry makes sense.
    retry_after: Option<u64>,
}

/// What the body of an error, the log and the metrics report.
#[derive(Clone, Debug)]
pub(in crate::server) struct ErrorSummary {
    pub(in crate::server) kind: &'static str,
    /// The message for the client, without paths of the server.
    message: String,
    /// The message for the log, if it says more.
    log_message: Option<String>,
    /// OpenAI's code for the error, if it has one.
    openai_code: Option<&'static str>,
    /// Seconds until a loading model will probably be ready.
    estimated_time: Option<f64>,
    /// Whether the log has the cause, so the client needs the request id.
    is_internal: bool,
}

/// The format of errors.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    error_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_time: Option<f64>,
    /// For Cohere's clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    /// For Jina's clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// Which format a route's errors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum ErrorFormat {
    Standard,
    OpenAi,
    Rerank,
}

impl ErrorFormat {
    /// Returns the format of a path.
    pub(in crate::server) fn of_path(path: &str) -> Self {
        match path {
            "/rerank" | "/v1/rerank" | "/v2/rerank" => Self::Rerank,
            "/embeddings" => Self::OpenAi,
            _ if path.starts_with("/v1/") => Self::OpenAi,
            _ => Self::Standard,
        }
    }
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

impl ErrorSummary {
    /// The message for the log.
    pub(in crate::server) fn log_message(&self) -> &str {
        self.log_message.as_deref().unwrap_or(&self.message)
    }

    /// The body, in the format of the route.
    pub(in crate::server) fn body(&self, request_id: &str, format: ErrorFormat) -> String {
        let reference =
            if self.is_internal { format!("; the server's log has request {request_id}") } else { String::new() };
        let message = &format!("{}{reference}", self.message);
        let body = if format == ErrorFormat::OpenAi {
            let code = self.openai_code.unwrap_or(self.kind);
            to_json(&OpenAiErrorBody { error: OpenAiError { message, r#type: self.kind, param: None, code } })
        } else {
            let copy = (format == ErrorFormat::Rerank).then_some(message.as_str());
            to_json(&ErrorBody {
                error: message,
                error_type: self.kind,
                estimated_time: self.estimated_time,
                message: copy,
                detail: copy,
            })
        };
        body.unwrap_or_default()
    }
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let summary = Box::new(ErrorSummary {
            kind,
            message: message.into(),
            log_message: None,
            openai_code: None,
            estimated_time: None,
            is_internal: status == StatusCode::INTERNAL_SERVER_ERROR,
        });
        Self { status, summary, retry_after: None }
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
    fn unknown_model(id: &str, served: &[String]) -> Self {
        const MAX_NAMES: usize = 5;
        let mut names: Vec<String> = served.iter().take(MAX_NAMES).map(|name| shortened(name)).collect();
        if served.len() > MAX_NAMES {
            names.push(format!("{} more", served.len() - MAX_NAMES));
        }
        let mut error = Self::not_found(format!(
            "Model {} does not exist; this server has {} (its options --alias and --any-model-name allow other names)",
            shortened(id),
            names.join(", ")
        ));
        error.summary.openai_code = Some("model_not_found");
        error
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

    /// 413: the body has too many bytes once it is unpacked.
    pub(in crate::server) fn unpacked_too_large(limit: usize) -> Self {
        let message = format!("request body unpacks to more than {limit} bytes (--payload-limit)");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    /// 415: the body has an encoding that the server cannot decode.
    pub(in crate::server) fn unsupported_encoding(names: &str) -> Self {
        let message = format!("content-encoding `{names}` is not supported: expected gzip, or none");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message)
    }

    /// 422: the request is valid and cannot be served.
    pub(in crate::server) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation", message)
    }

    /// 422: the model is of another kind.
    fn wrong_kind(wrong: &WrongKind) -> Self {
        Self::unprocessable(describe_wrong_kind(wrong))
    }

    /// Turns an error into the one that text-embeddings-inference sends: for a model of another
    /// kind, 424 and its text, followed by the route to use.
    pub(in crate::server) fn of_tei(error: InferenceError) -> Self {
        let InferenceError::WrongKind(wrong) = error else { return Self::from(error) };
        let text = match wrong.needed {
            ServedKind::Embedder => "Model is not an embedding model",
            ServedKind::Reranker => "model is not a re-ranker model",
            ServedKind::Classifier => "Model is not a classifier model",
            ServedKind::SparseEncoder => "Model is not an embedding model with SPLADE pooling",
            ServedKind::LateInteraction => "Model is not a late-interaction model",
        };
        let message = format!("Backend error: {text}; {}", describe_wrong_kind(&wrong));
        Self::new(StatusCode::FAILED_DEPENDENCY, "backend", message)
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
        Self::internal("internal server error")
    }

    /// 503: the model is still loading.
    fn loading(model: &str, remaining: Duration) -> Self {
        let seconds = remaining.as_secs_f64();
        let message = format!("Model {model} is currently loading");
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "loading", message);
        error.summary.estimated_time = Some(seconds);
        error.retry_after = Some(seconds.ceil().max(1.0) as u64);
        error
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

    /// 422 or 500, with a longer message in the log.
    fn with_log(mut self, log: String) -> Self {
        self.summary.log_message = Some(log);
        self
    }

    fn retry(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(status, kind, message) }
    }
}

/// Says what a model of the wrong kind is, and the route to use.
fn describe_wrong_kind(WrongKind { model, kind, needed }: &WrongKind) -> String {
    let needed = match needed {
        ServedKind::Embedder => "an embedding model",
        ServedKind::Reranker => "a reranker, which has one label",
        ServedKind::Classifier => "a reranker or classifier",
        ServedKind::SparseEncoder => "a sparse encoder",
        ServedKind::LateInteraction => "a late-interaction model",
    };
    let (found, routes) = match kind {
        ServedKind::Embedder => ("an embedding model", "/similarity or /embed"),
        ServedKind::Reranker => ("a reranker", "/rerank"),
        ServedKind::Classifier => ("a classifier with several labels", "/predict"),
        ServedKind::SparseEncoder => ("a sparse encoder", "/embed_sparse"),
        ServedKind::LateInteraction => ("a late-interaction model", "/rerank, /similarity or /embed_all"),
    };
    format!("model {model}: expected {needed}, found {found}; use {routes}")
}

/// Limits the length of a name from a request that an error repeats.
pub(in crate::server) fn shortened(name: &str) -> String {
    const MAX_CHARACTERS: usize = 100;
    match name.char_indices().nth(MAX_CHARACTERS) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}...", &name[..end]),
    }
}

/// 422: a token id of the request is not in the vocabulary. `name` is the field with the ids; it is
/// flat if it is the list of one text's ids.
pub(in crate::server) fn unknown_token_id(name: &str, is_flat: bool, unknown: UnknownTokenId) -> ApiError {
    let UnknownTokenId { text, position, id, vocabulary } = unknown;
    let text = if is_flat { String::new() } else { format!("[{text}]") };
    ApiError::unprocessable(format!("`{name}{text}[{position}]`: token id {id}: expected an id below {vocabulary}"))
}

impl From<InferenceError> for ApiError {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::UnknownModel { name, served } => Self::unknown_model(&name, &served),
            InferenceError::Loading { model, remaining } => Self::loading(&model, remaining),
            InferenceError::WrongKind(wrong) => Self::wrong_kind(&wrong),
            InferenceError::Rejected(message) => Self::unprocessable(message),
            InferenceError::UnknownTokenId(unknown) => unknown_token_id("inputs", false, unknown),
            InferenceError::Overloaded => Self::overloaded(),
            InferenceError::ShuttingDown => Self::unavailable("the server is shutting down"),
            InferenceError::ClientDisconnected => Self::unavailable("the client has disconnected"),
            InferenceError::Library(error) => Self::from(error),
            InferenceError::Panicked => Self::panicked(),
            InferenceError::Failed(Failure { client, log }) => Self::internal(client).with_log(log),
        }
    }
}

/// Maps what the library rejects to a client error, and everything else to a server error.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::TooLong { .. } | Error::Prompt { .. } | Error::TokenId { .. } => Self::unprocessable,
            Error::CrossEncoder(ref error) if matches!(**error, CrossEncoderError::PairTooLong { .. }) => {
                Self::unprocessable
            }
            Error::SparseEncoder(ref error) if matches!(**error, SparseEncoderError::NoRoute { .. }) => {
                Self::unprocessable
            }
            Error::Empty(_) => Self::bad_request,
            _ => Self::internal,
        };
        let Failure { client, log } = Failure::of_library(error, None);
        status(client).with_log(log)
    }
}

/// A response that cannot be serialized is a bug.
impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(format!("the response could not be serialized: {error}"))
    }
}

impl IntoResponse for ApiError {
    /// Makes the response without its body, which the outermost middleware writes: it knows the
    /// request id and the format.
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status, [(header::CONTENT_TYPE, json)]).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            // Without exactly this text huggingface_hub reports a 401 as a model that does not
            // exist.
            let text = HeaderValue::from_static("Invalid credentials in Authorization header");
            headers.insert(HeaderName::from_static("x-error-message"), text);
        }
        response.extensions_mut().insert(*self.summary);
        response
    }
}
