//! What the queue needs from a model, whatever its kind.

use crate::backbone::Backbone;
use crate::cross_encoder::{CrossEncoder, CrossEncoderInfo, EncodedPair};
use crate::embedder::{Embedder, EncodedText, ModelInfo};
use crate::error::Result;
use crate::modules::SparseVector;
use crate::sparse_encoder::{EncodedSparseText, SparseEncoder, SparseEncoderInfo};
use crate::tokenizer::TokenUsage;

/// A model that computes batches of encoded inputs. The result of an input has the same bits in any
/// batch.
pub(in crate::server) trait BatchModel: Send + Sync + 'static {
    /// A tokenized input.
    type Input: Send + 'static;
    /// What the model computes from an input.
    type Row: Default + Send + 'static;
    /// The description of the model.
    type Info;

    fn info(&self) -> Self::Info;

    /// Returns the encoder with the threads of the computation. None if the model has only weights
    /// of tokens.
    fn backbone(&self) -> Option<&Backbone>;

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
    type Info = ModelInfo;

    fn info(&self) -> ModelInfo {
        self.info()
    }

    fn backbone(&self) -> Option<&Backbone> {
        Some(self.backbone())
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
    type Info = CrossEncoderInfo;

    fn info(&self) -> CrossEncoderInfo {
        self.info()
    }

    fn backbone(&self) -> Option<&Backbone> {
        Some(self.backbone())
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
    type Info = SparseEncoderInfo;

    fn info(&self) -> SparseEncoderInfo {
        self.info()
    }

    fn backbone(&self) -> Option<&Backbone> {
        self.backbone()
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
