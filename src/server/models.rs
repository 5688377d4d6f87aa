//! The models that are served, each under a name, each loaded in the background.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::ApiError;
use super::queue::Queue;
use crate::embedder::{Builder, Embedder};
use crate::error::chain;
use crate::files::ModelFiles;

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
pub(super) struct Served {
    pub(super) embedder: Arc<Embedder>,
    pub(super) queue: Arc<Queue>,
}

/// All of them, the default first.
pub(super) struct Models {
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    state: watch::Receiver<State>,
    begun: Instant,
}

/// What has become of a model.
#[derive(Clone)]
enum State {
    Loading,
    Ready(Arc<Served>),
    Failed(String),
}

/// How long a model is expected to load, for those who ask before it has.
const EXPECTED: Duration = Duration::from_secs(2);

/// The longest that a client which does not wait for the model is held back.
const HOLD: Duration = Duration::from_secs(1);

impl Models {
    /// Begins to load all models, one after another, on a thread of its own. `waiting` is how many tokens a queue holds.
    pub(super) fn load(specs: Vec<ModelSpec>, waiting: usize) -> Self {
        let mut entries = Vec::new();
        let mut work = Vec::new();
        for ModelSpec { name, builder, files } in specs {
            let (sender, state) = watch::channel(State::Loading);
            entries.push(Entry { name: name.clone(), state, begun: Instant::now() });
            work.push((name, builder, files, sender));
        }
        std::thread::spawn(move || {
            for (name, builder, files, sender) in work {
                let failed = |why| State::Failed(format!("model {name} cannot be served: {why}"));
                let state = match builder.open_files(&files).map(Arc::new) {
                    Ok(embedder) => match Queue::start(embedder.clone(), waiting) {
                        Ok(queue) => State::Ready(Arc::new(Served { embedder, queue })),
                        Err(error) => failed(format!("no threads to compute with: {error}")),
                    },
                    Err(error) => failed(chain(&error)),
                };
                sender.send_replace(state);
            }
        });
        Self { entries }
    }

    /// Names of all models.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The model of a name, or the default one. One that is still being loaded is waited for if the client says so; else
    /// the client is told, after a moment, so that one which asks again at once does not spin.
    ///
    /// # Errors
    /// 404 if none is served under the name, 503 if it is not ready.
    pub(super) async fn get(&self, name: Option<&str>, wait: bool) -> Result<Arc<Served>, ApiError> {
        let entry = match name {
            None => self.entries.first(),
            Some(name) => self.entries.iter().find(|entry| same_model(&entry.name, name)),
        };
        let Some(entry) = entry else {
            return Err(ApiError::not_found(format!("Model {} does not exist", name.unwrap_or("(the default)"))));
        };
        let mut state = entry.state.clone();
        let loaded = state.wait_for(|state| !matches!(state, State::Loading));
        let loaded = match wait {
            true => Some(loaded.await),
            false => tokio::time::timeout(HOLD, loaded).await.ok(),
        };
        match loaded.map(|state| state.map(|state| state.clone())) {
            Some(Ok(State::Ready(served))) => Ok(served),
            Some(Ok(State::Failed(why))) => Err(ApiError::unavailable(why)),
            Some(Ok(State::Loading)) | None => {
                let left = EXPECTED.saturating_sub(entry.begun.elapsed()).max(HOLD);
                Err(ApiError::loading(&entry.name, left.as_secs_f64()))
            }
            Some(Err(_)) => Err(ApiError::unavailable(format!("model {} was not loaded", entry.name))),
        }
    }

    /// Closes all queues.
    pub(super) fn close(&self) {
        for entry in &self.entries {
            if let State::Ready(served) = &*entry.state.borrow() {
                served.queue.close();
            }
        }
    }
}

/// Whether a client that asks for `asked` means the model `name`: the same, or the same but for an organisation that only
/// one of them has.
fn same_model(name: &str, asked: &str) -> bool {
    let last = |id: &'_ str| id.rsplit('/').next().unwrap_or_default().to_owned();
    name == asked || (name.contains('/') != asked.contains('/') && last(name) == last(asked))
}
