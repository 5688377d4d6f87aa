//! The routes, and what every answer has in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::Limits;
use super::error::ApiError;
use super::inference;
use super::models::Models;

/// What the handlers share.
pub(super) struct App {
    pub(super) models: Models,
    pub(super) limits: Limits,
}

/// All routes.
pub(super) fn router(app: Arc<App>) -> Router {
    let inference = || {
        Router::new()
            .route("/", post(inference::root))
            .route("/models/{*path}", post(inference::model))
            .route("/pipeline/{task}/{*id}", post(inference::pipeline))
            .method_not_allowed_fallback(not_this_method)
    };
    Router::new()
        .merge(inference())
        .nest("/hf-inference", inference())
        .route("/health", get(healthy))
        .route("/ping", get(healthy))
        .fallback(no_route)
        .method_not_allowed_fallback(not_this_method)
        .layer(DefaultBodyLimit::max(app.limits.body_bytes))
        .layer(middleware::from_fn_with_state(app.clone(), finish))
        .with_state(app)
}

/// GET `/health`, `/ping`: 200 while the process serves.
async fn healthy() -> StatusCode {
    StatusCode::OK
}

async fn no_route(request: Request) -> ApiError {
    ApiError::not_found(format!("nothing is served at {}", request.uri().path()))
}

async fn not_this_method(request: Request) -> ApiError {
    ApiError::method(format!("{} does not answer {}", request.uri().path(), request.method()))
}

/// Gives every answer its request id, and the framework's own refusals the one form of ours.
async fn finish(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    const ID: HeaderName = HeaderName::from_static("x-request-id");
    let id = request.headers().get(&ID).cloned().unwrap_or_else(new_id);
    let response = next.run(request).await;
    let ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let mut response = match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE if !ours => ApiError::too_large(app.limits.body_bytes).into_response(),
        status if status.is_client_error() && !ours => ApiError::bad("the request could not be read").into_response(),
        _ => response,
    };
    response.headers_mut().insert(ID, id);
    response
}

/// An id that no other request of this process has.
fn new_id() -> HeaderValue {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let start = START.get_or_init(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_micros() as u64)
    });
    let text = format!("{start:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unnamed"))
}
