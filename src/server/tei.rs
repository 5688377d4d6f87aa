//! The routes of text-embeddings-inference. All take a `model` besides, where several are served.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::app::App;
use super::ask::{self, Ask, Manner, Want, array, list};
use super::error::ApiError;
use super::fields::{Fields, expected, ids, inputs, missing, strings};
use super::heavy::Left;
use super::request::Posted;
use super::{hub, json_text, reply};
use crate::embedder::TextInput;
use crate::tokenizer::TokenSpan;

/// POST `/similarity`: the score of each sentence.
pub(super) async fn similarity(State(app): State<Arc<App>>, posted: Posted) -> Result<Response, ApiError> {
    let root = &posted.root;
    let (fields, options) = (Fields::of([Some(root)]), Fields::of_body(root, &["parameters"])?);
    let object = |key: &str| root.get(key).and_then(Value::as_object);
    let (source, sentences) = hub::similarity(&Fields::of([object("inputs"), object("parameters"), Some(root)]))?;
    let reading = options.reading()?;
    let inputs = std::iter::once(source).chain(sentences).map(TextInput::Text).collect();
    let (manner, model) = (Manner::of(&posted.headers, &fields)?, fields.text("model")?.map(str::to_owned));
    drop(posted);
    let answer = ask::answer(&app, model.as_deref(), Ask { inputs, want: Want::Scores, reading }, manner).await?;
    Ok(answer.respond(|answer| array(&answer.computed.rows[0])))
}

/// POST `/embed`: a vector for each text, of length 1 unless `normalize` is false.
pub(super) async fn embed(State(app): State<Arc<App>>, posted: Posted) -> Result<Response, ApiError> {
    let fields = Fields::of([Some(&posted.root)]);
    let length_one = Some(fields.flag("normalize")?.unwrap_or(true));
    let want = Want::Vectors { length_one, dimensions: fields.size("dimensions")? };
    let answer = vectors(&app, posted, want).await?;
    Ok(answer.respond(|answer| list(answer.computed.rows.iter().map(|row| array(row)))))
}

/// POST `/embed_all`: a vector for each token of each text.
pub(super) async fn embed_all(State(app): State<Arc<App>>, posted: Posted) -> Result<Response, ApiError> {
    let answer = vectors(&app, posted, Want::Tokens).await?;
    let width = answer.served.info.architecture.hidden_size;
    let text = |row: &Vec<f32>| list(row.chunks_exact(width).map(array));
    Ok(answer.respond(|answer| list(answer.computed.rows.iter().map(text))))
}

async fn vectors(app: &App, posted: Posted, want: Want) -> Result<ask::Answer, ApiError> {
    let fields = Fields::of([Some(&posted.root)]);
    let ask = Ask { inputs: inputs("inputs", fields.find("inputs"))?, want, reading: fields.reading()? };
    let (manner, model) = (Manner::of(&posted.headers, &fields)?, fields.text("model")?.map(str::to_owned));
    drop(posted);
    ask::answer(app, model.as_deref(), ask, manner).await
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
    let (manner, model) = (Manner::of(&posted.headers, &fields)?, fields.text("model")?.map(str::to_owned));
    drop(posted);
    let served = app.models.get(model.as_deref(), manner.wait).await?;
    let _place = app.admit()?;
    let most = app.settings.limits.numbers / NUMBERS_FOR_A_TOKEN;
    let work = move |left: &Left| {
        let mut left_over = most;
        let mut lists = Vec::new();
        for text in &texts {
            left.check()?;
            let pieces = served.embedder.pieces(text, prompt.as_deref(), special)?;
            left_over = left_over.checked_sub(pieces.len()).ok_or_else(|| {
                ApiError::unprocessable(format!("the texts have more than {most} tokens, the most of one answer"))
            })?;
            lists.push(list(pieces.iter().map(token)));
        }
        Ok(list(lists.into_iter()))
    };
    Ok(json_text(app.heavy.run(work).await?))
}

/// A token takes about as many bytes in an answer as so many numbers.
const NUMBERS_FOR_A_TOKEN: usize = 10;

/// A token as JSON.
fn token(piece: &TokenSpan) -> String {
    let number = |n: Option<usize>| n.map_or_else(|| "null".to_owned(), |n| n.to_string());
    let (start, stop) = piece.place.unzip();
    let (id, text, special) = (piece.id, Value::from(piece.text.as_str()), start.is_none());
    let (start, stop) = (number(start), number(stop));
    format!(r#"{{"id":{id},"text":{text},"special":{special},"start":{start},"stop":{stop}}}"#)
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
    let (manner, model) = (Manner::of(&posted.headers, &fields)?, fields.text("model")?.map(str::to_owned));
    drop(posted);
    let served = app.models.get(model.as_deref(), manner.wait).await?;
    let _place = app.admit()?;
    let vocabulary = served.info.architecture.vocabulary_size;
    if let Some(id) = texts.iter().flatten().find(|&&id| id as usize >= vocabulary) {
        return Err(ApiError::unprocessable(format!("token id {id}: the vocabulary has {vocabulary} entries")));
    }
    let work = move |left: &Left| {
        let text = |ids: &Vec<u32>| {
            left.check()?;
            Ok(Value::from(served.embedder.decode(ids, skip)?).to_string())
        };
        Ok(list(texts.iter().map(text).collect::<Result<Vec<_>, ApiError>>()?.into_iter()))
    };
    Ok(json_text(app.heavy.run(work).await?))
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
        "max_batch_tokens": limits.batch_tokens.max(info.max_length),
        "max_batch_requests": null,
        "max_client_batch_size": limits.texts,
        "auto_truncate": served.embedder.truncates(),
        "tokenization_workers": info.threads,
        "version": env!("CARGO_PKG_VERSION"),
        "sha": null,
        "docker_label": null,
    })))
}
