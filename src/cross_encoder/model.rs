//! The cross-encoder: an opened model and the threads that run it.

use std::collections::BTreeMap;
use std::fmt;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

#[cfg(feature = "serve")]
use super::activation::ProblemType;
use super::activation::ScoreActivation;
use crate::backbone::Backbone;
use crate::embedder::Builder;
use crate::modules::{ClassificationHead, PoolingHead};

/// A model that scores pairs of texts, open and ready to use: a reranker, or a classifier of pairs.
///
/// Open one with [`CrossEncoder::open`], [`CrossEncoder::builder`] or, with the feature `hub`,
/// `CrossEncoder::from_hub`. The type is `Send` and `Sync`. All methods take `&self`, and any
/// number of threads may call them at once.
///
/// In every precision a pair's scores have the same bits alone and in any batch, in any order, with
/// any number of threads, and on every level that has fused multiply-add.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// let model = likewise::CrossEncoder::open("path/to/ms-marco-MiniLM-L6-v2")?;
/// let texts = ["Berlin has 3.5 million inhabitants.", "Berlin is known for its museums."];
/// let ranked = model.rank("How many people live in Berlin?", &texts)?;
/// assert_eq!(ranked[0].index, 0);
/// # Ok(())
/// # }
/// ```
pub struct CrossEncoder {
    pub(super) backbone: Backbone,
    /// Pools the token vectors. In a model with modules.json it may also compute the scores.
    pub(super) pooling: PoolingHead,
    /// Computes the scores in a model of a class for sequence classification.
    pub(super) classifier: Option<ClassificationHead>,
    pub(super) activation: ScoreActivation,
    /// What the numbers of the head mean to the pipeline of transformers.
    #[cfg(feature = "serve")]
    pub(super) problem_type: ProblemType,
    pub(super) labels: Vec<String>,
    /// The text that is put before the first text of every pair.
    pub(super) prompt: String,
    /// The texts of all prompts, by name.
    pub(super) prompts: BTreeMap<String, String>,
}

impl CrossEncoder {
    /// Returns the default settings, to be changed before a model is opened with
    /// [`Builder::open_cross_encoder`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the names of the labels, in the order of the scores. A reranker has one.
    pub fn labels(&self) -> &[String] {
        &self.labels
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

impl fmt::Debug for CrossEncoder {
    /// Formats the settings. Weights, vocabulary and buffers are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrossEncoder")
            .field("name", &self.backbone.name())
            .field("level", &self.level())
            .field("precision", &self.precision())
            .field("threads", &self.backbone.thread_pool().size())
            .field("max_length", &self.backbone.tokenizer().max_tokens())
            .field("truncation", &self.backbone.truncation())
            .field("labels", &self.labels)
            .field("prompt", &self.prompt)
            .finish_non_exhaustive()
    }
}
