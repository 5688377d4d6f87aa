//! A question to a model, whichever API it came by, and its answer.

use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::embedder::{EncodeOptions, EncodedText, TextInput};
use crate::server::api::error::ApiError;
use crate::server::api::fields::Fields;
use crate::server::http::router::App;
use crate::server::inference::blocking::Cancelled;
use crate::server::inference::models::ServedModel;
use crate::server::metrics::StageTimes;
use crate::tokenizer::TokenUsage;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::server) struct InferenceRequest {
    /// The texts. If scores are wanted, the first is the source.
    pub(in crate::server) inputs: Vec<TextInput>,
    pub(in crate::server) want: OutputKind,
    pub(in crate::server) reading: EncodeOptions,
}

/// What is wanted of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::server) enum OutputKind {
    /// How alike each text is to the first.
    Scores,
    /// The vector of each text. None of `length_one` is what the model does by itself.
    Vectors { length_one: Option<bool>, dimensions: Option<usize> },
    /// The vectors of each text's tokens.
    Tokens,
}

/// How the answer is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct RequestOptions {
    /// Whether to wait for a model that is being loaded.
    pub(in crate::server) wait: bool,
    /// Whether the answer may come from the cache.
    pub(in crate::server) use_cache: bool,
}

/// What a model has computed.
#[derive(Debug, PartialEq)]
pub(in crate::server) struct InferenceResult {
    /// One row of scores, or a row of numbers for each text.
    pub(in crate::server) rows: Vec<Vec<f32>>,
    /// How much of each text was read.
    pub(in crate::server) usage: Vec<TokenUsage>,
}

/// A computed answer, and what there is to tell about it.
pub(in crate::server) struct InferenceResponse {
    pub(in crate::server) served: Arc<ServedModel>,
    pub(in crate::server) computed: Arc<InferenceResult>,
    told: ResponseStats,
    begun: Instant,
}

/// What the log and the metrics tell of an answer.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct ResponseStats {
    pub(in crate::server) model: String,
    pub(in crate::server) texts: usize,
    pub(in crate::server) characters: usize,
    pub(in crate::server) tokens: usize,
    pub(in crate::server) truncated: usize,
    pub(in crate::server) cached: bool,
    pub(in crate::server) times: StageTimes,
}

