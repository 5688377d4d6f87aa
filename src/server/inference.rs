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

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::body::{self, Inputs, Options, Question, Task};
use super::error::ApiError;
use super::models::Served;
use crate::embedder::{OnLong, Ready};
use crate::tokenize::Usage;

/// POST `/`.
pub(super) async fn root(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    answer(&app, None, None, &headers, &body).await
}

/// POST `/models/{id}` and `/models/{id}/pipeline/{task}`; an id may have an organisation before it.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    match path.split_once("/pipeline/") {
        Some((id, task)) => answer(&app, Some(id), Some(task), &headers, &body).await,
        None => answer(&app, Some(&path), None, &headers, &body).await,
    }
}

/// POST `/pipeline/{task}/{id}`.
pub(super) async fn pipeline(
    State(app): State<Arc<App>>,
    Path((task, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    answer(&app, Some(&id), Some(&task), &headers, &body).await
}

async fn answer(
    app: &App,
    id: Option<&str>,
    task: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let task = task.map(|name| {
        let known = "sentence-similarity and feature-extraction";
        Task::named(name).ok_or_else(|| ApiError::not_found(format!("The task `{name}` is not served; {known} are")))
    });
    let Question { inputs, options } = body::parse(body, task.transpose()?)?;
    let wait = match flag(headers, "x-wait-for-model")? {
        Some(wait) => wait,
        None => options.wait_for_model.unwrap_or(false),
    };
    let served = app.models.get(id, wait).await?;
    let texts = match &inputs {
        Inputs::Similarity { source, sentences } => std::iter::once(source).chain(sentences).cloned().collect(),
        Inputs::Text(text) => vec![text.clone()],
        Inputs::Texts(texts) => texts.clone(),
    };
    app.limits.check_texts(texts.len())?;
    let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
    let ready = make_ready(&served, texts, &options).await?;
    let usage: Vec<Usage> = ready.iter().map(Ready::usage).collect();
    let mut vectors = served.queue.embed(ready).await?;
    let json = tokio::task::block_in_place(|| {
        // The reference compares vectors as the model makes them; `normalize` is for those who ask for vectors.
        let similarity = matches!(inputs, Inputs::Similarity { .. });
        let length_one = if similarity { None } else { options.normalize };
        let width = served.embedder.width();
        vectors.chunks_exact_mut(width).for_each(|vector| served.embedder.finish(vector, length_one));
        let rows: Vec<&[f32]> = vectors.chunks_exact(width).collect();
        match inputs {
            Inputs::Similarity { .. } => {
                let score = |row: &&[f32]| served.embedder.score(rows[0], row);
                let scores = rows[1..].iter().map(score).collect::<crate::Result<Vec<f32>>>()?;
                numbers(&scores)
            }
            Inputs::Text(_) => numbers(rows[0]),
            Inputs::Texts(_) => {
                Ok(format!("[{}]", rows.iter().map(|row| numbers(row)).collect::<Result<Vec<_>, _>>()?.join(",")))
            }
        }
    })?;
    let mut response = ([(header::CONTENT_TYPE, "application/json")], json).into_response();
    let tokens: usize = usage.iter().map(|usage| usage.used).sum();
    let cut = usage.iter().filter(|usage| usage.truncated()).count();
    let told = [
        ("x-compute-type", "cpu".to_owned()),
        ("x-compute-time", format!("{:.3}", begun.elapsed().as_secs_f64())),
        ("x-compute-characters", characters.to_string()),
        ("x-compute-tokens", tokens.to_string()),
        ("x-truncated-texts", cut.to_string()),
    ];
    for (name, value) in told {
        let value = HeaderValue::from_str(&value).map_err(|error| ApiError::internal(error.to_string()))?;
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok(response)
}

/// Tokenizes texts, off the threads that serve connections: a long one takes seconds.
async fn make_ready(served: &Arc<Served>, texts: Vec<String>, options: &Options) -> Result<Vec<Ready>, ApiError> {
    let embedder = served.embedder.clone();
    let prompt = options.prompt_name.clone();
    let on_long = options.truncate.map(|truncate| if truncate { OnLong::Truncate } else { OnLong::Error });
    let work = move || {
        let ready = |(i, text): (usize, &String)| embedder.ready(i, text, prompt.as_deref(), on_long);
        texts.iter().enumerate().map(ready).collect::<crate::Result<Vec<_>>>()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(ready) => Ok(ready?),
        Err(error) => Err(ApiError::internal(error.to_string())),
    }
}

/// Numbers as a JSON array, each in the fewest digits that give it back.
fn numbers(numbers: &[f32]) -> Result<String, ApiError> {
    // JSON has no word for what is not finite.
    if numbers.iter().any(|x| !x.is_finite()) {
        return Err(ApiError::internal("the answer is not finite"));
    }
    serde_json::to_string(numbers).map_err(|error| ApiError::internal(error.to_string()))
}

/// A header that is true or false, in the spellings that clients have used.
fn flag(headers: &HeaderMap, name: &str) -> Result<Option<bool>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str().unwrap_or_default().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(Some(true)),
        "false" | "0" => Ok(Some(false)),
        _ => Err(ApiError::bad(format!("header {name}: expected true or false, found {value:?}"))),
    }
}
