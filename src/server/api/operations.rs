//! Routes for operators: health checks and metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::state::ApiState;
use crate::server::inference::models::ModelState;

/// GET `/ping`: 200 while the process runs.
pub(in crate::server) async fn ping() -> StatusCode {
    StatusCode::OK
}

/// GET `/health`: 200 when all models are loaded.
pub(in crate::server) async fn health(State(state): State<Arc<ApiState>>) -> Result<StatusCode, ApiError> {
    for (name, state) in state.inference.models().states() {
        match state {
            ModelState::Ready(_) => {}
            ModelState::Loading => return Err(ApiError::unavailable(format!("model {name} is loading"))),
            // Only clients with a key may read the reason.
            ModelState::Failed(_) => return Err(ApiError::unavailable(format!("model {name} cannot be served"))),
        }
    }
    Ok(StatusCode::OK)
}

/// GET `/metrics`.
pub(in crate::server) async fn metrics(State(state): State<Arc<ApiState>>) -> Result<Response, ApiError> {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], state.inference.metrics_text()?).into_response())
}
