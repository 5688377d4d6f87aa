//! config_sentence_transformers.json: prompts and other settings of a model.
//!
//! Follows sentence-transformers 6.2.0, `base/model.py`.

use std::collections::BTreeMap;

use super::kind::ModelKind;
use super::known_files::SENTENCE_TRANSFORMERS_CONFIG;
use super::manifest::Manifest;
use crate::config::JsonObject;
use crate::error::{Error, Result};
use crate::files::ModelFiles;

/// The content of config_sentence_transformers.json. Without the file every setting has its
/// default.
pub(crate) struct SentenceConfig {
    keys: Option<JsonObject>,
    /// The file, for errors.
    label: String,
}

impl SentenceConfig {
    /// Reads the file of a model of a kind and adds it to the manifest. `has_modules`: whether the
    /// model has modules.json.
    ///
    /// # Errors
    /// If the file cannot be read, or describes a model of another kind.
    pub(crate) fn load(
        files: &ModelFiles,
        manifest: &mut Manifest,
        has_modules: bool,
        kind: ModelKind,
    ) -> Result<Self> {
        let keys = manifest.json(files, SENTENCE_TRANSFORMERS_CONFIG)?;
        if let Some(keys) = &keys {
            // A cross-encoder without modules.json may have the file of another model.
            if has_modules || kind == ModelKind::Embedder {
                kind.check_model_type(keys)?;
            }
        }
        // sentence-transformers also ignores the file if there is no modules.json.
        Ok(Self { keys: keys.filter(|_| has_modules), label: files.label(SENTENCE_TRANSFORMERS_CONFIG) })
    }

    /// Returns the keys, if the file exists and counts.
    pub(crate) fn keys(&self) -> Option<&JsonObject> {
        self.keys.as_ref()
    }

    /// Returns the texts of the prompts, by name.
    pub(crate) fn prompts(&self) -> Result<BTreeMap<String, String>> {
        let mut prompts = self.keys.as_ref().map_or(Ok(BTreeMap::new()), |keys| keys.string_map("prompts"))?;
        // Since sentence-transformers 5.0 every model has these two.
        for name in ["query", "document"] {
            prompts.entry(name.to_owned()).or_default();
        }
        Ok(prompts)
    }

    /// Returns the text of the prompt of this name, or without a name that of the default prompt.
    pub(crate) fn prompt(&self, name: Option<String>, prompts: &BTreeMap<String, String>) -> Result<String> {
        let default = self.keys.as_ref().map_or(Ok(None), |keys| keys.string("default_prompt_name"))?;
        let Some(name) = name.or_else(|| default.map(str::to_owned)) else { return Ok(String::new()) };
        prompts.get(&name).cloned().ok_or_else(|| Error::Prompt {
            name,
            origin: self.label.clone(),
            known: prompts.keys().cloned().collect(),
        })
    }

    /// Returns the number of elements to keep of a vector. It may exceed the vector's width.
    pub(crate) fn truncate_dim(&self) -> Result<Option<usize>> {
        self.keys.as_ref().map_or(Ok(None), |keys| keys.positive_integer("truncate_dim"))
    }
}
