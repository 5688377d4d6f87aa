//! Sparse encoders of the Hugging Face hub by their ids.

use super::model::SparseEncoder;
use crate::embedder::Builder;
use crate::error::Result;
use crate::hub::{self, DEFAULT_REVISION};

impl SparseEncoder {
    /// Opens a sparse encoder of the Hugging Face hub with default settings.
    ///
    /// `id` is `organisation/name`, optionally with `@revision`.
    ///
    /// ```no_run
    /// # fn main() -> likewise::Result<()> {
    /// let model = likewise::SparseEncoder::from_hub("naver/splade-v3")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Builder::open_sparse_encoder_hub`].
    pub fn from_hub(id: &str) -> Result<Self> {
        let (id, revision) = hub::split_revision(id, DEFAULT_REVISION);
        Self::builder().open_sparse_encoder_hub(id, revision)
    }
}

impl Builder {
    /// Opens a sparse encoder of the Hugging Face hub. [`Self::open_hub`] documents where the model
    /// comes from.
    ///
    /// # Errors
    /// See [`Self::open_hub`] and [`Self::open_sparse_encoder`].
    pub fn open_sparse_encoder_hub(self, id: &str, revision: &str) -> Result<SparseEncoder> {
        self.open_sparse_encoder_files(&hub::model_files(id, revision)?)
    }
}
