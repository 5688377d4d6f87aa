//! bge-m3 and models of its form of the Hugging Face hub by their ids.

use super::model::BgeM3;
use crate::embedder::Builder;
use crate::error::Result;
use crate::hub::{self, DEFAULT_REVISION};

impl BgeM3 {
    /// Opens a model of the Hugging Face hub with default settings.
    ///
    /// `id` is `organisation/name`, optionally with `@revision`.
    ///
    /// ```no_run
    /// # fn main() -> likewise::Result<()> {
    /// let model = likewise::BgeM3::from_hub("BAAI/bge-m3")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Builder::open_bge_m3_hub`].
    pub fn from_hub(id: &str) -> Result<Self> {
        let (id, revision) = hub::split_revision(id, DEFAULT_REVISION);
        Self::builder().open_bge_m3_hub(id, revision)
    }
}

impl Builder {
    /// Opens a model of the form of bge-m3 of the Hugging Face hub. [`Self::open_hub`] documents
    /// where the model comes from.
    ///
    /// Other programs may have stored the model in the cache without the layers of sparse and token
    /// vectors. Unless the environment forbids it, they are then downloaded.
    ///
    /// # Errors
    /// See [`Self::open_hub`] and [`Self::open_bge_m3`].
    pub fn open_bge_m3_hub(self, id: &str, revision: &str) -> Result<BgeM3> {
        self.open_bge_m3_files(&hub::bge_m3_files(id, revision)?)
    }
}
