//! What huggingface_hub and huggingface.js ask before and beside a question. On the hub these are answered by other hosts;
//! a client whose `HF_ENDPOINT` is this server finds them here.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::ModelPath;
use crate::server::api::error::ApiError;
use crate::server::api::tei;
use crate::server::http::router::App;
use crate::server::inference::models::ModelState;
use crate::server::reply;

/// The routes.
pub(in crate::server) fn routes() -> Router<Arc<App>> {
    let mut routes = Router::new().route("/api/tasks", get(tasks)).route("/api/agent-harnesses", get(agent_harnesses));
    for id in ["{name}", "{organisation}/{name}"] {
        routes = routes
            .route(&format!("/api/models/{id}"), get(model))
            .route(&format!("/models/{id}/info"), get(info))
            .route(&format!("/models/{id}/health"), get(health))
            .route(&format!("/status/{id}"), get(status));
    }
    routes
}

/// GET `/api/models/{id}`: whether and where a model is served. Clients that ask for one property get all.
async fn model(State(app): State<Arc<App>>, asked: ModelPath) -> Result<Response, ApiError> {
    let id = asked.id().unwrap_or_default();
    known(&app, &id)?;
    // An object by provider, which all versions understand; some do not understand a list.
    let here = json!({ "status": "live", "providerId": id, "task": "sentence-similarity" });
    Ok(reply(&json!({
        "id": id,
        "modelId": id,
        "pipeline_tag": "sentence-similarity",
        "library_name": "sentence-transformers",
        "tags": ["sentence-transformers", "feature-extraction", "sentence-similarity"],
        "inferenceProviderMapping": { "hf-inference": here },
    })))
}

/// GET `/api/tasks`: the model of each task for those who name none: the default one.
async fn tasks(State(app): State<Arc<App>>) -> Response {
    let first: Vec<&str> = app.models.names().take(1).collect();
    // Python reads the one, JavaScript the other.
    let models: Vec<Value> = first.iter().map(|id| json!({ "id": id })).collect();
    let task = json!({ "models": models, "widgetModels": first });
    reply(&json!({ "sentence-similarity": task, "feature-extraction": task }))
}

/// GET `/api/agent-harnesses`: huggingface_hub looks here for programs that it might be run by. We know of none.
async fn agent_harnesses() -> Response {
    reply(&json!({ "standardEnvVars": [], "harnesses": {} }))
}

/// GET `/models/{id}/info`: as `/info`, of one model.
async fn info(State(app): State<Arc<App>>, asked: ModelPath) -> Result<Response, ApiError> {
    tei::info_of(&app, asked.id().as_deref()).await
}

/// GET `/models/{id}/health`: 200 when it is loaded.
async fn health(State(app): State<Arc<App>>, asked: ModelPath) -> Result<StatusCode, ApiError> {
    app.models.get(asked.id().as_deref(), false).await.map(|_| StatusCode::OK)
}

/// GET `/status/{id}`: what `get_model_status` of huggingface_hub up to 0.x asks.
async fn status(State(app): State<Arc<App>>, asked: ModelPath) -> Result<Response, ApiError> {
    let name = known(&app, &asked.id().unwrap_or_default())?;
    let ready = app.models.states().any(|(one, state)| one == name && matches!(state, ModelState::Ready(_)));
    let state = if ready { "Loaded" } else { "Loadable" };
    let framework = "sentence-transformers";
    Ok(reply(&json!({ "loaded": ready, "state": state, "compute_type": "cpu", "framework": framework })))
}

/// The name a model is served under.
fn known<'a>(app: &'a App, id: &str) -> Result<&'a str, ApiError> {
    app.models.known(id).ok_or_else(|| ApiError::no_model(id))
}
