//! The models that are served, each under a name, each loaded in the background.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::engine::{AnyEngine, Engine};
use super::error::{Failure, InferenceError, ServedKind, WrongKind};
use super::queue::FirstWorker;
use crate::cross_encoder::CrossEncoder;
use crate::embedder::{Builder, Embedder};
use crate::files::ModelFiles;
use crate::model_folder::ModelKind;
use crate::multi_vector::MultiVectorEncoder;
use crate::server::metrics::{Metrics, ModelLabels, ModelSample};
use crate::server::settings::{Limits, ModelNames, Settings};
use crate::sparse_encoder::SparseEncoder;

/// How long loading a model is expected to take. It only serves to estimate the time that remains.
const EXPECTED_LOADING_TIME: Duration = Duration::from_secs(2);

/// How long a client that does not wait for a loading model is delayed, because some clients retry
/// without a pause.
const LOADING_RESPONSE_DELAY: Duration = Duration::from_secs(1);

/// A model to serve.
#[non_exhaustive]
pub struct ModelSpec {
    /// The name that clients use.
    pub name: String,
    /// The settings to open the model with.
    pub builder: Builder,
    /// The files of the model.
    pub files: ModelFiles,
}

impl ModelSpec {
    /// Describes a model to serve under a name.
    pub fn new(name: impl Into<String>, builder: Builder, files: ModelFiles) -> Self {
        Self { name: name.into(), builder, files }
    }
}

/// A model that is loaded.
pub(in crate::server) struct ServedModel {
    pub(in crate::server) name: String,
    /// The position among the models.
    pub(super) index: usize,
    pub(in crate::server) engine: AnyEngine,
}

impl ServedModel {
    /// What the model does.
    pub(in crate::server) fn kind(&self) -> ServedKind {
        match &self.engine {
            AnyEngine::Embedder(_) => ServedKind::Embedder,
            AnyEngine::CrossEncoder(engine) if engine.model.labels().len() == 1 => ServedKind::Reranker,
            AnyEngine::CrossEncoder(_) => ServedKind::Classifier,
            AnyEngine::SparseEncoder(_) => ServedKind::SparseEncoder,
            AnyEngine::MultiVectorEncoder(_) => ServedKind::LateInteraction,
        }
    }

    /// The model, if it computes vectors.
    pub(in crate::server) fn embedder(&self) -> Result<&Engine<Embedder>, InferenceError> {
        match &self.engine {
            AnyEngine::Embedder(engine) => Ok(engine),
            _ => Err(self.is_no(ServedKind::Embedder)),
        }
    }

    /// The model, if it computes sparse vectors.
    pub(in crate::server) fn sparse_encoder(&self) -> Result<&Engine<SparseEncoder>, InferenceError> {
        match &self.engine {
            AnyEngine::SparseEncoder(engine) => Ok(engine),
            _ => Err(self.is_no(ServedKind::SparseEncoder)),
        }
    }

    /// The model, if it computes a vector for each token and scores texts by them.
    pub(in crate::server) fn multi_vector_encoder(&self) -> Result<&Engine<MultiVectorEncoder>, InferenceError> {
        match &self.engine {
            AnyEngine::MultiVectorEncoder(engine) => Ok(engine),
            _ => Err(self.is_no(ServedKind::LateInteraction)),
        }
    }

    /// The number of elements of a token's vector.
    pub(in crate::server) fn token_width(&self) -> Result<usize, InferenceError> {
        match &self.engine {
            AnyEngine::MultiVectorEncoder(engine) => Ok(engine.model.width()),
            _ => Ok(self.embedder()?.model.token_width()),
        }
    }

    /// The model, if it scores pairs: by one label if `needed` is a reranker.
    pub(in crate::server) fn cross_encoder(&self, needed: ServedKind) -> Result<&Engine<CrossEncoder>, InferenceError> {
        match &self.engine {
            AnyEngine::CrossEncoder(engine) if needed == ServedKind::Classifier || self.kind() == needed => Ok(engine),
            _ => Err(self.is_no(needed)),
        }
    }

    fn is_no(&self, needed: ServedKind) -> InferenceError {
        InferenceError::WrongKind(WrongKind { model: self.name.clone(), kind: self.kind(), needed })
    }
}

impl Drop for ServedModel {
    fn drop(&mut self) {
        // The workers also own the queue, and end when it is closed.
        self.engine.close();
    }
}

/// All models, the default one first.
pub(in crate::server) struct Models {
    entries: Vec<ModelEntry>,
    names: ModelNames,
}

struct ModelEntry {
    name: String,
    kind: ModelKind,
    state: watch::Receiver<ModelState>,
    started: Instant,
}

/// The state of a model.
#[derive(Clone)]
pub(in crate::server) enum ModelState {
    Loading,
    Ready(Arc<ServedModel>),
    Failed(Failure),
}

