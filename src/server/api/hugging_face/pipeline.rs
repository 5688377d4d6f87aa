//! The POST routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;

use super::request::{ParsedRequest, Task, option_fields};
use crate::server::api::error::ApiError;
use crate::server::api::json_body::JsonBody;
use crate::server::api::model_path::{ID_PATTERNS, ModelPath};
use crate::server::api::options::request_options;
use crate::server::api::response::inference_response;
use crate::server::api::state::ApiState;

/// The routes that exist at the root and below `/hf-inference`.
pub(in crate::server) fn routes() -> Router<Arc<ApiState>> {
    let mut routes = Router::new();
    for id in ID_PATTERNS {
        routes = routes
            .route(&format!("/models/{id}"), post(infer))
            .route(&format!("/models/{id}/pipeline/{{task}}"), post(infer))
            .route(&format!("/pipeline/{{task}}/{id}"), post(infer));
    }
    routes
}

/// POST, on any of the paths.
pub(in crate::server) async fn infer(
    State(state): State<Arc<ApiState>>,
    path: ModelPath,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let task = path.task().map(Task::from_name).transpose()?;
    let task = task.unwrap_or_else(|| Task::of_body(&body.root));
    body.report_unused_keys(task.known_keys());
    let ParsedRequest { request, is_single } = ParsedRequest::parse(&body.root, task)?;
    let options = request_options(&body.headers, &option_fields(&body.root)?)?;
    // The body may be large, and computing takes a while.
    drop(body);
    let response = state.inference.infer(path.id().as_deref(), request, options).await?;
    let rows = &response.result.rows;
    let http = if is_single { inference_response(&response, &rows[0]) } else { inference_response(&response, rows) };
    Ok(http?)
}
