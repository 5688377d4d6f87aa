//! The entry point of the inference layer: from a request to the floats of its response.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::blocking::{BlockingLimiter, Cancelled, run_inline};
use super::cache::ResponseCache;
use super::error::{InferenceError, UnknownTokenId};
use super::models::{Models, ServedModel};
use super::request::{InferenceRequest, InferenceResponse, InferenceResult, OutputKind};
use super::request::{RequestOptions, ResponseStats, StageTimes};
use crate::embedder::{Embedder, EncodedText, TextInput};
use crate::server::metrics::Metrics;
use crate::server::settings::{Limits, Settings};
use crate::tokenizer::TokenUsage;

/// Texts of at most this many bytes are tokenized inline: it takes about a tenth of a millisecond.
const MAX_INLINE_TEXT_BYTES: usize = 2000;

/// Results of at most this many floats are processed inline: it takes about a millisecond.
pub(in crate::server) const MAX_INLINE_FLOATS: usize = 50_000;

/// The models and everything that their requests share.
pub(in crate::server) struct InferenceService {
    models: Models,
    cache: Option<ResponseCache>,
    /// One permit for each request that may be in flight.
    admission: Semaphore,
    blocking: BlockingLimiter,
    limits: Limits,
    metrics: Arc<Metrics>,
}

/// The permit of a request in flight.
pub(in crate::server) struct Admission<'a> {
    metrics: &'a Metrics,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}

impl InferenceService {
    pub(in crate::server) fn new(models: Models, settings: &Settings, metrics: Arc<Metrics>) -> Self {
        let limits = settings.limits;
        Self {
            models,
            cache: ResponseCache::with_capacity(settings.response_cache_bytes),
            admission: Semaphore::new(limits.max_concurrent_requests.min(Semaphore::MAX_PERMITS)),
            blocking: BlockingLimiter::new(),
            limits,
            metrics,
        }
    }

    pub(in crate::server) fn models(&self) -> &Models {
        &self.models
    }

    pub(in crate::server) fn blocking(&self) -> &BlockingLimiter {
        &self.blocking
    }

    pub(in crate::server) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// All metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// If they cannot be encoded.
    pub(in crate::server) fn metrics_text(&self) -> Result<String, InferenceError> {
        let cache_bytes = self.cache.as_ref().map_or(0, ResponseCache::bytes);
        let text = self.metrics.text(cache_bytes, &self.models.samples());
        text.map_err(|error| InferenceError::Failed(error.to_string().into()))
    }

