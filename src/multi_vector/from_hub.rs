//! Multi-vector encoders of the Hugging Face hub by their ids.

use super::model::MultiVectorEncoder;
use crate::embedder::Builder;
use crate::error::Result;
use crate::hub::{self, DEFAULT_REVISION};

impl MultiVectorEncoder {
    /// Opens a multi-vector encoder of the Hugging Face hub with default settings.
    ///
    /// `id` is `organisation/name`, optionally with `@revision`.
    ///
    /// ```no_run
    /// # fn main() -> likewise::Result<()> {
    /// let model = likewise::MultiVectorEncoder::from_hub("colbert-ir/colbertv2.0")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Builder::open_multi_vector_encoder_hub`].
    pub fn from_hub(id: &str) -> Result<Self> {
        let (id, revision) = hub::split_revision(id, DEFAULT_REVISION);
        Self::builder().open_multi_vector_encoder_hub(id, revision)
    }
}

impl Builder {
    /// Opens a multi-vector encoder of the Hugging Face hub. [`Self::open_hub`] documents where the
    /// model comes from.
    ///
    /// # Errors
    /// See [`Self::open_hub`] and [`Self::open_multi_vector_encoder`].
    pub fn open_multi_vector_encoder_hub(self, id: &str, revision: &str) -> Result<MultiVectorEncoder> {
        self.open_multi_vector_encoder_files(&hub::model_files(id, revision)?)
    }
}
