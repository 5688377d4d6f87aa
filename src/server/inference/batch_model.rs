//! What the queue needs from a model, whatever its kind.

use crate::backbone::Runtime;
use crate::cross_encoder::{CrossEncoder, EncodedPair};
use crate::embedder::{Embedder, EncodedText};
use crate::error::Result;
use crate::model_info::ModelInfo;
use crate::modules::SparseVector;
use crate::multi_vector::{EncodedTokenText, MultiVectorEncoder};
use crate::sparse_encoder::{EncodedSparseText, SparseEncoder};
use crate::tokenizer::TokenUsage;

/// A model that computes batches of encoded inputs. The result of an input has the same bits in any
/// batch.
pub(in crate::server) trait BatchModel: Send + Sync + 'static {
    /// A tokenized input.
    type Input: Send + 'static;
    /// What the model computes from an input.
    type Row: Default + Send + 'static;

    fn info(&self) -> ModelInfo;

    fn runtime(&self) -> &Runtime;

    /// Returns the number of tokens of an input in a batch.
    fn token_count(input: &Self::Input) -> usize;

    /// Returns how many tokens of an input are used.
    fn usage(input: &Self::Input) -> TokenUsage;

    /// Computes one batch, by a team of all threads or by this thread.
    ///
    /// # Errors
    /// If a result is not finite.
    fn run_batch(&self, inputs: &[&Self::Input], use_team: bool) -> Result<Vec<Self::Row>>;
}

impl BatchModel for Embedder {
    type Input = EncodedText;
    type Row = Vec<f32>;

    fn info(&self) -> ModelInfo {
        self.info()
    }

    fn runtime(&self) -> &Runtime {
        self.runtime()
    }

    fn token_count(input: &EncodedText) -> usize {
        input.token_count()
    }

    fn usage(input: &EncodedText) -> TokenUsage {
        input.usage()
    }

    fn run_batch(&self, inputs: &[&EncodedText], use_team: bool) -> Result<Vec<Vec<f32>>> {
        self.run_batch(inputs, use_team)
    }
}

impl BatchModel for CrossEncoder {
    type Input = EncodedPair;
    type Row = Vec<f32>;

    fn info(&self) -> ModelInfo {
        self.info()
    }

    fn runtime(&self) -> &Runtime {
        self.runtime()
    }

    fn token_count(input: &EncodedPair) -> usize {
        input.token_count()
    }

    fn usage(input: &EncodedPair) -> TokenUsage {
        input.usage()
    }

    fn run_batch(&self, inputs: &[&EncodedPair], use_team: bool) -> Result<Vec<Vec<f32>>> {
        self.run_batch(inputs, use_team)
    }
}

impl BatchModel for SparseEncoder {
    type Input = EncodedSparseText;
    type Row = SparseVector;

    fn info(&self) -> ModelInfo {
        self.info()
    }

    fn runtime(&self) -> &Runtime {
        self.runtime()
    }

    fn token_count(input: &EncodedSparseText) -> usize {
        input.token_count()
    }

    fn usage(input: &EncodedSparseText) -> TokenUsage {
        input.usage()
    }

    fn run_batch(&self, inputs: &[&EncodedSparseText], use_team: bool) -> Result<Vec<SparseVector>> {
        self.run_batch(inputs, use_team)
    }
}

impl BatchModel for MultiVectorEncoder {
    type Input = EncodedTokenText;
    type Row = Vec<f32>;

    fn info(&self) -> ModelInfo {
        self.info()
    }

    fn runtime(&self) -> &Runtime {
        self.runtime()
    }

    fn token_count(input: &EncodedTokenText) -> usize {
        input.token_count()
    }

    fn usage(input: &EncodedTokenText) -> TokenUsage {
        input.usage()
    }

    fn run_batch(&self, inputs: &[&EncodedTokenText], use_team: bool) -> Result<Vec<Vec<f32>>> {
        self.run_batch(inputs, use_team)
    }
}