    /// Admits a request to a model.
    ///
    /// # Errors
    /// [`InferenceError::Overloaded`] if too many are in flight.
    pub(in crate::server) fn admit(&self) -> Result<Admission<'_>, InferenceError> {
        let permit = self.admission.try_acquire().map_err(|_| InferenceError::Overloaded)?;
        self.metrics.in_flight.inc();
        Ok(Admission { metrics: &self.metrics, _permit: permit })
    }

    /// Rejects a request with too many texts.
    pub(in crate::server) fn check_text_count(&self, texts: usize) -> Result<(), InferenceError> {
        let limit = self.limits.max_client_batch_size;
        if texts > limit {
            return Err(InferenceError::Rejected(format!(
                "request contains {texts} texts; the limit is {limit} (--max-client-batch-size)"
            )));
        }
        Ok(())
    }

    /// Rejects a text that takes too much memory to tokenize. `text_index` is its index in the
    /// request.
    pub(in crate::server) fn check_tokenizing_memory(
        embedder: &Embedder,
        limits: &Limits,
        text_index: usize,
        text: &str,
    ) -> Result<(), InferenceError> {
        let limit = limits.max_unsplit_characters;
        let Some(characters) = embedder.longest_run(text, limit) else { return Ok(()) };
        Err(InferenceError::Rejected(format!(
            "text {text_index}: contains {characters} characters without a place where its tokenizer can be sure to \
             begin a new token; the limit is {limit} (--max-unsplit-characters); break the text into lines, or send \
             it in parts"
        )))
    }

    /// Answers a request to a named model, or to the default one.
    ///
    /// # Errors
    /// If there is no such model, if it is not ready, if the request exceeds a limit or needs
    /// something that the model cannot do, or if too much is in flight.
    pub(in crate::server) async fn infer(
        &self,
        model: Option<&str>,
        request: InferenceRequest,
        options: RequestOptions,
    ) -> Result<InferenceResponse, InferenceError> {
        let started = Instant::now();
        self.check_text_count(request.inputs.len())?;
        let model = self.models.get(model, options.wait_for_model).await?;
        let _admission = self.admit()?;
        check_dimensions(&model, request.output)?;
        let ids = request.inputs.iter().map(|input| if let TextInput::Ids(ids) = input { ids.as_slice() } else { &[] });
        check_token_ids(&model, ids)?;
        let request = Arc::new(request);
        let cache = self.cache.as_ref().filter(|_| options.use_cache);
        let cached = cache.and_then(|cache| cache.get(model.index, &request));
        let is_cached = cached.is_some();
        let mut times = StageTimes::default();
        let result = match cached {
            Some(result) => {
                self.metrics.cache_hits.inc();
                result
            }
            None => {
                let result = Arc::new(self.compute(&model, &request, &mut times).await?);
                if let Some(cache) = cache {
                    self.metrics.cache_misses.inc();
                    cache.insert(model.index, request.clone(), result.clone());
                }
                result
            }
        };
        let stats = ResponseStats::new(&model.name, &request, &result, is_cached, times);
        Ok(InferenceResponse { model, result, stats, started })
    }

    async fn compute(
        &self,
        model: &Arc<ServedModel>,
        request: &Arc<InferenceRequest>,
        times: &mut StageTimes,
    ) -> Result<InferenceResult, InferenceError> {
        let started = Instant::now();
        let texts = self.tokenize(model, request).await?;
        times.tokenizing = started.elapsed();
        let usage: Vec<TokenUsage> = texts.iter().map(EncodedText::usage).collect();
        self.check_response_size(model, request.output, &texts)?;
        let output = model.queue.embed(texts).await?;
        times.queueing = output.queueing;
        times.computing = output.computing;
        let floats: usize = output.vectors.iter().map(Vec::len).sum();
        let rows = run_inline(floats > MAX_INLINE_FLOATS, || output_rows(model, request.output, output.vectors))?;
        self.record(&model.name, &usage, times);
        Ok(InferenceResult { rows, usage })
    }

    /// Tokenizes the texts. Long ones, which take up to seconds, do not block the threads that
    /// serve connections.
    async fn tokenize(
        &self,
        model: &Arc<ServedModel>,
        request: &Arc<InferenceRequest>,
    ) -> Result<Vec<EncodedText>, InferenceError> {
        let embedder = model.embedder.clone();
        let question = request.clone();
        let limits = self.limits;
        let work = move |cancelled: &Cancelled| {
            let keep_tokens = question.output == OutputKind::TokenEmbeddings;
            let encode = |(i, input): (usize, &TextInput)| {
                cancelled.check()?;
                if let TextInput::Text(text) = input {
                    Self::check_tokenizing_memory(&embedder, &limits, i, text)?;
                }
                Ok(embedder.encode_input(i, input, &question.encode, keep_tokens)?)
            };
            question.inputs.iter().enumerate().map(encode).collect()
        };
        let bytes = |input: &TextInput| match input {
            TextInput::Text(text) => text.len(),
            TextInput::Ids(ids) => ids.len(),
        };
        if request.inputs.iter().map(bytes).sum::<usize>() <= MAX_INLINE_TEXT_BYTES {
            work(&Cancelled::default())
        } else {
            self.blocking.run(work).await
        }
    }

    /// Rejects a request whose response would be too large, before it is computed.
    fn check_response_size(
        &self,
        model: &ServedModel,
        output: OutputKind,
        texts: &[EncodedText],
    ) -> Result<(), InferenceError> {
        let floats = match output {
            OutputKind::Scores => texts.len(),
            OutputKind::Embeddings { dimensions, .. } => texts.len() * dimensions.unwrap_or(model.embedder.width()),
            OutputKind::TokenEmbeddings => {
                texts.iter().map(EncodedText::token_count).sum::<usize>() * model.embedder.token_width()
            }
        };
        let limit = self.limits.max_response_floats;
        if floats > limit {
            return Err(InferenceError::Rejected(format!(
                "response would contain {floats} floats; the limit is {limit} (--max-response-floats)"
            )));
        }
        Ok(())
    }

    /// Counts a computed result.
    fn record(&self, model: &str, usage: &[TokenUsage], times: &StageTimes) {
        let metrics = &self.metrics;
        metrics.tokenizing.observe(times.tokenizing.as_secs_f64());
        metrics.queueing.observe(times.queueing.as_secs_f64());
        metrics.computing.observe(times.computing.as_secs_f64());
        usage.iter().for_each(|usage| metrics.text_tokens.observe(usage.used as f64));
        metrics.texts.inc_by(usage.len() as u64);
        let tokens: usize = usage.iter().map(|usage| usage.used).sum();
        metrics.model_texts.with_label_values(&[model]).inc_by(usage.len() as u64);
        metrics.model_tokens.with_label_values(&[model]).inc_by(tokens as u64);
    }
}

