//! The contents of a model folder.
//!
//! [`known_files`] names the files and says when each is read. [`module_list`] parses modules.json,
//! which names the subfolders. [`manifest`] records the files that one model consists of. The
//! loader, `convert` and the hub's file selection share all three. [`task`] says whether a model
//! without modules.json is an encoder.

mod kind;
mod known_files;
mod manifest;
mod module_list;
mod sentence_config;
mod task;

pub use kind::ModelKind;
pub(crate) use known_files::*;
pub(crate) use manifest::{Manifest, reject_unsupported_files};
pub(crate) use module_list::{ModuleEntry, ModuleList};
pub(crate) use sentence_config::SentenceConfig;
pub(crate) use task::{
    TransformerTask, reject_other_tasks, require_masked_language, require_sequence_classifier, require_stanford_colbert,
};
