//! What an embedder answers with.

use std::collections::BTreeMap;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::memory::MemoryEstimate;
use crate::encoder::Architecture;
use crate::similarity::Similarity;
use crate::tokenizer::TokenUsage;
use crate::trace::Recorder;

/// Sentence vectors, in the order of the texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    pub(super) data: Vec<f32>,
    pub(super) width: usize,
    pub(super) usage: Vec<TokenUsage>,
}

/// Scores of sentences against a source, in the order of the sentences.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// More is more alike.
    pub values: Vec<f32>,
    /// How much of the source was read.
    pub source: TokenUsage,
    /// How much of each sentence was read.
    pub sentences: Vec<TokenUsage>,
}

/// Everything a pass over a batch computed. For comparing with another implementation.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The intermediate results.
    pub sites: Recorder,
    /// Token ids of all texts, end to end `[T]`.
    pub ids: Vec<u32>,
    /// Tokens of each text.
    pub lengths: Vec<usize>,
    /// The pooled vectors, before the modules after pooling `[texts, D]`.
    pub pooled: Vec<f32>,
    /// The sentence vectors.
    pub vectors: Embeddings,
}

/// What a model is. Made by [`crate::Embedder::info`].
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// What it is called: as its folder, unless its files were given another name.
    pub name: String,
    /// The architecture and its sizes.
    pub architecture: Architecture,
    /// The sentence head's modules, in words.
    pub modules: Vec<String>,
    /// The similarity function.
    pub similarity: Similarity,
    /// The most tokens of a text.
    pub max_length: usize,
    /// Width of a sentence vector.
    pub width: usize,
    /// The type of the weights in the file.
    pub dtype: &'static str,
    /// Instructions.
    pub level: Level,
    /// The type of the numbers that linear layers multiply.
    pub precision: Precision,
    /// Threads.
    pub threads: usize,
    /// Names and texts of the prompts that the model defines.
    pub prompts: BTreeMap<String, String>,
    /// The prompt that is put before every text.
    pub prompt: String,
    /// Parameters of the encoder, without unused tensors.
    pub parameters: usize,
    /// The memory that it takes.
    pub memory: MemoryEstimate,
    /// What it would take in each precision that its files can be opened with.
    pub memory_in: Vec<(Precision, MemoryEstimate)>,
    /// Whether it was converted ([`crate::Builder::convert`]): its packed weights are a file's, which processes share.
    pub converted: bool,
}

impl Embeddings {
    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.usage.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.usage.is_empty()
    }

    /// Numbers in a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Vector i.
    ///
    /// # Panics
    /// If there is no such vector.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.width..][..self.width]
    }

    /// All vectors in order.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.width)
    }

    /// All numbers, vector after vector.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// How much of each text was read.
    pub fn usage(&self) -> &[TokenUsage] {
        &self.usage
    }
}

impl std::ops::Deref for Scores {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}
