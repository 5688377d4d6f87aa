//! The description of an opened multi-vector encoder.

use std::collections::BTreeMap;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::max_sim::MultiVectorSimilarity;
use super::model::MultiVectorEncoder;
use crate::backbone::{HeadMemory, MemoryEstimate};
use crate::encoder::Architecture;

/// The description of a multi-vector encoder and of how it is run. Returned by
/// [`MultiVectorEncoder::info`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MultiVectorInfo {
    /// The model's name: its hub id, its folder's name, or the name that its files were given.
    pub name: String,
    /// The architecture and its sizes.
    pub architecture: Architecture,
    /// A description of each module after the encoder.
    pub modules: Vec<String>,
    /// The function of the scores.
    pub similarity: MultiVectorSimilarity,
    /// The number of elements of a token's vector.
    pub width: usize,
    /// The maximum number of tokens of a document, special ones included.
    pub max_length: usize,
    /// The maximum number of tokens of a query, special ones included.
    pub max_query_length: usize,
    /// The number of tokens that shorter queries are expanded to. None if they are not.
    pub expanded_query_length: Option<usize>,
    /// The element type of the token embeddings in the file: "F32", "F16" or "BF16".
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
    /// The prompt that is put before every query.
    pub query_prompt: String,
    /// The prompt that is put before every document.
    pub document_prompt: String,
    /// The number of parameters of the encoder, without unused tensors.
    pub parameters: usize,
    /// The memory that the model takes.
    pub memory: MemoryEstimate,
    /// The memory that the model takes in each precision.
    pub memory_by_precision: Vec<(Precision, MemoryEstimate)>,
}

impl MultiVectorEncoder {
    /// Describes the model and how it is run.
    pub fn info(&self) -> MultiVectorInfo {
        let backbone = &self.backbone;
        let spec = backbone.spec();
        let head = HeadMemory { bytes: self.head.bytes(), reads_one_token: false };
        MultiVectorInfo {
            name: backbone.name().to_owned(),
            architecture: spec.architecture(),
            modules: self.head.describe(),
            similarity: self.similarity,
            width: self.width,
            max_length: self.documents.max_tokens,
            max_query_length: self.queries.max_tokens,
            expanded_query_length: self.queries.expansion.map(|expansion| expansion.length),
            dtype: backbone.encoder().dtype(),
            level: self.level(),
            precision: self.precision(),
            threads: backbone.thread_pool().size(),
            requested_threads: backbone.thread_pool().requested_size(),
            prompts: self.prompts.clone(),
            query_prompt: self.queries.prompt.clone(),
            document_prompt: self.documents.prompt.clone(),
            parameters: spec.parameters(),
            memory: backbone.memory(self.precision(), head),
            memory_by_precision: Precision::ALL.map(|precision| (precision, backbone.memory(precision, head))).into(),
        }
    }

    /// Returns the floating-point operations of a pass over a text of so many tokens, as
    /// [`Embedder::operations`](crate::Embedder::operations) does.
    pub fn operations(&self, tokens: usize) -> f64 {
        self.backbone.spec().operations(tokens)
    }
}
