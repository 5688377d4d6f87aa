//! The models that are served, each under a name, each loaded in the background.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::embedder::{Builder, Embedder, ModelInfo};
use crate::error::error_chain;
use crate::files::ModelFiles;
use crate::server::Limits;
use crate::server::api::error::ApiError;
use crate::server::inference::queue::Queue;
use crate::server::metrics::Metrics;

/// A model to serve.
pub struct ModelSpec {
    /// The name it is served under.
    pub name: String,
    /// How it is opened.
    pub builder: Builder,
    /// Its files.
    pub files: ModelFiles,
}

/// A model that is served.
pub(in crate::server) struct ServedModel {
    pub(in crate::server) name: String,
    /// Its place among the models.
    pub(in crate::server) number: usize,
    pub(in crate::server) info: ModelInfo,
    pub(in crate::server) embedder: Arc<Embedder>,
    pub(in crate::server) queue: Arc<Queue>,
}

/// All of them, the default first.
pub(in crate::server) struct Models {
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    state: watch::Receiver<ModelState>,
    begun: Instant,
}

/// What has become of a model.
#[derive(Clone)]
pub(in crate::server) enum ModelState {
    Loading,
    Ready(Arc<ServedModel>),
    Failed(String),
}

impl ModelState {
    /// The state in a word.
    pub(in crate::server) fn name(&self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready(_) => "ready",
            Self::Failed(_) => "failed",
        }
    }

    /// The model, if it is loaded.
    pub(in crate::server) fn ready(&self) -> Option<&Arc<ServedModel>> {
        if let Self::Ready(served) = self { Some(served) } else { None }
    }
}

/// How long a model is expected to load, for those who ask before it has.
const EXPECTED: Duration = Duration::from_secs(2);

/// The longest that a client which does not wait for the model is held back.
const LOADING_RESPONSE_DELAY: Duration = Duration::from_secs(1);

impl Models {
    /// Begins to load all models, one after another, on a thread of its own. Each has a queue with these limits.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub(in crate::server) fn load(
        specs: Vec<ModelSpec>,
        limits: Limits,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let metrics = metrics.clone();
        let mut entries = Vec::new();
        let mut work = Vec::new();
        for ModelSpec { name, builder, files } in specs {
            let (sender, state) = watch::channel(ModelState::Loading);
            entries.push(Entry { name: name.clone(), state, begun: Instant::now() });
            work.push((name, builder, files, sender));
        }
        std::thread::Builder::new().name("likewise-loading".to_owned()).spawn(move || {
            for (number, (name, builder, files, sender)) in work.into_iter().enumerate() {
                let begun = Instant::now();
                // A panic is our mistake; it must not leave the other models unloaded.
                let opened = catch_unwind(AssertUnwindSafe(|| builder.open_files(&files)));
                let opened = match opened {
                    Ok(opened) => opened.map_err(|error| error_chain(&error)).map(Arc::new),
                    Err(_) => Err("opening it panicked".to_owned()),
                };
                let served = opened.and_then(|embedder| {
                    let queue = Queue::start(embedder.clone(), limits, metrics.clone());
                    let queue = queue.map_err(|error| format!("no threads to compute with: {error}"))?;
                    Ok(Arc::new(ServedModel { name: name.clone(), number, info: embedder.info(), embedder, queue }))
                });
                let seconds = begun.elapsed().as_secs_f64();
                sender.send_replace(match served {
                    Ok(served) => {
                        tracing::info!(model = name, seconds, "model loaded");
                        ModelState::Ready(served)
                    }
                    Err(why) => {
                        tracing::error!(model = name, error = why, "model cannot be served");
                        ModelState::Failed(format!("model {name} cannot be served: {why}"))
                    }
                });
            }
        })?;
        Ok(Self { entries })
    }

    /// Names of all models.
    pub(in crate::server) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// What has become of each model.
    pub(in crate::server) fn states(&self) -> impl Iterator<Item = (&str, ModelState)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), entry.state.borrow().clone()))
    }

    /// The name under which the model is served that a client means by `asked`.
    pub(in crate::server) fn known(&self, asked: &str) -> Option<&str> {
        self.find(asked).map(|entry| entry.name.as_str())
    }

    /// The model of this very name; else the only one whose name differs by an organisation that just one of the two has.
    fn find(&self, asked: &str) -> Option<&Entry> {
        let exact = self.entries.iter().find(|entry| entry.name == asked);
        exact.or_else(|| {
            let mut alike = self.entries.iter().filter(|entry| same_but_for_organisation(&entry.name, asked));
            alike.next().filter(|_| alike.next().is_none())
        })
    }

    /// The model of a name, or the default one. One that is still being loaded is waited for if the client says so; else
    /// the client is told, after a moment, so that one which asks again at once does not spin.
    ///
    /// # Errors
    /// 404 if none is served under the name, 503 if it is being loaded, 500 if it cannot be.
    pub(in crate::server) async fn get(&self, name: Option<&str>, wait: bool) -> Result<Arc<ServedModel>, ApiError> {
        let Some(entry) = name.map_or(self.entries.first(), |name| self.find(name)) else {
            return Err(ApiError::no_model(name.unwrap_or("(the default)")));
        };
        let mut state = entry.state.clone();
        let loaded = state.wait_for(|state| !matches!(state, ModelState::Loading));
        let loaded = match wait {
            true => Some(loaded.await),
            false => tokio::time::timeout(LOADING_RESPONSE_DELAY, loaded).await.ok(),
        };
        match loaded.map(|state| state.map(|state| state.clone())) {
            Some(Ok(ModelState::Ready(served))) => Ok(served),
            Some(Ok(ModelState::Failed(why))) => Err(ApiError::internal(why)),
            Some(Ok(ModelState::Loading)) | None => {
                let left = EXPECTED.saturating_sub(entry.begun.elapsed()).max(LOADING_RESPONSE_DELAY);
                Err(ApiError::loading(&entry.name, left.as_secs_f64()))
            }
            Some(Err(_)) => Err(ApiError::internal(format!("model {} was not loaded", entry.name))),
        }
    }

    /// Closes all queues.
    pub(in crate::server) fn close(&self) {
        for entry in &self.entries {
            if let ModelState::Ready(served) = &*entry.state.borrow() {
                served.queue.close();
            }
        }
    }
}

/// Whether two names are the same but for an organisation that only one of them has.
fn same_but_for_organisation(name: &str, asked: &str) -> bool {
    let last = |id: &'_ str| id.rsplit('/').next().unwrap_or_default().to_owned();
    name.contains('/') != asked.contains('/') && last(name) == last(asked)
}
