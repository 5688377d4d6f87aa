//! Where the vectors of a text's tokens come from.

use likewise_kernels::quant::Precision;

use crate::backbone::{Backbone, HeadMemory, Runtime};
use crate::encoder::Architecture;
use crate::model_info::TokenVectorInfo;
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

    /// Returns the encoder. None for a table.
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

    /// Describes the source. `head` is the memory of the modules after it.
    pub(super) fn info(&self, head: HeadMemory) -> TokenVectorInfo<'_> {
        match self {
            Self::Encoder(backbone) => TokenVectorInfo::of_encoder(backbone, |_| head),
            Self::Table(model) => {
                let table = model.table();
                let memory = model.runtime().memory_with_table(table.bytes(), table.bytes_in_memory(), head);
                // A table has the type of the file, whatever the precision.
                let precision = Precision::F32;
                TokenVectorInfo {
                    runtime: model.runtime(),
                    architecture: Architecture::of_table(model.family(), table.width(), table.tokens()),
                    parameters: table.parameters(),
                    dtype: table.dtype(),
                    precision,
                    converted: false,
                    memory_by_precision: vec![(precision, memory)],
                    memory,
                }
            }
        }
    }
}
