//! A loaded model of any kind, with its queue.

use std::sync::Arc;

use super::batch_model::BatchModel;
use super::queue::{FirstWorker, Queue};
use crate::backbone::{Runtime, TruncationPolicy};
use crate::cross_encoder::CrossEncoder;
use crate::embedder::{Builder, Embedder};
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::ModelKind;
use crate::model_info::ModelInfo;
use crate::multi_vector::MultiVectorEncoder;
use crate::server::metrics::Metrics;
use crate::server::settings::Limits;
use crate::sparse_encoder::SparseEncoder;
use crate::tokenizer::{TokenSpan, Tokenizer};

/// A model of one kind, its description, and the queue of its inputs.
pub(in crate::server) struct Engine<M: BatchModel> {
    pub(in crate::server) model: Arc<M>,
    info: ModelInfo,
    pub(super) queue: Arc<Queue<M>>,
}

/// A model of any kind.
pub(in crate::server) enum AnyEngine {
    Embedder(Engine<Embedder>),
    CrossEncoder(Engine<CrossEncoder>),
    SparseEncoder(Engine<SparseEncoder>),
    MultiVectorEncoder(Engine<MultiVectorEncoder>),
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
            ModelKind::MultiVector => {
                let model = builder.open_multi_vector_encoder_files(files)?;
                let (engine, workers) = Engine::start(model, limits, metrics, first_worker);
                (Self::MultiVectorEncoder(engine), workers)
            }
        })
    }

    /// The description of the model.
    pub(in crate::server) fn info(&self) -> &ModelInfo {
        match self {
            Self::Embedder(engine) => &engine.info,
            Self::CrossEncoder(engine) => &engine.info,
            Self::SparseEncoder(engine) => &engine.info,
            Self::MultiVectorEncoder(engine) => &engine.info,
        }
    }

    pub(super) fn queued_inputs(&self) -> usize {
        match self {
            Self::Embedder(engine) => engine.queue.queued_inputs(),
            Self::CrossEncoder(engine) => engine.queue.queued_inputs(),
            Self::SparseEncoder(engine) => engine.queue.queued_inputs(),
            Self::MultiVectorEncoder(engine) => engine.queue.queued_inputs(),
        }
    }

    pub(super) fn queued_tokens(&self) -> usize {
        match self {
            Self::Embedder(engine) => engine.queue.queued_tokens(),
            Self::CrossEncoder(engine) => engine.queue.queued_tokens(),
            Self::SparseEncoder(engine) => engine.queue.queued_tokens(),
            Self::MultiVectorEncoder(engine) => engine.queue.queued_tokens(),
        }
    }

    /// Closes the queue.
    pub(super) fn close(&self) {
        match self {
            Self::Embedder(engine) => engine.queue.close(),
            Self::CrossEncoder(engine) => engine.queue.close(),
            Self::SparseEncoder(engine) => engine.queue.close(),
            Self::MultiVectorEncoder(engine) => engine.queue.close(),
        }
    }

    pub(in crate::server) fn runtime(&self) -> &Runtime {
        match self {
            Self::Embedder(engine) => engine.model.runtime(),
            Self::CrossEncoder(engine) => engine.model.runtime(),
            Self::SparseEncoder(engine) => engine.model.runtime(),
            Self::MultiVectorEncoder(engine) => engine.model.runtime(),
        }
    }

    /// Returns the tokenizer. If a sparse encoder has several, it is that of texts without a task.
    pub(in crate::server) fn tokenizer(&self) -> &Tokenizer {
        match self {
            Self::Embedder(engine) => engine.model.runtime().tokenizer(),
            Self::CrossEncoder(engine) => engine.model.runtime().tokenizer(),
            Self::SparseEncoder(engine) => engine.model.tokenizer(),
            Self::MultiVectorEncoder(engine) => engine.model.runtime().tokenizer(),
        }
    }

    /// Returns the tokenizer of texts with a prompt.
    ///
    /// # Errors
    /// If a sparse encoder has no such prompt, or no modules for such texts.
    pub(in crate::server) fn tokenizer_of_prompt(&self, prompt: Option<&str>) -> Result<&Tokenizer> {
        match self {
            Self::Embedder(_) | Self::CrossEncoder(_) | Self::MultiVectorEncoder(_) => Ok(self.tokenizer()),
            Self::SparseEncoder(engine) => engine.model.tokenizer_of_prompt(prompt),
        }
    }

    /// Whether a text that is too long is truncated if the request does not specify it.
    pub(in crate::server) fn truncates_by_default(&self) -> bool {
        self.runtime().truncation() == TruncationPolicy::Allow
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
            Self::MultiVectorEncoder(engine) => engine.model.token_spans(text, prompt, special, receive),
        }
    }
}
