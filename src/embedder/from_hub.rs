//! Models of the Hugging Face hub by their ids.

use super::builder::Builder;
use super::model::Embedder;
use crate::error::Result;
use crate::hub::{self, DEFAULT_REVISION};

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
        let (id, revision) = hub::split_revision(id, DEFAULT_REVISION);
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
        self.open_files(&hub::model_files(id, revision)?)
    }
}
