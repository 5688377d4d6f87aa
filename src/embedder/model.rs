//! The embedder: an opened model and the threads that run it.

use std::collections::BTreeMap;
use std::fmt;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::source::TokenVectors;
use crate::backbone::Runtime;
use crate::error::Result;
use crate::modules::{OutputOptions, PoolingHead};
use crate::similarity::Similarity;

/// A sentence embedding model that is open and ready to use.
///
/// Open one with [`Embedder::open`], [`Embedder::builder`] or, with the feature `hub`,
/// `Embedder::from_hub`. The type is `Send` and `Sync`. All methods take `&self`, and any number of
/// threads may call them at once.
///
/// In every precision a text's vector has the same bits alone and in any batch, in any order, with
/// any number of threads, and on every level that has fused multiply-add.
pub struct Embedder {
    pub(super) token_vectors: TokenVectors,
    pub(super) head: PoolingHead,
    pub(super) output_options: OutputOptions,
    pub(super) similarity: Similarity,
    /// The text that [`Embedder::embed`] puts before every text.
    pub(super) prompt: String,
    /// The texts of all prompts, by name.
    pub(super) prompts: BTreeMap<String, String>,
}

impl Embedder {
    /// Returns the width of a sentence vector: its number of elements.
    pub fn width(&self) -> usize {
        self.output_options.dimensions.map_or(self.head.width(), |dimensions| dimensions.min(self.head.width()))
    }

    /// Returns the model's similarity function.
    pub fn similarity_function(&self) -> Similarity {
        self.similarity
    }

    /// Returns the SIMD level of the computation.
    pub fn level(&self) -> Level {
        self.runtime().level()
    }

    /// Returns the type of the elements that the linear layers of the encoder multiply. Static
    /// embeddings have none: then it is f32.
    pub fn precision(&self) -> Precision {
        self.token_vectors.precision()
    }

    /// Scores two vectors of this model by its similarity function. A higher score means more
    /// similar.
    ///
    /// # Errors
    /// If the vectors differ in length.
    pub fn score(&self, a: &[f32], b: &[f32]) -> Result<f32> {
        self.similarity.score(self.level(), a, b)
    }

    /// Returns the tokenizer, the threads and the settings.
    pub(crate) fn runtime(&self) -> &Runtime {
        self.token_vectors.runtime()
    }

    /// Returns the text of the prompt of this name, or "" if the model defines none.
    pub(super) fn prompt_by_name(&self, name: &str) -> &str {
        self.prompts.get(name).map_or("", String::as_str)
    }
}

impl fmt::Debug for Embedder {
    /// Formats the settings. Weights, vocabulary and buffers are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder")
            .field("name", &self.runtime().name())
            .field("level", &self.level())
            .field("precision", &self.precision())
            .field("threads", &self.runtime().thread_pool().size())
            .field("max_length", &self.runtime().tokenizer().max_tokens())
            .field("truncation", &self.runtime().truncation())
            .field("width", &self.width())
            .field("similarity", &self.similarity)
            .field("prompt", &self.prompt)
            .finish_non_exhaustive()
    }
}
