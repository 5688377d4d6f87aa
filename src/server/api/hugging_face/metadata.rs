//! What huggingface_hub and huggingface.js request in addition to inference. On the hub other hosts
//! answer these requests; a client whose `HF_ENDPOINT` is this server sends them here.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use crate::model_folder::ModelKind;
use crate::server::api::error::ApiError;
use crate::server::api::fields::JsonObject;
use crate::server::api::model_path::{ID_PATTERNS, ModelPath};
use crate::server::api::response::json_response;
use crate::server::api::state::ApiState;
use crate::server::api::tei;
use crate::server::inference::error::ServedKind;
use crate::server::inference::models::ModelState;

/// The routes.
pub(in crate::server) fn routes() -> Router<Arc<ApiState>> {
    let mut routes = Router::new().route("/api/tasks", get(tasks)).route("/api/agent-harnesses", get(agent_harnesses));
    for id in ID_PATTERNS {
        routes = routes
            .route(&format!("/api/models/{id}"), get(model))
            .route(&format!("/models/{id}/info"), get(info))
            .route(&format!("/models/{id}/health"), get(health))
            .route(&format!("/status/{id}"), get(status));
    }
    routes
}

/// GET `/api/models/{id}`: whether and where a model is served. A client that requests one property
/// receives all.
async fn model(State(state): State<Arc<ApiState>>, path: ModelPath) -> Result<Response, ApiError> {
    let id = path.id().unwrap_or_default();
    let name = resolve(&state, &id)?;
    let tasks = tasks_of(&state, name)?;
    let tags: Vec<&str> = std::iter::once("sentence-transformers").chain(tasks.iter().copied()).collect();
    let task = tasks.first();
    // All client versions read an object by provider; some do not read a list.
    let provider = |task| json!({ "hf-inference": { "status": "live", "providerId": id, "task": task } });
    Ok(json_response(&json!({
        "id": id,
        "modelId": id,
        "pipeline_tag": task,
        "library_name": "sentence-transformers",
        "tags": tags,
        "inferenceProviderMapping": task.map_or_else(|| json!({}), provider),
    }))?)
}

/// GET `/api/tasks`: for each task, the first model that does it, for clients that name none.
async fn tasks(State(state): State<Arc<ApiState>>) -> Result<Response, ApiError> {
    let mut tasks = JsonObject::new();
    for name in state.inference.models().names() {
        for task in tasks_of(&state, name)? {
            // Python reads `widgetModels`, JavaScript reads `models`.
            tasks.entry(*task).or_insert_with(|| json!({ "models": [{ "id": name }], "widgetModels": [name] }));
        }
    }
    Ok(json_response(&tasks)?)
}

/// Returns the tasks of a model, the main one first. A cross-encoder that is loading counts as a
/// reranker. The Inference API has no task for sparse vectors.
fn tasks_of(state: &ApiState, name: &str) -> Result<&'static [&'static str], ApiError> {
    let models = state.inference.models();
    match models.kind(Some(name))? {
        ModelKind::Embedder => return Ok(&["sentence-similarity", "feature-extraction"]),
        ModelKind::SparseEncoder => return Ok(&[]),
        ModelKind::MultiVector => return Ok(&["sentence-similarity", "text-ranking"]),
        ModelKind::CrossEncoder => {}
    }
    let is_classifier = |(other, model): (&str, ModelState)| {
        other == name && model.loaded().is_some_and(|model| model.kind() == ServedKind::Classifier)
    };
    let is_classifier = models.states().any(is_classifier);
    Ok(if is_classifier { &["text-classification"] } else { &["text-ranking", "text-classification"] })
}

/// GET `/api/agent-harnesses`: huggingface_hub requests a list of programs that it might run under.
/// This list is empty.
async fn agent_harnesses() -> Result<Response, ApiError> {
    Ok(json_response(&json!({ "standardEnvVars": [], "harnesses": {} }))?)
}

/// GET `/models/{id}/info`: like `/info`, for one model.
async fn info(State(state): State<Arc<ApiState>>, path: ModelPath) -> Result<Response, ApiError> {
    tei::model_info(&state, path.id().as_deref()).await
}

/// GET `/models/{id}/health`: 200 when the model is loaded.
async fn health(State(state): State<Arc<ApiState>>, path: ModelPath) -> Result<StatusCode, ApiError> {
    state.inference.models().get(path.id().as_deref(), false).await?;
    Ok(StatusCode::OK)
}

/// GET `/status/{id}`: for `get_model_status` of huggingface_hub up to 0.x.
async fn status(State(state): State<Arc<ApiState>>, path: ModelPath) -> Result<Response, ApiError> {
    let name = resolve(&state, &path.id().unwrap_or_default())?;
    let is_ready =
        state.inference.models().states().any(|(one, state)| one == name && matches!(state, ModelState::Ready(_)));
    Ok(json_response(&json!({
        "loaded": is_ready,
        "state": if is_ready { "Loaded" } else { "Loadable" },
        "compute_type": "cpu",
        "framework": "sentence-transformers",
    }))?)
}

/// Returns the name of the model that an id refers to.
fn resolve<'a>(state: &'a ApiState, id: &str) -> Result<&'a str, ApiError> {
    Ok(state.inference.models().resolve_name(id)?)
}
