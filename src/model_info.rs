//! The description of an opened model of any kind.

use std::collections::BTreeMap;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use crate::backbone::{Backbone, HeadMemory, MemoryEstimate, Runtime};
use crate::encoder::Architecture;
use crate::modules::PoolingMode;
use crate::similarity::{MultiVectorSimilarity, Similarity};

/// The description of a model and of how it is run. Returned by
/// [`Embedder::info`](crate::Embedder::info), [`CrossEncoder::info`](crate::CrossEncoder::info) and
/// [`SparseEncoder::info`](crate::SparseEncoder::info).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The model's name: its hub id, its folder's name, or the name that its files were given.
    pub name: String,
    /// The architecture of the encoder and its sizes.
    pub architecture: Architecture,
    /// A description of each module after the encoder, such as "mean pooling".
    pub modules: Vec<String>,
    /// What the model computes.
    pub output: ModelOutput,
    /// The maximum number of tokens of a text or of a pair of texts, special ones included.
    /// [`u32::MAX`] if texts of any length are read whole.
    pub max_length: usize,
    /// The element type of the token embeddings in the file: "F32", "F16" or "BF16"; in static
    /// embeddings also "F64" or "I8".
    pub dtype: &'static str,
    /// The SIMD level of the computation.
    pub level: Level,
    /// The type of the elements that the linear layers multiply.
    pub precision: Precision,
    /// The number of threads.
    pub threads: usize,
    /// The number of threads that were requested, or the default. It is larger than `threads` if
    /// the operating system did not allow as many.
    pub requested_threads: usize,
    /// The texts of the prompts that the model defines, by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt that is put before every text, or before the first text of every pair.
    pub prompt: String,
    /// The number of parameters of the encoder or the table, without unused tensors.
    pub parameters: usize,
    /// The memory that the model takes.
    pub memory: MemoryEstimate,
    /// The memory that the model takes in each precision in which its files can be opened.
    pub memory_by_precision: Vec<(Precision, MemoryEstimate)>,
    /// Whether the model was converted ([`Builder::convert`](crate::Builder::convert)): processes
    /// share its packed weights.
    pub converted: bool,
}

/// What a model computes. Part of [`ModelInfo`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ModelOutput {
    /// A vector for each text.
    Vector {
        /// The number of elements of a vector.
        width: usize,
        /// The pooling modes, whose results are concatenated.
        pooling: Vec<PoolingMode>,
        /// The function that compares two vectors.
        similarity: Similarity,
    },
    /// A vector for each text, with an element for each vocabulary entry, most of them 0.
    SparseVector {
        /// The number of elements of a vector.
        width: usize,
        /// The function that compares two vectors.
        similarity: Similarity,
        /// How many elements of a vector are kept at most. None keeps all.
        max_active_dims: Option<usize>,
    },
    /// A vector for each token of a text.
    TokenVectors {
        /// The number of elements of a token's vector.
        width: usize,
        /// The function that scores a query and a document.
        similarity: MultiVectorSimilarity,
        /// The maximum number of tokens of a query, special ones included.
        max_query_length: usize,
        /// The number of tokens that shorter queries are expanded to. None if they are not.
        expanded_query_length: Option<usize>,
        /// The prompt that is put before every query.
        query_prompt: String,
    },
    /// A score for each label of a pair of texts.
    Scores {
        /// The names of the labels.
        labels: Vec<String>,
        /// The function that turns the numbers of the head into scores, such as "Sigmoid".
        activation: String,
    },
}

impl ModelOutput {
    /// Returns the name of the kind of model that the service writes.
    #[cfg(feature = "serve")]
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Vector { .. } => "embedder",
            Self::SparseVector { .. } => "sparse-encoder",
            Self::TokenVectors { .. } => "multi-vector",
            Self::Scores { .. } => "cross-encoder",
        }
    }
}

/// The part of a description that depends on the modules after the token vectors.
pub(crate) struct HeadInfo<'a> {
    pub(crate) modules: Vec<String>,
    pub(crate) prompts: &'a BTreeMap<String, String>,
    pub(crate) prompt: &'a str,
    pub(crate) output: ModelOutput,
}

/// The part of a description that depends on where the token vectors come from.
pub(crate) struct TokenVectorInfo<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) architecture: Architecture,
    pub(crate) parameters: usize,
    pub(crate) dtype: &'static str,
    pub(crate) precision: Precision,
    pub(crate) converted: bool,
    /// The memory with the modules after the token vectors, in each precision in which the files
    /// can be opened.
    pub(crate) memory_by_precision: Vec<(Precision, MemoryEstimate)>,
    /// The memory in the precision of this model.
    pub(crate) memory: MemoryEstimate,
}

impl<'a> TokenVectorInfo<'a> {
    /// Describes an encoder. `head` is the memory of the modules after it in a precision.
    pub(crate) fn of_encoder(backbone: &'a Backbone, head: impl Fn(Precision) -> HeadMemory) -> Self {
        let precision = backbone.precision();
        // A converted model can be opened in its own precision only.
        let is_possible = |other: &Precision| !backbone.is_converted() || *other == precision;
        let precisions = Precision::ALL.into_iter().filter(is_possible);
        let memory = |precision| backbone.memory(precision, head(precision));
        Self {
            runtime: backbone,
            architecture: backbone.spec().architecture(),
            parameters: backbone.spec().parameters(),
            dtype: backbone.encoder().dtype(),
            precision,
            converted: backbone.is_converted(),
            memory_by_precision: precisions.map(|precision| (precision, memory(precision))).collect(),
            memory: memory(precision),
        }
    }
}

impl ModelInfo {
    pub(crate) fn new(tokens: TokenVectorInfo<'_>, head: HeadInfo<'_>) -> Self {
        let runtime = tokens.runtime;
        Self {
            name: runtime.name().to_owned(),
            architecture: tokens.architecture,
            modules: head.modules,
            output: head.output,
            max_length: runtime.tokenizer().max_tokens(),
            dtype: tokens.dtype,
            level: runtime.level(),
            precision: tokens.precision,
            threads: runtime.thread_pool().size(),
            requested_threads: runtime.thread_pool().requested_size(),
            prompts: head.prompts.clone(),
            prompt: head.prompt.to_owned(),
            parameters: tokens.parameters,
            memory: tokens.memory,
            memory_by_precision: tokens.memory_by_precision,
            converted: tokens.converted,
        }
    }
}
