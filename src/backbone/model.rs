//! The backbone: an opened encoder and the threads that run it.

use std::sync::Mutex;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use crate::encoder::spec::EncoderSpec;
use crate::encoder::{Encoder, LoadStats, PassBuffers};
use crate::parallel::Pool;
use crate::tokenizer::Tokenizer;

/// An encoder that is open and ready to use, with its tokenizer and threads.
pub(crate) struct Backbone {
    pub(super) level: Level,
    pub(super) precision: Precision,
    pub(super) thread_pool: Pool,
    pub(super) tokenizer: Tokenizer,
    pub(super) encoder: Encoder,
    pub(super) load_stats: LoadStats,
    pub(super) truncation: TruncationPolicy,
    pub(super) name: String,
    /// Buffers of earlier passes, kept for reuse.
    pub(super) pass_buffers: Mutex<Vec<PassBuffers>>,
}

/// What to do with a text that has more tokens than the maximum length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TruncationPolicy {
    /// Truncate the text and report it in [`TokenUsage`](crate::TokenUsage).
    #[default]
    Allow,
    /// Fail with [`Error::TooLong`](crate::Error::TooLong).
    Error,
}

impl Backbone {
    /// Returns the SIMD level of the computation.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// Returns the type of the elements that the linear layers multiply.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn thread_pool(&self) -> &Pool {
        &self.thread_pool
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Returns the description of the encoder.
    pub(crate) fn spec(&self) -> &EncoderSpec {
        self.encoder.spec()
    }

    /// Returns whether the weights had been packed before, in a file.
    pub(crate) fn is_converted(&self) -> bool {
        self.load_stats.is_converted
    }

    /// Returns what happens to texts that are too long.
    pub(crate) fn truncation(&self) -> TruncationPolicy {
        self.truncation
    }

    /// Returns the model's name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}
