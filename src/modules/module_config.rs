//! Checks that the configurations of several kinds of modules share.

use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, file_in};

/// Reads the config.json of a module in a subfolder. `why` says what it is needed for.
pub(super) fn module_config(files: &ModelFiles, path: &str, why: &'static str) -> Result<JsonObject> {
    let name = file_in(path, CONFIG);
    let bytes = files.require(&name, why)?;
    JsonObject::parse(&files.label(&name), &bytes)
}

/// What a module computes, by the name that it gives its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModuleOutput {
    /// Vectors of texts.
    Embedding,
    /// One number for each label, of the last module of a cross-encoder.
    Scores,
    /// Vectors of tokens.
    Tokens,
}

impl ModuleOutput {
    fn name(self) -> &'static str {
        match self {
            Self::Embedding => "sentence_embedding",
            Self::Scores => "scores",
            Self::Tokens => "token_embeddings",
        }
    }

    /// Returns what a module reads that computes this.
    pub(super) fn input(self) -> Self {
        match self {
            Self::Embedding | Self::Scores => Self::Embedding,
            Self::Tokens => Self::Tokens,
        }
    }

    /// Rejects a module whose input or output, by a key, is anything else. Without the key it is
    /// what the module reads.
    pub(super) fn require(self, keys: &JsonObject, key: &str) -> Result<()> {
        if keys.string(key)?.unwrap_or(self.input().name()) != self.name() {
            return Err(keys.invalid_value(key, self.name()));
        }
        Ok(())
    }
}

/// Rejects a module whose input or output is anything but vectors of a kind.
pub(super) fn reject_other_features(keys: &JsonObject, vectors: ModuleOutput) -> Result<()> {
    ["module_input_name", "module_output_name"].iter().try_for_each(|key| vectors.require(keys, key))
}