impl ModelState {
    /// The state's name in responses and metrics.
    pub(in crate::server) fn name(&self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready(_) => "ready",
            Self::Failed(_) => "failed",
        }
    }

    /// The model, if it is loaded.
    pub(in crate::server) fn loaded(&self) -> Option<&Arc<ServedModel>> {
        if let Self::Ready(model) = self { Some(model) } else { None }
    }
}

impl Models {
    /// Starts a worker for each model, and a thread that loads all models, one after another. Each
    /// gets a queue with the limits of the settings.
    ///
    /// # Errors
    /// If an alias is not valid, or if the operating system does not create these threads.
    pub(in crate::server) fn load(
        specs: Vec<ModelSpec>,
        settings: &Settings,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let limits = settings.limits;
        let names = settings.names.clone();
        names.check(&specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>())?;
        let metrics = metrics.clone();
        let mut entries = Vec::new();
        let mut pending = Vec::new();
        for spec in specs {
            let (sender, state) = watch::channel(ModelState::Loading);
            // A model whose kind cannot be read cannot be opened either. That error is reported.
            let kind = ModelKind::detect(&spec.files).unwrap_or(ModelKind::Embedder);
            entries.push(ModelEntry { name: spec.name.clone(), kind, state, started: Instant::now() });
            let worker = FirstWorker::start().map_err(|error| thread_error("runs a model", &error))?;
            pending.push((spec, kind, sender, worker));
        }
        let loading = std::thread::Builder::new().name("likewise-loading".to_owned()).spawn(move || {
            for (index, (spec, kind, sender, worker)) in pending.into_iter().enumerate() {
                // Without a receiver the server has been dropped.
                if !sender.is_closed() {
                    sender.send_replace(load_model(spec, kind, index, limits, &metrics, &worker));
                }
            }
        });
        loading.map_err(|error| thread_error("loads the models", &error))?;
        Ok(Self { entries, names })
    }

    /// The aliases, each with the name of its model.
    pub(in crate::server) fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names.aliases.iter().map(|(alias, model)| (alias.as_str(), model.as_str()))
    }

    /// The names of all models.
    pub(in crate::server) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The name and the state of each model.
    pub(in crate::server) fn states(&self) -> impl Iterator<Item = (&str, ModelState)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), entry.state.borrow().clone()))
    }

    /// What the metrics report about each model.
    pub(super) fn samples(&self) -> Vec<ModelSample> {
        let sample = |(name, state): (&str, ModelState)| {
            let model = state.loaded();
            let labels = |model: &Arc<ServedModel>| ModelLabels {
                architecture: model.engine.info().architecture.family.to_string(),
                kind: model.engine.info().output.kind_name(),
                precision: model.engine.info().precision.name().to_owned(),
                simd: model.engine.info().level.to_string(),
                threads: model.engine.info().threads.to_string(),
            };
            ModelSample {
                name: name.to_owned(),
                state: state.name(),
                labels: model.map(labels),
                queued_texts: model.map_or(0, |model| model.engine.queued_inputs()),
                queued_tokens: model.map_or(0, |model| model.engine.queued_tokens()),
            }
        };
        self.states().map(sample).collect()
    }

    /// Returns the full name of the model that a client's `id` refers to.
    ///
    /// # Errors
    /// If it refers to none.
    pub(in crate::server) fn resolve_name(&self, id: &str) -> Result<&str, InferenceError> {
        self.find(id).map(|entry| entry.name.as_str())
    }

    /// Returns the kind of a named model, or of the default one, which may still be loading.
    ///
    /// # Errors
    /// If no such model is served.
    pub(in crate::server) fn kind(&self, name: Option<&str>) -> Result<ModelKind, InferenceError> {
        self.entry(name, &[]).map(|entry| entry.kind)
    }

    /// Returns the entry of a model by its name. Without a name it is the first model of one of the
    /// kinds, or the first of any kind if the server has none of those.
    fn entry(&self, name: Option<&str>, kinds: &[ModelKind]) -> Result<&ModelEntry, InferenceError> {
        let Some(name) = name else {
            let of_kind = self.entries.iter().find(|entry| kinds.contains(&entry.kind));
            return of_kind.or(self.entries.first()).ok_or_else(|| self.unknown("(the default)"));
        };
        self.find(name)
    }

    /// Finds a model. An exact match wins, then an alias. Otherwise an organisation that only one
    /// side has is ignored, if that leaves exactly one model. If any name is allowed, all others
    /// mean the default model.
    fn find(&self, id: &str) -> Result<&ModelEntry, InferenceError> {
        let exact = |name: &str| self.entries.iter().find(|entry| entry.name == name);
        let alias = || exact(self.names.aliases.iter().find(|(alias, _)| alias == id)?.1.as_str());
        let similar = || {
            let mut similar = self.entries.iter().filter(|entry| differs_by_organisation_only(&entry.name, id));
            similar.next().filter(|_| similar.next().is_none())
        };
        let default = || self.entries.first().filter(|_| self.names.allow_any);
        exact(id).or_else(alias).or_else(similar).or_else(default).ok_or_else(|| self.unknown(id))
    }

    fn unknown(&self, name: &str) -> InferenceError {
        InferenceError::UnknownModel { name: name.to_owned(), served: self.names().map(str::to_owned).collect() }
    }

    /// Returns a named model, or the default one. If it is still loading, the call waits for it, or
    /// fails after [`LOADING_RESPONSE_DELAY`] unless `wait` is set.
    ///
    /// # Errors
    /// If no such model is served, if it is still loading, or if it could not be loaded.
    pub(in crate::server) async fn get(
        &self,
        name: Option<&str>,
        wait: bool,
    ) -> Result<Arc<ServedModel>, InferenceError> {
        self.get_of_kind(name, &[], wait).await
    }

    /// Returns a model as [`Self::get`] does. Without a name, the first model of the kinds is the
    /// default: some clients never send a name.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub(super) async fn get_of_kind(
        &self,
        name: Option<&str>,
        kinds: &[ModelKind],
        wait: bool,
    ) -> Result<Arc<ServedModel>, InferenceError> {
        let entry = self.entry(name, kinds)?;
        let mut state = entry.state.clone();
        let loaded = state.wait_for(|state| !matches!(state, ModelState::Loading));
        let loaded =
            if wait { Some(loaded.await) } else { tokio::time::timeout(LOADING_RESPONSE_DELAY, loaded).await.ok() };
        match loaded.map(|state| state.map(|state| state.clone())) {
            Some(Ok(ModelState::Ready(model))) => Ok(model),
            Some(Ok(ModelState::Failed(reason))) => Err(InferenceError::Failed(reason)),
            Some(Ok(ModelState::Loading)) | None => {
                let remaining = EXPECTED_LOADING_TIME.saturating_sub(entry.started.elapsed());
                let remaining = remaining.max(LOADING_RESPONSE_DELAY);
                Err(InferenceError::Loading { model: entry.name.clone(), remaining })
            }
            Some(Err(_)) => Err(InferenceError::Failed(format!("model {} was not loaded", entry.name).into())),
        }
    }

    /// Closes all queues.
    pub(in crate::server) fn close(&self) {
        for entry in &self.entries {
            if let ModelState::Ready(model) = &*entry.state.borrow() {
                model.engine.close();
            }
        }
    }
}

