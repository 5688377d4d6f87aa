//! Where the vectors of a text's tokens come from.

use likewise_kernels::quant::Precision;

use crate::backbone::{Backbone, HeadMemory, MemoryEstimate, Runtime};
use crate::encoder::Architecture;
use crate::static_embedding::StaticModel;

/// Where the vectors of a text's tokens come from.
pub(crate) enum TokenVectors {
    /// An encoder computes them.
    Encoder(Box<Backbone>),
    /// A table has one for each token.
    Table(Box<StaticModel>),
}

impl TokenVectors {
    /// Returns what both have.
    pub(super) fn runtime(&self) -> &Runtime {
        match self {
            Self::Encoder(backbone) => backbone,
            Self::Table(model) => model.runtime(),
        }
    }

    /// Returns the encoder, unless there is none.
    pub(super) fn backbone(&self) -> Option<&Backbone> {
        match self {
            Self::Encoder(backbone) => Some(backbone),
            Self::Table(_) => None,
        }
    }

    /// Returns the width of a token vector, D.
    #[cfg(feature = "serve")]
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Encoder(backbone) => backbone.spec().hidden_size,
            Self::Table(model) => model.table().width(),
        }
    }

    /// Returns the type of the elements that the linear layers multiply. A table has none, and is
    /// added up in the type of the file.
    pub(super) fn precision(&self) -> Precision {
        self.backbone().map_or(Precision::F32, Backbone::precision)
    }

    /// Returns whether the weights had been packed before, in a file.
    pub(super) fn is_converted(&self) -> bool {
        self.backbone().is_some_and(Backbone::is_converted)
    }

    /// Returns the element type of the token embeddings in the file.
    pub(super) fn dtype(&self) -> &'static str {
        match self {
            Self::Encoder(backbone) => backbone.encoder().dtype(),
            Self::Table(model) => model.table().dtype(),
        }
    }

    /// Returns the number of parameters, without those of the modules after pooling.
    pub(super) fn parameters(&self) -> usize {
        match self {
            Self::Encoder(backbone) => backbone.spec().parameters(),
            Self::Table(model) => model.table().parameters(),
        }
    }

    pub(super) fn architecture(&self) -> Architecture {
        match self {
            Self::Encoder(backbone) => backbone.spec().architecture(),
            Self::Table(model) => Architecture::of_table(model.family(), model.table().width(), model.table().tokens()),
        }
    }

    /// Returns the memory that the model takes, or would take in another precision.
    pub(super) fn memory(&self, precision: Precision, head: HeadMemory) -> MemoryEstimate {
        match self {
            Self::Encoder(backbone) => backbone.memory(precision, head),
            Self::Table(model) => {
                let table = model.table();
                model.runtime().memory_with_table(table.bytes(), table.bytes_in_memory(), head)
            }
        }
    }

    /// Returns the precisions in which the model's files can be opened with different results.
    pub(super) fn precisions(&self) -> impl Iterator<Item = Precision> {
        let only = (self.is_converted() || self.backbone().is_none()).then_some(self.precision());
        Precision::ALL.into_iter().filter(move |&precision| only.is_none_or(|only| only == precision))
    }
}
