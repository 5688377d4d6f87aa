//! Opening multi-vector encoders.

use std::path::PathBuf;

use super::folder::FolderSettings;
use super::model::MultiVectorEncoder;
use super::role::RoleSettings;
use crate::backbone::{LoadedBackbone, ModelFolder, PreparedBackbone};
use crate::checkpoint::TensorReader;
use crate::embedder::Builder;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{ModelKind, SentenceConfig, TransformerTask, require_stanford_colbert};
use crate::modules::{ScoredTokens, TokenHead};

impl Builder {
    /// Opens the folder of a multi-vector encoder: of sentence-transformers, of PyLate, or of
    /// Stanford's ColBERT. [`Self::open`] documents what must not happen to the files while the
    /// model is open.
    ///
    /// [`Self::prompt`] and [`Self::prompt_name`] apply to queries and documents; without them each
    /// has its own. [`Self::max_length`] does not change the length of queries that the model
    /// expands to a fixed length.
    ///
    /// # Errors
    /// - If a file is missing, damaged or needs something that is not supported.
    /// - If the model is of another kind.
    pub fn open_multi_vector_encoder(self, folder: impl Into<PathBuf>) -> Result<MultiVectorEncoder> {
        self.open_multi_vector_encoder_files(&ModelFiles::folder(folder))
    }

    /// Opens a multi-vector encoder whose files are in a folder or in memory.
    ///
    /// # Errors
    /// See [`Self::open_multi_vector_encoder`].
    pub fn open_multi_vector_encoder_files(self, files: &ModelFiles) -> Result<MultiVectorEncoder> {
        let mut folder = ModelFolder::read(files)?;
        let has_modules = folder.modules.is_some();
        let config = SentenceConfig::load(files, &mut folder.manifest, has_modules, ModelKind::MultiVector)?;
        match &folder.modules {
            None => require_stanford_colbert(&folder.config)?,
            // Without the file the model is an embedder.
            Some(_) if config.keys().is_none() => return Err(no_kind(files)),
            Some(_) => {}
        }
        let task = TransformerTask::LateInteraction;
        let mut prepared = PreparedBackbone::read(&mut folder, &self.backbone, task)?;
        let min = prepared.tokenizer().special_token_count() + 1;
        let settings = match has_modules {
            true => FolderSettings::of_modules(&config, min)?,
            false => FolderSettings::of_stanford(files, &mut folder.manifest, min)?,
        };
        let FolderSettings { lengths, prefixes, prompts, unlisted_mask, similarity } = settings;
        prepared.register_markers(&prefixes.iter().map(String::as_str).collect::<Vec<_>>())?;
        let prompt_of = |role: &str| match &self.prompt {
            Some(prompt) => Ok(prompt.clone()),
            None => named_prompt(&prompts, self.prompt_name.as_deref().unwrap_or(role), &prepared),
        };
        let lengths = prepared.tokenizer().text_lengths().clone().or(lengths);
        let requested = self.backbone.max_length;
        let documents = RoleSettings::of_documents(&prepared, prompt_of("document")?, &lengths, requested);
        let queries = RoleSettings::of_queries(&prepared, prompt_of("query")?, lengths, requested)?;
        let mut head = load_head(&folder, &prepared)?;
        if let Some(mask) = unlisted_mask {
            head = head.with_mask_and_normalize(mask);
        }
        let width = match self.truncate_dim {
            Some(requested) if !(1..=head.width()).contains(&requested) => {
                return Err(Error::TruncateDim { requested, max: head.width() });
            }
            requested => requested.unwrap_or(head.width()),
        };
        let token_id = |word: &str| prepared.tokenizer().token_id(word);
        let scored = head.mask().map_or(ScoredTokens::default(), |mask| mask.scored_tokens(token_id));
        let LoadedBackbone { backbone, .. } = prepared.load()?;
        let normalize = self.normalize;
        Ok(MultiVectorEncoder { backbone, head, scored, queries, documents, similarity, prompts, width, normalize })
    }
}

/// Loads the modules of modules.json, or without it the projection among the encoder's tensors.
fn load_head(folder: &ModelFolder, prepared: &PreparedBackbone) -> Result<TokenHead> {
    let (level, spec) = (prepared.compute.level, prepared.spec());
    match &folder.modules {
        Some(modules) => TokenHead::load(&folder.files, modules, level, spec.hidden_size),
        None => {
            let checkpoint = &prepared.checkpoint;
            let inside = TensorReader::with_prefix_of(checkpoint, spec.prefixes, &spec.embeddings.tokens.name);
            TokenHead::inside(&mut inside.beside(spec.prefixes), level, spec.hidden_size)
        }
    }
}

/// Returns the text of a prompt by its name.
fn named_prompt(
    prompts: &std::collections::BTreeMap<String, String>,
    name: &str,
    prepared: &PreparedBackbone,
) -> Result<String> {
    prompts.get(name).cloned().ok_or_else(|| Error::Prompt {
        name: name.to_owned(),
        origin: prepared.name().to_owned(),
        known: prompts.keys().cloned().collect(),
    })
}

/// Makes the error that no file says that the model computes a vector for each token.
fn no_kind(files: &ModelFiles) -> Error {
    Error::config(
        &files.label(crate::model_folder::SENTENCE_TRANSFORMERS_CONFIG),
        "model_type",
        "MultiVectorEncoder, a model that computes a vector for each token (open this one as Embedder)",
        "nothing",
    )
}

impl MultiVectorEncoder {
    /// Opens the folder of a multi-vector encoder with default settings.
    ///
    /// # Errors
    /// See [`Builder::open_multi_vector_encoder`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        Self::builder().open_multi_vector_encoder(folder)
    }
}
