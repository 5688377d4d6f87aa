//! The description of an opened model.

use std::collections::BTreeMap;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::memory::{self, MemoryEstimate};
use super::model::Embedder;
use crate::encoder::families::Blueprint;
use crate::similarity::Similarity;

/// The description of a model and of how it is run. Returned by [`Embedder::info`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The model's name: its hub id, its folder's name, or the name that its files were given.
    pub name: String,
    /// The architecture and its sizes.
    pub blueprint: Blueprint,
    /// A description of each module of the sentence head, such as "mean pooling".
    pub modules: Vec<String>,
    /// The similarity function.
    pub similarity: Similarity,
    /// The maximum number of tokens of a text, special ones included.
    pub max_length: usize,
    /// The number of elements of a sentence vector.
    pub width: usize,
    /// The type of the weights in the file.
    pub dtype: &'static str,
    /// The SIMD level of the computation.
    pub level: Level,
    /// The type of the elements that the linear layers multiply.
    pub precision: Precision,
    /// The number of threads.
    pub threads: usize,
    /// The texts of the prompts that the model defines, by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt that is put before every text.
    pub prompt: String,
    /// The number of parameters of the encoder, without unused tensors.
    pub parameters: usize,
    /// The memory that the model takes.
    pub memory: MemoryEstimate,
    /// The memory that the model takes in each precision in which its files can be opened.
    pub memory_by_precision: Vec<(Precision, MemoryEstimate)>,
    /// Whether the model was converted ([`Builder::convert`](crate::Builder::convert)): processes
    /// share its packed weights.
    pub converted: bool,
}

/// Returns the number of parameters of the encoder.
fn parameters(b: &Blueprint) -> usize {
    let norm = 2 * b.width;
    let layer = 4 * (b.width * b.width + b.width) + 2 * b.width * b.inner + b.inner + b.width + 2 * norm;
    let tables = (b.vocabulary + b.position_rows + b.segments.unwrap_or(0)) * b.width;
    tables + norm + b.layers * layer + b.relative_bias.map_or(0, |bias| bias.buckets * b.heads)
}

impl Embedder {
    /// Describes the model and how it is run.
    pub fn info(&self) -> ModelInfo {
        let blueprint = self.encoder.blueprint().clone();
        ModelInfo {
            name: self.name.clone(),
            parameters: parameters(&blueprint),
            modules: self.head.describe(),
            similarity: self.similarity,
            max_length: self.tokenizer.max_tokens(),
            width: self.width(),
            dtype: self.encoder.dtype(),
            level: self.level,
            precision: self.precision,
            threads: self.thread_pool.size(),
            prompts: self.prompts.clone(),
            prompt: self.prompt.clone(),
            memory: self.memory(self.precision),
            memory_by_precision: self.precisions().map(|precision| (precision, self.memory(precision))).collect(),
            converted: self.encoder.is_converted(),
            blueprint,
        }
    }

    /// Returns the precisions in which the model's files can be opened.
    fn precisions(&self) -> impl Iterator<Item = Precision> {
        let only = self.encoder.is_converted().then_some(self.precision);
        Precision::ALL.into_iter().filter(move |&precision| only.is_none_or(|only| only == precision))
    }

    /// Estimates the memory that the model takes in a precision.
    fn memory(&self, precision: Precision) -> MemoryEstimate {
        let max_tokens = self.max_batch_tokens();
        let (tokenizer_model, entries) = self.tokenizer.model_and_vocab_size();
        let matrices = self.encoder.packed_bytes(precision);
        let (own, mapped) = if self.encoder.matrices_are_mapped() { (0, matrices) } else { (matrices, 0) };
        MemoryEstimate {
            program: memory::PROGRAM,
            tokenizer: memory::tokenizer(tokenizer_model, entries),
            packed: own + self.encoder.copied_bytes(precision) + self.head.bytes(),
            mapped,
            given: self.encoder.given_bytes(),
            packing: self.encoder.packing_bytes(),
            tables: self.encoder.mapped_bytes(),
            activations: self.thread_pool.size() * memory::activations(self.encoder.blueprint(), precision, max_tokens),
        }
    }
}
