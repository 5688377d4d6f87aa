//! The routes of text-embeddings-inference. All take a `model` besides, where several are served.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::app::App;
use super::ask::{self, Ask, Manner, Want, array, list};
use super::error::ApiError;
use super::fields::{Fields, expected, ids, inputs, missing, strings};
use super::models::Served;
use super::request::Posted;
use super::{hub, reply};
use crate::embedder::Input;

/// POST `/similarity`: the score of each sentence.
pub(super) async fn similarity(State(app): State<Arc<App>>, posted: Posted) -> Result<Response, ApiError> {
    let root = &posted.root;
    let (fields, options) = (Fields::of([Some(root)]), Fields::of_body(root, &["parameters"])?);
    let object = |key: &str| root.get(key).and_then(Value::as_object);
    let (source, sentences) = hub::similarity(&Fields::of([object("inputs"), object("parameters"), Some(root)]))?;
    let reading = options.reading()?;
    let inputs = std::iter::once(source).chain(sentences).map(Input::Text).collect();
    let manner = Manner::of(&posted.headers, &fields)?;
    let answer = ask::answer(&app, fields.text("model")?, Ask { inputs, want: Want::Scores, reading }, manner).await?;
    Ok(answer.respond(|answer| array(&answer.computed.rows[0])))
}

/// POST `/embed`: a vector for each text, of length 1 unless `normalize` is false.
pub(super) async fn embed(State(app): State<Arc<App>>, posted: Posted) -> Result<Response, ApiError> {
    let fields = Fields::of([Some(&posted.root)]);
    let length_one = Some(fields.flag("normalize")?.unwrap_or(true));
    let want = Want::Vectors { length_one, dimensions: fields.size("dimensions")? };
    let answer = vectors(&app, &posted, &fields, want).await?;
    Ok(answer.respond(|answer| list(answer.computed.rows.iter().map(|row| array(row)))))
}

/// POST `/embed_all`: a vector for each token of each text.
pub(super) async fn embed_all(State(app): State<Arc<App>>, posted: Posted) -> Result<Response, ApiError> {
    let fields = Fields::of([Some(&posted.root)]);
    let answer = vectors(&app, &posted, &fields, Want::Tokens).await?;
    let width = answer.served.embedder.width();
    let text = |row: &Vec<f32>| list(row.chunks_exact(width).map(array));
    Ok(answer.respond(|answer| list(answer.computed.rows.iter().map(text))))
}

async fn vectors(app: &App, posted: &Posted, fields: &Fields<'_>, want: Want) -> Result<ask::Answer, ApiError> {
    let ask = Ask { inputs: inputs("inputs", fields.find("inputs"))?, want, reading: fields.reading()? };
    ask::answer(app, fields.text("model")?, ask, Manner::of(&posted.headers, fields)?).await
}

/// POST `/tokenize`: the tokens of each text, all of them, however many the model reads. Places are in characters.
pub(super) async fn tokenize(State(app): State<Arc<App>>, posted: Posted) -> Result<Response, ApiError> {
    let fields = Fields::of([Some(&posted.root)]);
    let texts = match fields.find("inputs") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => strings("inputs", list)?,
        Some(other) => return Err(expected("inputs", "a string or an array of strings", other)),
        None => return Err(missing("inputs", "a string or an array of strings")),
    };
    let special = fields.flag("add_special_tokens")?.unwrap_or(true);
    let prompt = fields.text("prompt_name")?.map(str::to_owned);
    app.settings.limits.check_texts(texts.len())?;
    let served = served(&app, &posted, &fields).await?;
    let tokens = move |text: &String| -> crate::Result<Value> {
        let token = |piece: crate::tokenize::Piece| {
            let (start, stop) = piece.place.unzip();
            json!({ "id": piece.id, "text": piece.text, "special": start.is_none(), "start": start, "stop": stop })
        };
        let pieces = served.embedder.pieces(text, prompt.as_deref(), special)?;
        Ok(pieces.into_iter().map(token).collect())
    };
    off_thread(move || texts.iter().map(tokens).collect::<crate::Result<Value>>()).await
}

/// POST `/decode`: the texts that ids stand for.
pub(super) async fn decode(State(app): State<Arc<App>>, posted: Posted) -> Result<Response, ApiError> {
    let fields = Fields::of([Some(&posted.root)]);
    let texts = match fields.find("ids") {
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_array) => {
            let text = |(i, value): (usize, &Value)| match value {
                Value::Array(list) => ids(&format!("ids[{i}]"), list),
                other => Err(expected(&format!("ids[{i}]"), "an array of token ids", other)),
            };
            list.iter().enumerate().map(text).collect::<Result<Vec<_>, _>>()?
        }
        Some(Value::Array(list)) => vec![ids("ids", list)?],
        Some(other) => return Err(expected("ids", "an array of token ids, or of such arrays", other)),
        None => return Err(missing("ids", "an array of token ids, or of such arrays")),
    };
    let skip = fields.flag("skip_special_tokens")?.unwrap_or(true);
    app.settings.limits.check_texts(texts.len())?;
    let served = served(&app, &posted, &fields).await?;
    let vocabulary = served.info.blueprint.vocabulary;
    if let Some(id) = texts.iter().flatten().find(|&&id| id as usize >= vocabulary) {
        return Err(ApiError::unprocessable(format!("token id {id}: the vocabulary has {vocabulary} entries")));
    }
    off_thread(move || texts.iter().map(|ids| Ok(json!(served.embedder.decode(ids, skip)?))).collect()).await
}

async fn served(app: &App, posted: &Posted, fields: &Fields<'_>) -> Result<Arc<Served>, ApiError> {
    let manner = Manner::of(&posted.headers, fields)?;
    app.models.get(fields.text("model")?, manner.wait).await
}

/// Tokenizing, off the threads that serve connections: a long text takes seconds.
async fn off_thread(work: impl FnOnce() -> crate::Result<Value> + Send + 'static) -> Result<Response, ApiError> {
    let done = tokio::task::spawn_blocking(move || work().map(|value| reply(&value))).await;
    Ok(done.map_err(|error| ApiError::internal(error.to_string()))??)
}

/// GET `/info`: the default model and the limits.
pub(super) async fn info(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    info_of(&app, None).await
}

/// What `/info` tells of a model.
pub(super) async fn info_of(app: &App, model: Option<&str>) -> Result<Response, ApiError> {
    let served = app.models.get(model, false).await?;
    let (info, limits) = (&served.info, &app.settings.limits);
    let pooling = info.modules.first().map_or("", |module| module.trim_end_matches(" pooling"));
    Ok(reply(&json!({
        "model_id": served.name,
        "model_sha": null,
        "model_dtype": "float32",
        "served_model_name": served.name,
        "model_type": { "embedding": { "pooling": pooling } },
        "max_concurrent_requests": limits.requests,
        "max_input_length": info.max_length,
        "max_batch_tokens": served.embedder.pass_tokens(),
        "max_batch_requests": null,
        "max_client_batch_size": limits.texts,
        "auto_truncate": served.embedder.truncates(),
        "tokenization_workers": info.threads,
        "version": env!("CARGO_PKG_VERSION"),
        "sha": null,
        "docker_label": null,
    })))
}
