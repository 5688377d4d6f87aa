//! A loaded model of any kind, with its queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::batch_model::BatchModel;
use super::queue::{FirstWorker, Queue};
use crate::backbone::{Backbone, TruncationPolicy};
use crate::cross_encoder::{CrossEncoder, CrossEncoderInfo};
use crate::embedder::{Builder, Embedder, ModelInfo};
use crate::encoder::Architecture;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::ModelKind;
use crate::server::metrics::Metrics;
use crate::server::settings::Limits;
use crate::tokenizer::TokenSpan;

/// A model of one kind, its description, and the queue of its inputs.
pub(in crate::server) struct Engine<M: BatchModel> {
    pub(in crate::server) model: Arc<M>,
    pub(in crate::server) info: M::Info,
    pub(super) queue: Arc<Queue<M>>,
}

/// A model of any kind.
pub(in crate::server) enum AnyEngine {
    Embedder(Engine<Embedder>),
    CrossEncoder(Engine<CrossEncoder>),
}

/// What the descriptions of all kinds of models have in common.
pub(in crate::server) struct ModelSummary {
    pub(in crate::server) architecture: Architecture,
    pub(in crate::server) modules: Vec<String>,
    pub(in crate::server) max_length: usize,
    pub(in crate::server) dtype: &'static str,
    pub(in crate::server) level: Level,
    pub(in crate::server) precision: Precision,
    pub(in crate::server) threads: usize,
    pub(in crate::server) prompts: BTreeMap<String, String>,
    pub(in crate::server) prompt: String,
    pub(in crate::server) parameters: usize,
}

impl ModelSummary {
    fn of_embedder(info: &ModelInfo) -> Self {
        Self {
            architecture: info.architecture.clone(),
            modules: info.modules.clone(),
            max_length: info.max_length,
            dtype: info.dtype,
            level: info.level,
            precision: info.precision,
            threads: info.threads,
            prompts: info.prompts.clone(),
            prompt: info.prompt.clone(),
            parameters: info.parameters,
        }
    }

    fn of_cross_encoder(info: &CrossEncoderInfo) -> Self {
        Self {
            architecture: info.architecture.clone(),
            modules: info.modules.clone(),
            max_length: info.max_length,
            dtype: info.dtype,
            level: info.level,
            precision: info.precision,
            threads: info.threads,
            prompts: info.prompts.clone(),
            prompt: info.prompt.clone(),
            parameters: info.parameters,
        }
    }
}

impl<M: BatchModel> Engine<M> {
    /// Starts the workers. Returns their number as well.
    fn start(model: M, limits: Limits, metrics: Arc<Metrics>, first_worker: &FirstWorker) -> (Self, usize) {
        let model = Arc::new(model);
        let (queue, workers) = Queue::start(model.clone(), limits, metrics, first_worker);
        let info = model.info();
        (Self { model, info, queue }, workers)
    }
}

impl AnyEngine {
    /// Opens a model of a kind and starts its workers. Returns their number as well.
    ///
    /// # Errors
    /// If the model cannot be opened.
    pub(super) fn open(
        kind: ModelKind,
        builder: Builder,
        files: &ModelFiles,
        limits: Limits,
        metrics: Arc<Metrics>,
        first_worker: &FirstWorker,
    ) -> Result<(Self, usize)> {
        Ok(match kind {
            // A multi-vector encoder is not served; opening it as an embedder fails and says so.
            ModelKind::Embedder | ModelKind::MultiVector => {
                let (engine, workers) = Engine::start(builder.open_files(files)?, limits, metrics, first_worker);
                (Self::Embedder(engine), workers)
            }
            ModelKind::CrossEncoder => {
                let model = builder.open_cross_encoder_files(files)?;
                let (engine, workers) = Engine::start(model, limits, metrics, first_worker);
                (Self::CrossEncoder(engine), workers)
            }
        })
    }

    pub(super) fn summary(&self) -> ModelSummary {
        match self {
            Self::Embedder(engine) => ModelSummary::of_embedder(&engine.info),
            Self::CrossEncoder(engine) => ModelSummary::of_cross_encoder(&engine.info),
        }
    }

    /// The number of threads that were requested.
    pub(super) fn requested_threads(&self) -> usize {
        match self {
            Self::Embedder(engine) => engine.info.requested_threads,
            Self::CrossEncoder(engine) => engine.info.requested_threads,
        }
    }

    pub(super) fn queued_inputs(&self) -> usize {
        match self {
            Self::Embedder(engine) => engine.queue.queued_inputs(),
            Self::CrossEncoder(engine) => engine.queue.queued_inputs(),
        }
    }

    pub(super) fn queued_tokens(&self) -> usize {
        match self {
            Self::Embedder(engine) => engine.queue.queued_tokens(),
            Self::CrossEncoder(engine) => engine.queue.queued_tokens(),
        }
    }

    /// Closes the queue.
    pub(super) fn close(&self) {
        match self {
            Self::Embedder(engine) => engine.queue.close(),
            Self::CrossEncoder(engine) => engine.queue.close(),
        }
    }

    pub(in crate::server) fn backbone(&self) -> &Backbone {
        match self {
            Self::Embedder(engine) => engine.model.backbone(),
            Self::CrossEncoder(engine) => engine.model.backbone(),
        }
    }

    /// Whether a text that is too long is truncated if the request does not specify it.
    pub(in crate::server) fn truncates_by_default(&self) -> bool {
        self.backbone().truncation() == TruncationPolicy::Allow
    }

    /// Passes all tokens of a text and its prompt, untruncated, to `receive`, a list at a time.
    /// `special` adds the special tokens.
    ///
    /// # Errors
    /// If the text cannot be tokenized, or if `receive` fails.
    pub(in crate::server) fn token_spans<E: From<Error>>(
        &self,
        text: &str,
        prompt: Option<&str>,
        special: bool,
        receive: impl FnMut(Vec<TokenSpan>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        match self {
            Self::Embedder(engine) => engine.model.token_spans(text, prompt, special, receive),
            Self::CrossEncoder(engine) => engine.model.token_spans(text, prompt, special, receive),
        }
    }
}
