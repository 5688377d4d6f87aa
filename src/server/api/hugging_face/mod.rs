//! The Hugging Face Inference API: one question by POST, on any of its paths.
//!
//! | path | what it asks |
//! |---|---|
//! | `/` | the default model; the task by the shape of the body |
//! | `/models/{id}` | a model; the task by the shape of the body |
//! | `/models/{id}/pipeline/{task}` | a model and a task |
//! | `/pipeline/{task}/{id}` | the same, as older clients say it |
//!
//! each also below `/hf-inference`, where newer clients look for it.

pub(in crate::server) mod metadata;
mod request;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::post;

use crate::server::api::error::ApiError;
use crate::server::api::json_body::JsonBody;
use crate::server::http::router::App;
use crate::server::inference::request::{self as ask, RequestOptions, array, list};
pub(in crate::server) use request::similarity;
use request::{ParsedRequest, Task};

/// What a path says of the question.
pub(in crate::server) struct ModelPath(HashMap<String, String>);

impl FromRequestParts<Arc<App>> for ModelPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match Option::<Path<HashMap<String, String>>>::from_request_parts(parts, app).await {
            Ok(found) => Ok(Self(found.map(|Path(found)| found).unwrap_or_default())),
            Err(error) => Err(ApiError::bad(format!("the path could not be read: {error}"))),
        }
    }
}

impl ModelPath {
    /// The model's id, if the path has one.
    pub(in crate::server) fn id(&self) -> Option<String> {
        let name = self.0.get("name")?;
        Some(self.0.get("organisation").map_or_else(|| name.clone(), |organisation| format!("{organisation}/{name}")))
    }
}

/// The routes, to be found at the root and below `/hf-inference`.
pub(in crate::server) fn routes() -> Router<Arc<App>> {
    let mut routes = Router::new();
    for id in ["{name}", "{organisation}/{name}"] {
        routes = routes
            .route(&format!("/models/{id}"), post(question))
            // As an address that a client is given may end.
            .route(&format!("/models/{id}/"), post(question))
            .route(&format!("/models/{id}/pipeline/{{task}}"), post(question))
            .route(&format!("/pipeline/{{task}}/{id}"), post(question));
    }
    routes
}

/// POST, on any of the paths.
pub(in crate::server) async fn question(
    State(app): State<Arc<App>>,
    asked: ModelPath,
    posted: JsonBody,
) -> Result<Response, ApiError> {
    answer(&app, asked.id().as_deref(), asked.0.get("task").map(String::as_str), posted).await
}

async fn answer(app: &App, id: Option<&str>, task: Option<&str>, posted: JsonBody) -> Result<Response, ApiError> {
    let ParsedRequest { ask, flat } = request::parse(&posted.root, task.map(Task::named).transpose()?)?;
    let manner = RequestOptions::of(&posted.headers, &request::manner_fields(&posted.root)?)?;
    // It may be large, and the answer a while.
    drop(posted);
    let answer = ask::answer(app, id, ask, manner).await?;
    Ok(answer.respond(|answer| {
        let rows = &answer.computed.rows;
        if flat { array(&rows[0]) } else { list(rows.iter().map(|row| array(row))) }
    }))
}
