//! The entry point of the inference layer: from a request to the floats of its response.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::batch_model::BatchModel;
use super::blocking::{BlockingLimiter, Cancelled, run_inline};
use super::cache::ResponseCache;
use super::engine::Engine;
use super::error::{InferenceError, ServedKind};
use super::job::Job;
use super::late_interaction::LateInteractionJob;
use super::models::{Models, ServedModel};
use super::request::{InferenceRequest, InferenceResponse, InferenceResult};
use super::request::{RequestOptions, ResponseStats, ResultRows, StageTimes};
use crate::server::metrics::Metrics;
use crate::server::settings::{Limits, Settings};

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

    /// Answers a request to a named model, or to the first one of the kind that it needs.
    ///
    /// # Errors
    /// If there is no such model, if it is not ready, if the request exceeds a limit or needs
    /// something that the model cannot do, or if too much is in flight.
    pub(in crate::server) async fn infer(
        &self,
        model: Option<&str>,
        request: impl Into<InferenceRequest>,
        options: RequestOptions,
    ) -> Result<InferenceResponse, InferenceError> {
        let started = Instant::now();
        let request = request.into();
        self.check_text_count(request.input_count())?;
        let model = self.models.get_of_kind(model, request.kinds(), options.wait_for_model).await?;
        let _admission = self.admit()?;
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
        model: &ServedModel,
        request: &InferenceRequest,
        times: &mut StageTimes,
    ) -> Result<InferenceResult, InferenceError> {
        let is_long = request.size() > MAX_INLINE_TEXT_BYTES;
        let late_interaction = LateInteractionJob::of(request).filter(|_| model.kind() == ServedKind::LateInteraction);
        let result = match (late_interaction, request) {
            (Some(job), _) => self.run(&Arc::new(job), is_long, model, times).await,
            (None, InferenceRequest::Embedding(job)) => self.run(job, is_long, model, times).await,
            (None, InferenceRequest::Scoring(job)) => self.run(job, is_long, model, times).await,
            (None, InferenceRequest::Sparse(job)) => self.run(job, is_long, model, times).await,
        }?;
        self.record(&model.name, &result, times);
        Ok(result)
    }

    /// Runs a job in its stages. Tokenizing long texts, which takes up to seconds, does not block
    /// the threads that serve connections.
    async fn run<J: Job>(
        &self,
        job: &Arc<J>,
        is_long: bool,
        model: &ServedModel,
        times: &mut StageTimes,
    ) -> Result<InferenceResult, InferenceError> {
        let engine = job.engine(model)?;
        let started = Instant::now();
        let inputs = if is_long {
            let (job, model, limits) = (job.clone(), engine.model.clone(), self.limits);
            self.blocking.run(move |cancelled| job.encode(&model, &limits, cancelled)).await?
        } else {
            job.encode(&engine.model, &self.limits, &Cancelled::default())?
        };
        times.tokenizing = started.elapsed();
        let usage = inputs.iter().map(J::Model::usage).collect();
        let expected_floats = job.response_floats(&engine.model, &inputs);
        self.check_response_size(expected_floats)?;
        let rows = compute_rows(job, engine, inputs, times).await?;
        let is_large = expected_floats > MAX_INLINE_FLOATS;
        let ResultRows { floats: rows, indices } = run_inline(is_large, || job.finish(&engine.model, rows))?;
        // The number of elements of a sparse vector was not known before. An index counts as a
        // float.
        self.check_response_size(
            rows.iter().map(Vec::len).sum::<usize>() + indices.iter().map(Vec::len).sum::<usize>(),
        )?;
        // JSON cannot represent a float that is not finite.
        if rows.iter().flatten().all(|x| x.is_finite()) {
            Ok(InferenceResult { rows, indices, usage })
        } else {
            Err(InferenceError::Failed("the response contains floats that are not finite".to_owned().into()))
        }
    }

    /// Rejects a request whose response would be too large, before it is computed.
    fn check_response_size(&self, floats: usize) -> Result<(), InferenceError> {
        let limit = self.limits.max_response_floats;
        if floats > limit {
            return Err(InferenceError::Rejected(format!(
                "response would contain {floats} floats; the limit is {limit} (--max-response-floats)"
            )));
        }
        Ok(())
    }

    /// Counts a computed result.
    fn record(&self, model: &str, InferenceResult { usage, .. }: &InferenceResult, times: &StageTimes) {
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

/// Computes the rows of a job's inputs: of the first ones, and then of the others, which it
/// returns.
async fn compute_rows<J: Job>(
    job: &Arc<J>,
    engine: &Engine<J::Model>,
    mut inputs: Vec<<J::Model as BatchModel>::Input>,
    times: &mut StageTimes,
) -> Result<Vec<<J::Model as BatchModel>::Row>, InferenceError> {
    let first = job.first_inputs().min(inputs.len());
    if first > 0 {
        let mut others = inputs.split_off(first);
        let output = engine.queue.compute(inputs).await?;
        times.queueing += output.queueing;
        times.computing += output.computing;
        job.link(&engine.model, &output.rows, &mut others)?;
        inputs = others;
    }
    let output = engine.queue.compute(inputs).await?;
    times.queueing += output.queueing;
    times.computing += output.computing;
    Ok(output.rows)
}