/// Rejects more dimensions than the model has.
fn check_dimensions(model: &ServedModel, output: OutputKind) -> Result<(), InferenceError> {
    let width = model.embedder.width();
    if let OutputKind::Embeddings { dimensions: Some(dimensions), .. } = output
        && !(1..=width).contains(&dimensions)
    {
        return Err(InferenceError::Rejected(format!("`dimensions`: expected 1 to {width}, found {dimensions}")));
    }
    Ok(())
}

/// Rejects token ids beyond the vocabulary, those included that truncation would cut.
pub(in crate::server) fn check_token_ids<'a>(
    model: &ServedModel,
    texts: impl IntoIterator<Item = &'a [u32]>,
) -> Result<(), InferenceError> {
    let vocabulary = model.info.architecture.vocabulary_size;
    for (text, ids) in texts.into_iter().enumerate() {
        if let Some(position) = ids.iter().position(|&id| id as usize >= vocabulary) {
            let id = ids[position];
            return Err(InferenceError::UnknownTokenId(UnknownTokenId { text, position, id, vocabulary }));
        }
    }
    Ok(())
}

/// Turns pooled vectors into the rows of the output.
fn output_rows(
    model: &ServedModel,
    output: OutputKind,
    vectors: Vec<Vec<f32>>,
) -> Result<Vec<Vec<f32>>, InferenceError> {
    let embedder = &model.embedder;
    let rows = match output {
        OutputKind::TokenEmbeddings => vectors,
        OutputKind::Embeddings { normalize, dimensions } => {
            vectors.into_iter().map(|vector| embedder.apply_post_modules(vector, normalize, dimensions)).collect()
        }
        OutputKind::Scores => {
            let vectors: Vec<_> =
                vectors.into_iter().map(|vector| embedder.apply_post_modules(vector, None, None)).collect();
            let score = |vector: &Vec<f32>| embedder.score(&vectors[0], vector);
            vec![vectors[1..].iter().map(score).collect::<crate::Result<Vec<f32>>>()?]
        }
    };
    // JSON cannot represent a float that is not finite.
    if rows.iter().flatten().all(|x| x.is_finite()) {
        Ok(rows)
    } else {
        Err(InferenceError::Failed("the response contains floats that are not finite".to_owned().into()))
    }
}
