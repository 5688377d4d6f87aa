//! A loaded model of any kind, with its queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::batch_model::BatchModel;
use super::queue::{FirstWorker, Queue};
use crate::backbone::TruncationPolicy;
use crate::cross_encoder::{CrossEncoder, CrossEncoderInfo};
use crate::embedder::{Builder, Embedder, ModelInfo};
use crate::encoder::Architecture;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::ModelKind;
use crate::server::metrics::Metrics;
use crate::server::settings::Limits;
use crate::sparse_encoder::{SparseEncoder, SparseEncoderInfo};
use crate::tokenizer::{TokenSpan, Tokenizer};

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
    SparseEncoder(Engine<SparseEncoder>),
}

/// What the descriptions of all kinds of models have in common.
pub(in crate::server) struct ModelSummary {
    /// None if the model has no network: only weights of tokens.
    pub(in crate::server) architecture: Option<Architecture>,
    /// The number of token ids.
    pub(in crate::server) vocabulary: usize,
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
    /// The family of the encoder, or what the model is without one.
    pub(in crate::server) fn family(&self) -> String {
        self.architecture.as_ref().map_or_else(|| "token weights".to_owned(), |b| b.family.to_string())
    }

    fn of_embedder(info: &ModelInfo) -> Self {
        Self {
            architecture: Some(info.architecture.clone()),
            vocabulary: info.architecture.vocabulary_size,
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
            architecture: Some(info.architecture.clone()),
            vocabulary: info.architecture.vocabulary_size,
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

    /// Describes a sparse encoder. A model of weights of tokens alone counts as
    /// one thread in f32.
    fn of_sparse_encoder(info: &SparseEncoderInfo) -> Self {
        let network = info.network.as_ref();
        Self {
            architecture: network.map(|network| network.architecture.clone()),
            vocabulary: network.map_or(info.dimension, |network| network.architecture.vocabulary_size),
            modules: info.routes.clone(),
            max_length: info.max_length,
            dtype: network.map_or("F32", |network| network.dtype),
            level: network.map_or_else(Level::best, |network| network.level),
            precision: network.map_or(Precision::F32, |network| network.precision),
            threads: network.map_or(1, |network| network.threads),
            prompts: info.prompts.clone(),
            prompt: info.prompt.clone(),
            parameters: network.map_or(info.dimension, |network| network.parameters),
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
            ModelKind::Embedder => {
                let (engine, workers) = Engine::start(builder.open_files(files)?, limits, metrics, first_worker);
                (Self::Embedder(engine), workers)
            }
            ModelKind::CrossEncoder => {
                let model = builder.open_cross_encoder_files(files)?;
                let (engine, workers) = Engine::start(model, limits, metrics, first_worker);
                (Self::CrossEncoder(engine), workers)
            }
            ModelKind::SparseEncoder => {
                let model = builder.open_sparse_encoder_files(files)?;
                let (engine, workers) = Engine::start(model, limits, metrics, first_worker);
                (Self::SparseEncoder(engine), workers)
            }
        })
    }

    pub(super) fn summary(&self) -> ModelSummary {
        match self {
            Self::Embedder(engine) => ModelSummary::of_embedder(&engine.info),
            Self::CrossEncoder(engine) => ModelSummary::of_cross_encoder(&engine.info),
            Self::SparseEncoder(engine) => ModelSummary::of_sparse_encoder(&engine.info),
        }
    }

    /// The number of threads that were requested.
    pub(super) fn requested_threads(&self) -> usize {
        match self {
            Self::Embedder(engine) => engine.info.requested_threads,
            Self::CrossEncoder(engine) => engine.info.requested_threads,
            Self::SparseEncoder(engine) => engine.info.network.as_ref().map_or(1, |network| network.requested_threads),
        }
    }

    pub(super) fn queued_inputs(&self) -> usize {
        match self {
            Self::Embedder(engine) => engine.queue.queued_inputs(),
            Self::CrossEncoder(engine) => engine.queue.queued_inputs(),
            Self::SparseEncoder(engine) => engine.queue.queued_inputs(),
        }
    }

    pub(super) fn queued_tokens(&self) -> usize {
        match self {
            Self::Embedder(engine) => engine.queue.queued_tokens(),
            Self::CrossEncoder(engine) => engine.queue.queued_tokens(),
            Self::SparseEncoder(engine) => engine.queue.queued_tokens(),
        }
    }

    /// Closes the queue.
    pub(super) fn close(&self) {
        match self {
            Self::Embedder(engine) => engine.queue.close(),
            Self::CrossEncoder(engine) => engine.queue.close(),
            Self::SparseEncoder(engine) => engine.queue.close(),
        }
    }

    /// Returns the tokenizer. If a sparse encoder has several, it is that of texts without a task.
    pub(in crate::server) fn tokenizer(&self) -> &Tokenizer {
        match self {
            Self::Embedder(engine) => engine.model.backbone().tokenizer(),
            Self::CrossEncoder(engine) => engine.model.backbone().tokenizer(),
            Self::SparseEncoder(engine) => engine.model.tokenizer(),
        }
    }

    /// Returns the tokenizer of texts with a prompt.
    ///
    /// # Errors
    /// If a sparse encoder has no such prompt, or no modules for such texts.
    pub(in crate::server) fn tokenizer_of_prompt(&self, prompt: Option<&str>) -> Result<&Tokenizer> {
        match self {
            Self::Embedder(_) | Self::CrossEncoder(_) => Ok(self.tokenizer()),
            Self::SparseEncoder(engine) => engine.model.tokenizer_of_prompt(prompt),
        }
    }

    /// Whether a text that is too long is truncated if the request does not specify it.
    pub(in crate::server) fn truncates_by_default(&self) -> bool {
        let truncation = match self {
            Self::Embedder(engine) => engine.model.backbone().truncation(),
            Self::CrossEncoder(engine) => engine.model.backbone().truncation(),
            Self::SparseEncoder(engine) => engine.model.truncation(),
        };
        truncation == TruncationPolicy::Allow
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
            Self::SparseEncoder(engine) => engine.model.token_spans(text, prompt, special, receive),
        }
    }
}
