//! The sentence head: the modules that modules.json lists after the encoder.
//!
//! The first module is the encoder, and the second pools its token vectors. The others change the
//! sentence vector, in the order of the list. [`ModuleList`](crate::model_folder::ModuleList) says
//! how a class path identifies a module.

mod dense;
mod head;
mod module_config;
mod pooling;

pub(crate) use head::{OutputOptions, PoolingHead};
pub use pooling::PoolingMode;
