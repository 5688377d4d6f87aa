//! Request ids, the log and the response counter.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::server::api::error::{ApiError, ErrorFormat, ErrorSummary};
use crate::server::api::notes::ResponseNotes;
use crate::server::inference::request::ResponseStats;
use crate::server::metrics::Metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the middleware needs.
#[derive(Clone)]
pub(in crate::server::http) struct RequestLogger {
    pub(in crate::server::http) metrics: Arc<Metrics>,
    /// Set while the server shuts down.
    pub(in crate::server::http) shutting_down: Arc<AtomicBool>,
}

/// What the log reports about a request. Texts and keys are not in it. (HTTP allows no line breaks
/// in a path.)
struct RequestLog {
    method: Method,
    path: String,
    id: HeaderValue,
    started: Instant,
}

/// Logs the request if it is dropped before it has a response, because the client has disconnected.
struct DisconnectGuard(Option<RequestLog>);

/// Gives every response a request id, writes the bodies of errors in the format of the route, adds
/// the headers about the request's body, logs the response and counts it.
pub(in crate::server::http) async fn log_request(
    State(logger): State<RequestLogger>,
    mut request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", |path| path.as_str()).to_owned();
    let log = RequestLog::new(&request);
    let format = ErrorFormat::of_path(&log.path);
    let id = log.id.clone();
    let notes = Arc::new(ResponseNotes::default());
    request.extensions_mut().insert(notes.clone());
    let mut guard = DisconnectGuard(Some(log));
    let mut response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() && response.extensions().get::<ErrorSummary>().is_none() {
        // axum rejected the request.
        response = ApiError::bad_request("the request could not be read").into_response();
    }
    if let Some(error) = response.extensions().get::<ErrorSummary>() {
        let body = error.body(id.to_str().unwrap_or_default(), format);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = body.into();
    }
    if logger.shutting_down.load(Ordering::Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    notes.write(response.headers_mut());
    if let Some(keys) = notes.unused_keys() {
        tracing::debug!(id = id.to_str().unwrap_or_default(), keys, "keys of the body without effect");
    }
    logger.metrics.responses.with_label_values(&[&route, status.as_str()]).inc();
    if let Some(log) = guard.0.take() {
        log.write(&response);
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

impl RequestLog {
    fn new(request: &Request) -> Self {
        let id = request.headers().get(&REQUEST_ID).filter(|id| is_valid_id(id)).cloned().unwrap_or_else(new_id);
        let path = request.uri().path().to_owned();
        Self { method: request.method().clone(), path, id, started: Instant::now() }
    }

    /// Writes one line.
    fn write(&self, response: &Response) {
        let Self { method, path, .. } = self;
        let id = self.id.to_str().unwrap_or_default();
        let status = response.status().as_u16();
        let total_ms = milliseconds(self.started.elapsed());
        if let Some(stats) = response.extensions().get::<ResponseStats>() {
            let ResponseStats { model, texts, tokens, truncated, cached, times, .. } = stats;
            let tokenize_ms = milliseconds(times.tokenizing);
            let queue_ms = milliseconds(times.queueing);
            let compute_ms = milliseconds(times.computing);
            tracing::info!(
                id, %method, path, status, model, texts, tokens, truncated, cached, tokenize_ms, queue_ms, compute_ms,
                total_ms, "answered"
            );
        } else if let Some(summary) = response.extensions().get::<ErrorSummary>() {
            let (kind, message) = (summary.kind, summary.log_message());
            if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
                tracing::error!(id, %method, path, status, kind, error = message, total_ms, "failed");
            } else {
                tracing::warn!(id, %method, path, status, kind, error = message, total_ms, "rejected");
            }
        } else if method == Method::POST {
            tracing::info!(id, %method, path, status, total_ms, "answered");
        } else {
            tracing::debug!(id, %method, path, status, total_ms, "answered");
        }
    }
}

impl Drop for DisconnectGuard {
    fn drop(&mut self) {
        if let Some(RequestLog { method, path, id, started }) = self.0.take() {
            let id = id.to_str().unwrap_or_default();
            tracing::info!(id, %method, path, total_ms = milliseconds(started.elapsed()), "client disconnected");
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Whether to use a client's id: it is short, and visible ASCII.
fn is_valid_id(id: &HeaderValue) -> bool {
    const MAX_BYTES: usize = 128;
    (1..=MAX_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Creates an id that no other request of this process has.
fn new_id() -> HeaderValue {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static START_MICROS: OnceLock<u64> = OnceLock::new();
    let start = START_MICROS.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_micros() as u64)
    });
    let text = format!("{start:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unnamed"))
}
