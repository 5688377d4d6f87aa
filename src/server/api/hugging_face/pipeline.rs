//! The POST routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;

use super::request::{ParsedRequest, Shape, Task, option_fields};
use crate::model_folder::ModelKind;
use crate::server::api::error::ApiError;
use crate::server::api::json_body::JsonBody;
use crate::server::api::model_path::{ID_PATTERNS, ModelPath};
use crate::server::api::options::request_options;
use crate::server::api::response::inference_response;
use crate::server::api::scores::{ranked_labels, ranked_texts};
use crate::server::api::state::ApiState;
use crate::server::api::{predict, rerank, sparse};
use crate::server::inference::request::{InferenceRequest, InferenceResponse};

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
    let id = path.id();
    let named = path.task().map(Task::from_name).transpose()?;
    if named.is_none() && rerank::has_documents(&body.root) {
        return rerank::rerank_documents(&state, body, id).await;
    }
    let task = match named.or_else(|| Task::of_body(&body.root)) {
        Some(task) => task,
        // Without such a model the body is checked first, and then `infer` fails.
        None => match state.inference.models().kind(id.as_deref()).unwrap_or(ModelKind::Embedder) {
            // text-embeddings-inference answers `/` by the kind of its model.
            ModelKind::SparseEncoder if id.is_none() => return sparse::embed_sparse(State(state), body).await,
            kind => Task::of_kind(kind),
        },
    };
    body.report_unused_keys(task.known_keys());
    let ParsedRequest { request, shape } = ParsedRequest::parse(&body.root, task)?;
    let options = request_options(&body.headers, &option_fields(&body.root)?)?;
    // The body may be large, and computing takes a while.
    drop(body);
    let response = state.inference.infer(id.as_deref(), request.clone(), options).await?;
    write(&response, &request, shape)
}

/// POST `/invocations`: what SageMaker's clients send to a container. A cross-encoder answers like
/// text-embeddings-inference, which writes one input's labels without a list around them.
pub(in crate::server) async fn invoke(
    state: State<Arc<ApiState>>,
    path: ModelPath,
    body: JsonBody,
) -> Result<Response, ApiError> {
    if body.root.contains_key("text_pairs") {
        return predict::score_pairs(&state, body).await;
    }
    let is_cross_encoder = state.inference.models().kind(None).is_ok_and(|kind| kind == ModelKind::CrossEncoder);
    if is_cross_encoder && Task::of_body(&body.root).is_none() && !rerank::has_documents(&body.root) {
        return predict::predict(state, body).await;
    }
    infer(state, path, body).await
}

/// Writes the response of a task.
fn write(response: &InferenceResponse, request: &InferenceRequest, shape: Shape) -> Result<Response, ApiError> {
    let rows = &response.result.rows;
    Ok(match shape {
        Shape::Row => inference_response(response, &rows[0])?,
        Shape::Rows => inference_response(response, rows)?,
        Shape::Ranking { return_text } => {
            let job = if let InferenceRequest::Scoring(job) = request { Some(job) } else { None };
            inference_response(response, &ranked_texts(rows, job.filter(|_| return_text)))?
        }
        Shape::Labels { count } => {
            let labels = response.labels()?;
            let lists: Vec<_> = rows.iter().map(|row| ranked_labels(labels, row, count)).collect();
            inference_response(response, &lists)?
        }
    })
}