impl RequestOptions {
    /// From the headers, else from the options of old clients.
    ///
    /// # Errors
    /// 400 if one is neither true nor false.
    pub(in crate::server) fn of(headers: &HeaderMap, options: &Fields<'_>) -> Result<Self, ApiError> {
        let either = |header, key| Ok::<_, ApiError>(flag(headers, header)?.or(options.flag(key)?));
        Ok(Self {
            wait: either("x-wait-for-model", "wait_for_model")?.unwrap_or(false),
            use_cache: either("x-use-cache", "use_cache")?.unwrap_or(true),
        })
    }
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

/// Answers a question to the model of a name, or to the default one.
///
/// # Errors
/// 404 if there is no such model, 503 if it is not ready, 422 if a text or their number is refused, 429 if there are too many
/// requests or too much waits.
pub(in crate::server) async fn answer(
    app: &App,
    model: Option<&str>,
    ask: InferenceRequest,
    manner: RequestOptions,
) -> Result<InferenceResponse, ApiError> {
    let begun = Instant::now();
    app.settings.limits.check_texts(ask.inputs.len())?;
    let served = app.models.get(model, manner.wait).await?;
    let _place = app.admit()?;
    if let OutputKind::Vectors { dimensions: Some(dimensions), .. } = ask.want
        && !(1..=served.embedder.width()).contains(&dimensions)
    {
        let width = served.embedder.width();
        return Err(ApiError::unprocessable(format!("`dimensions`: expected 1 to {width}, found {dimensions}")));
    }
    let ask = Arc::new(ask);
    let cache = app.cache.as_ref().filter(|_| manner.use_cache);
    let found = cache.and_then(|cache| cache.get(served.number, &ask));
    let mut times = StageTimes::default();
    let (computed, cached) = match found {
        Some(computed) => (computed, true),
        None => {
            let computed = Arc::new(compute(app, &served, &ask, &mut times).await?);
            if let Some(cache) = cache {
                app.metrics.cache_misses.inc();
                cache.insert(served.number, ask.clone(), computed.clone());
            }
            (computed, false)
        }
    };
    if cached {
        app.metrics.cache_hits.inc();
    }
    let told = ResponseStats {
        model: served.name.clone(),
        texts: ask.inputs.len(),
        characters: ask.inputs.iter().map(characters).sum(),
        tokens: computed.usage.iter().map(|usage| usage.used).sum(),
        truncated: computed.usage.iter().filter(|usage| usage.truncated()).count(),
        cached,
        times,
    };
    Ok(InferenceResponse { served, computed, told, begun })
}

fn characters(input: &TextInput) -> usize {
    match input {
        TextInput::Text(text) => text.chars().count(),
        TextInput::Ids(_) => 0,
    }
}

async fn compute(
    app: &App,
    served: &Arc<ServedModel>,
    ask: &Arc<InferenceRequest>,
    times: &mut StageTimes,
) -> Result<InferenceResult, ApiError> {
    let begun = Instant::now();
    let ready = make_ready(app, served, ask).await?;
    times.tokenizing = begun.elapsed();
    let usage: Vec<TokenUsage> = ready.iter().map(EncodedText::usage).collect();
    check_numbers(app, served, ask.want, &ready)?;
    let done = served.queue.embed(ready).await?;
    (times.queueing, times.computing) = (done.queueing, done.computing);
    let numbers: usize = done.vectors.iter().map(Vec::len).sum();
    let rows = do_work(numbers > MANY, || finish(served, ask.want, done.vectors))?;
    let metrics = &app.metrics;
    metrics.tokenizing.observe(times.tokenizing.as_secs_f64());
    metrics.queueing.observe(times.queueing.as_secs_f64());
    metrics.computing.observe(times.computing.as_secs_f64());
    usage.iter().for_each(|usage| metrics.text_tokens.observe(usage.used as f64));
    metrics.texts.inc_by(usage.len() as u64);
    let tokens: usize = usage.iter().map(|usage| usage.used).sum();
    metrics.model_texts.with_label_values(&[&served.name]).inc_by(usage.len() as u64);
    metrics.model_tokens.with_label_values(&[&served.name]).inc_by(tokens as u64);
    Ok(InferenceResult { rows, usage })
}

/// Tokenizes the texts; if they are long, off the threads that serve connections, for that takes up to seconds.
async fn make_ready(
    app: &App,
    served: &Arc<ServedModel>,
    ask: &Arc<InferenceRequest>,
) -> Result<Vec<EncodedText>, ApiError> {
    /// Bytes that are tokenized in about a tenth of a millisecond.
    const SHORT: usize = 2000;
    let (embedder, question) = (served.embedder.clone(), ask.clone());
    let work = move |left: &Cancelled| {
        let of_tokens = question.want == OutputKind::Tokens;
        let ready = |(i, input): (usize, &TextInput)| {
            left.check()?;
            Ok(embedder.ready(i, input, &question.reading, of_tokens)?)
        };
        question.inputs.iter().enumerate().map(ready).collect()
    };
    let bytes = |input: &TextInput| match input {
        TextInput::Text(text) => text.len(),
        TextInput::Ids(ids) => ids.len(),
    };
    match ask.inputs.iter().map(bytes).sum::<usize>() <= SHORT {
        true => work(&Cancelled::default()),
        false => app.heavy.run(work).await,
    }
}

/// Refuses a question whose answer would be too large, before it is computed.
fn check_numbers(app: &App, served: &ServedModel, want: OutputKind, ready: &[EncodedText]) -> Result<(), ApiError> {
    let (width, of_a_token) = (served.embedder.width(), served.embedder.token_width());
    let numbers = match want {
        OutputKind::Scores => ready.len(),
        OutputKind::Vectors { dimensions, .. } => ready.len() * dimensions.unwrap_or(width),
        OutputKind::Tokens => ready.iter().map(EncodedText::tokens).sum::<usize>() * of_a_token,
    };
    let limit = app.settings.limits.numbers;
    match numbers > limit {
        true => Err(ApiError::unprocessable(format!(
            "the answer would have {numbers} numbers; at most {limit} are given in one answer"
        ))),
        false => Ok(()),
    }
}

/// From pooled vectors to what is wanted.
fn finish(served: &ServedModel, want: OutputKind, vectors: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, ApiError> {
    let embedder = &served.embedder;
    let rows = match want {
        OutputKind::Tokens => vectors,
        OutputKind::Vectors { length_one, dimensions } => {
            vectors.into_iter().map(|vector| embedder.finish(vector, length_one, dimensions)).collect()
        }
        OutputKind::Scores => {
            let vectors: Vec<_> = vectors.into_iter().map(|vector| embedder.finish(vector, None, None)).collect();
            let score = |vector: &Vec<f32>| served.embedder.score(&vectors[0], vector);
            vec![vectors[1..].iter().map(score).collect::<crate::Result<Vec<f32>>>()?]
        }
    };
    // JSON has no word for what is not finite.
    match rows.iter().flatten().all(|x| x.is_finite()) {
        true => Ok(rows),
        false => Err(ApiError::internal("the answer is not finite")),
    }
}

impl InferenceResponse {
    /// All tokens that were read.
    pub(in crate::server) fn tokens(&self) -> usize {
        self.told.tokens
    }

    /// The answer with its headers; `body` writes it as JSON.
    pub(in crate::server) fn respond(self, body: impl FnOnce(&Self) -> String) -> Response {
        let numbers: usize = self.computed.rows.iter().map(Vec::len).sum();
        let body = do_work(numbers > MANY, || body(&self));
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut response = ([kind], body).into_response();
        let told = &self.told;
        let mut tell = |name, value: HeaderValue| {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        };
        tell("x-compute-type", HeaderValue::from_static(if told.cached { "cache" } else { "cpu" }));
        // Digits and a point are always a header's value.
        if let Ok(seconds) = HeaderValue::from_str(&format!("{:.3}", self.begun.elapsed().as_secs_f64())) {
            tell("x-compute-time", seconds);
        }
        tell("x-compute-characters", told.characters.into());
        tell("x-compute-tokens", told.tokens.into());
        tell("x-truncated-texts", told.truncated.into());
        response.extensions_mut().insert(self.told);
        response
    }
}

/// Numbers that take a millisecond or so to write.
const MANY: usize = 50_000;

/// Does a piece of work here; if it is `long`, so that meanwhile another thread serves this one's connections.
pub(in crate::server) fn do_work<T>(long: bool, work: impl FnOnce() -> T) -> T {
    if long { tokio::task::block_in_place(work) } else { work() }
}

/// Numbers as a JSON array, each in the fewest digits that give it back. They are finite.
pub(in crate::server) fn array(numbers: &[f32]) -> String {
    serde_json::to_string(numbers).expect("numbers are always JSON")
}

/// Parts that are JSON already, as an array.
pub(in crate::server) fn list(parts: impl Iterator<Item = String>) -> String {
    let mut text = String::from("[");
    for (i, part) in parts.enumerate() {
        if i > 0 {
            text.push(',');
        }
        text += &part;
    }
    text + "]"
}
