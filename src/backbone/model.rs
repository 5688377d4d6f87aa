//! The backbone: an opened encoder and the threads that run it.

use std::ops::Deref;
use std::sync::Mutex;

use likewise_kernels::quant::Precision;

use super::runtime::Runtime;
use crate::encoder::spec::EncoderSpec;
use crate::encoder::{Encoder, LoadStats, PassBuffers};

/// An encoder that is open and ready to use, with its tokenizer and threads.
///
/// Dereferences to the runtime, which models without an encoder have too.
pub(crate) struct Backbone {
    pub(super) runtime: Runtime,
    pub(super) precision: Precision,
    pub(super) encoder: Encoder,
    pub(super) load_stats: LoadStats,
    /// Buffers of earlier passes, kept for reuse.
    pub(super) pass_buffers: Mutex<Vec<PassBuffers>>,
}

impl Backbone {
    /// Returns the type of the elements that the linear layers multiply.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
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
}

impl Deref for Backbone {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        &self.runtime
    }
}
