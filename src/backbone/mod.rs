//! What every kind of model shares: an encoder with its tokenizer, its threads and the buffers of
//! its passes.
//!
//! A backbone turns texts into token ids, divides them into batches, and gives the token vectors of
//! a batch to the model. What the model makes of them depends on its kind.

mod batch_plan;
mod folder;
mod forward;
mod memory;
mod model;
mod open;
mod runtime;
mod tokenization;
mod tokenized_text;

#[cfg(feature = "serve")]
pub(crate) use batch_plan::TARGET_TOKENS_PER_BATCH;
pub(crate) use folder::ModelFolder;
pub(crate) use memory::HeadMemory;
pub use memory::MemoryEstimate;
pub(crate) use model::Backbone;
pub(crate) use open::{BackboneSettings, LoadedBackbone, PreparedBackbone};
pub use runtime::TruncationPolicy;
pub(crate) use runtime::{Runtime, TEXTS_PER_TASK};
pub(crate) use tokenized_text::{TokenizedText, prepend_prompt};
