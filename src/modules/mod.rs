//! The modules that modules.json lists after the encoder: the sentence head, or the token head of a
//! late-interaction model.
//!
//! The first module is the encoder, and the second pools its token vectors. The others change the
//! sentence vector, in the order of the list. [`ModuleList`](crate::model_folder::ModuleList) says
//! how a class path identifies a module.

mod affine;
mod classification_head;
mod dense;
mod head;
mod linear_file;
mod masked_language_head;
mod module_config;
mod pooled_pass;
mod pooling;
mod splade;
mod token_head;
mod token_mask;
mod token_shares;
mod torch_class;

pub(crate) use classification_head::ClassificationHead;
pub(crate) use head::{OutputOptions, PoolingHead};
pub(crate) use linear_file::LinearFile;
pub(crate) use masked_language_head::MaskedLanguageHead;
pub(crate) use module_config::ModuleOutput;
pub use pooling::PoolingMode;
pub(crate) use splade::{SparseVector, SpladePooling};
pub(crate) use token_head::TokenHead;
pub(crate) use token_mask::{ScoredTokens, TokenMask};
pub(crate) use token_shares::TokenShares;
pub(crate) use torch_class::torch_activation;
