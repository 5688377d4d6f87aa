//! The entry point of the library: texts to sentence vectors and scores.

mod batch_plan;
mod builder;
#[cfg(feature = "write")]
mod convert;
mod embed;
mod forward;
#[cfg(feature = "hub")]
mod from_hub;
mod info;
mod memory;
mod model;
mod results;
mod sentence_config;
#[cfg(feature = "serve")]
mod staged;
mod tokenization;

#[cfg(feature = "serve")]
pub(crate) use batch_plan::TARGET_TOKENS_PER_BATCH;
pub use builder::Builder;
#[cfg(feature = "write")]
pub use convert::Converted;
pub use info::ModelInfo;
pub use memory::MemoryEstimate;
pub use model::{Embedder, TruncationPolicy};
pub use results::{Embeddings, Scores, Trace};
#[cfg(feature = "serve")]
pub(crate) use staged::{EncodeOptions, EncodedText, TextInput};
