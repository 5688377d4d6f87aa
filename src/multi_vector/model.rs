//! The multi-vector encoder: an opened model and the threads that run it.

use std::collections::BTreeMap;
use std::fmt;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::role::RoleSettings;
use crate::backbone::Backbone;
use crate::embedder::Builder;
use crate::modules::{ScoredTokens, TokenHead};
use crate::similarity::MultiVectorSimilarity;

/// A model of late interaction such as ColBERT, open and ready to use: it computes a vector for
/// each token, and scores a document by the tokens that suit those of a query best.
///
/// Open one with [`MultiVectorEncoder::open`] or [`MultiVectorEncoder::builder`]. The type is
/// `Send` and `Sync`. All methods take `&self`, and any number of threads may call them at once.
///
/// In every precision a text's vectors have the same bits alone and in any batch, in any order,
/// with any number of threads, and on every level that has fused multiply-add. So do the scores.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// let model = likewise::MultiVectorEncoder::open("path/to/colbertv2.0")?;
/// let texts = ["Berlin has 3.5 million inhabitants.", "Berlin is known for its museums."];
/// let documents = model.encode_documents(&texts)?;
/// let queries = model.encode_queries(&["How many people live in Berlin?"])?;
/// let score = model.maxsim(queries.text(0), documents.text(0))?;
/// assert!(score > model.maxsim(queries.text(0), documents.text(1))?);
/// # Ok(())
/// # }
/// ```
pub struct MultiVectorEncoder {
    pub(super) backbone: Backbone,
    pub(super) head: TokenHead,
    /// Which tokens the model's mask leaves out.
    pub(super) scored: ScoredTokens,
    pub(super) queries: RoleSettings,
    pub(super) documents: RoleSettings,
    pub(super) similarity: MultiVectorSimilarity,
    /// The texts of all prompts, by name.
    pub(super) prompts: BTreeMap<String, String>,
    /// How many elements of a vector are kept.
    pub(super) width: usize,
    /// Whether the kept elements are scaled to length 1.
    pub(super) normalize: bool,
}

impl MultiVectorEncoder {
    /// Returns the default settings, to be changed before a model is opened with
    /// [`Builder::open_multi_vector_encoder`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the number of elements of a token's vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the function of the scores.
    pub fn similarity_function(&self) -> MultiVectorSimilarity {
        self.similarity
    }

    /// Returns the SIMD level of the computation.
    pub fn level(&self) -> Level {
        self.backbone.level()
    }

    /// Returns the type of the elements that the linear layers multiply.
    pub fn precision(&self) -> Precision {
        self.backbone.precision()
    }
}

impl fmt::Debug for MultiVectorEncoder {
    /// Formats the settings. Weights, vocabulary and buffers are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiVectorEncoder")
            .field("name", &self.backbone.name())
            .field("level", &self.level())
            .field("precision", &self.precision())
            .field("threads", &self.backbone.thread_pool().size())
            .field("queries", &self.queries)
            .field("documents", &self.documents)
            .field("truncation", &self.backbone.truncation())
            .field("width", &self.width)
            .field("similarity", &self.similarity)
            .finish_non_exhaustive()
    }
}