/// Opens a model and starts its workers.
fn load_model(
    spec: ModelSpec,
    kind: ModelKind,
    index: usize,
    limits: Limits,
    metrics: &Arc<Metrics>,
    first_worker: &FirstWorker,
) -> ModelState {
    let ModelSpec { name, builder, files } = spec;
    let started = Instant::now();
    let folder = PathBuf::from(files.origin());
    // A panic is a bug; it must not prevent the other models from loading.
    let open = || AnyEngine::open(kind, builder, &files, limits, metrics.clone(), first_worker);
    let opened = match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|error| Failure::of_library(error, Some(&folder))),
        Err(_) => Err("opening it panicked".to_owned().into()),
    };
    let served = opened.map(|(engine, workers)| {
        let (threads, requested) = (engine.info().threads, engine.info().requested_threads);
        if workers < requested {
            tracing::warn!(
                model = name,
                requested,
                threads,
                workers,
                "the operating system does not allow more threads"
            );
        }
        Arc::new(ServedModel { name: name.clone(), index, engine })
    });
    match served {
        Ok(model) => {
            tracing::info!(model = name, seconds = started.elapsed().as_secs_f64(), "model loaded");
            ModelState::Ready(model)
        }
        Err(reason) => {
            tracing::error!(model = name, error = reason.log, "model cannot be served");
            ModelState::Failed(reason.with_prefix(&format!("model {name} cannot be served: ")))
        }
    }
}

/// The error of a thread without which the server cannot run.
fn thread_error(purpose: &str, error: &std::io::Error) -> std::io::Error {
    let message = format!(
        "cannot start the thread that {purpose}: {error}; \
        allow more threads (ulimit -u, pids.max of the control group) or more memory"
    );
    std::io::Error::new(error.kind(), message)
}

/// Whether two names are equal except for an organisation that only one of them has.
fn differs_by_organisation_only(name: &str, id: &str) -> bool {
    let last = |id: &'_ str| id.rsplit('/').next().unwrap_or_default().to_owned();
    name.contains('/') != id.contains('/') && last(name) == last(id)
}
