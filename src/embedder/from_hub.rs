//! Models of the Hugging Face hub by their ids.

use std::env;
use std::path::PathBuf;

use super::builder::Builder;
use super::model::Embedder;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::hub::{self, Hub, Secret, Settings};

/// The branch that a hub id without a revision means.
const DEFAULT_REVISION: &str = "main";

impl Embedder {
    /// Opens a model of the Hugging Face hub with default settings.
    ///
    /// `id` is `organisation/name`, optionally with `@revision`. [`Builder::open_hub`] documents
    /// where the model comes from.
    ///
    /// ```no_run
    /// # fn main() -> likewise::Result<()> {
    /// let model = likewise::Embedder::from_hub("sentence-transformers/all-mpnet-base-v2")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Builder::open_hub`].
    pub fn from_hub(id: &str) -> Result<Self> {
        let (id, revision) = id.split_once('@').unwrap_or((id, DEFAULT_REVISION));
        Self::builder().open_hub(id, revision)
    }
}

impl Builder {
    /// Opens a model of the Hugging Face hub.
    ///
    /// `id` is `organisation/name`. A bare name is also tried under `sentence-transformers/`.
    /// `revision` is a branch, a tag or a commit, usually "main".
    ///
    /// The files come from the hub's cache, without any request if the cache has all of them.
    /// Missing files are downloaded to the cache. The environment variables of huggingface_hub set
    /// the cache folder, the endpoint and the token: see [`guide::hub`](crate::guide::hub). With
    /// `HF_HUB_OFFLINE=1` no request is made.
    ///
    /// # Errors
    /// - If the hub has no such model or revision, or denies access.
    /// - If the hub cannot be reached.
    /// - Offline, if the cache lacks a file.
    /// - If the model cannot be opened: see [`Builder::open`].
    pub fn open_hub(self, id: &str, revision: &str) -> Result<Embedder> {
        let folder = Hub::new(settings()).find_or_pull(id, revision, &mut |_| ())?;
        self.open_files(&ModelFiles::folder(folder).named(id))
    }
}

/// Reads the settings of the hub from the environment.
fn settings() -> Settings {
    let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let cache = hub::cache_folder(path("HF_HUB_CACHE"), path("HF_HOME"), path("XDG_CACHE_HOME"), path("HOME"));
    let mut settings = Settings::new(cache);
    if let Some(endpoint) = text("HF_ENDPOINT") {
        settings.endpoint = endpoint;
    }
    settings.token = text("HF_TOKEN").map(Secret::new);
    settings.offline = text("HF_HUB_OFFLINE")
        .is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str()));
    settings
}
