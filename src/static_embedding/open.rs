//! Opening a static model.

use super::model::StaticModel;
use super::reading::ReadingRules;
use super::table::Table;
use crate::backbone::BackboneSettings;
use crate::checkpoint::Checkpoint;
use crate::config::{InertKeys, JsonObject};
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, Manifest, ModuleList};
use crate::tokenizer::{Tokenizer, TruncationSide, UNLIMITED_TOKENS};

/// A folder with a static model.
pub(crate) struct StaticFolder {
    files: ModelFiles,
    /// The folder of the table, which is a subfolder in folders before sentence-transformers 5.4.
    table_files: ModelFiles,
    /// None if Model2Vec's config.json describes the model.
    pub(crate) modules: Option<ModuleList>,
    model2vec: Option<Model2VecConfig>,
    /// The files that have been read so far.
    pub(crate) manifest: Manifest,
}

/// The settings in config.json of a folder that only Model2Vec reads.
#[derive(Clone, Copy, Debug)]
struct Model2VecConfig {
    normalize: bool,
    /// The maximum number of tokens. None means no maximum.
    max_length: Option<usize>,
}

/// Keys that say how a model was made.
const INERT: InertKeys = InertKeys {
    any_value: &[
        "architectures",
        "tokenizer_name",
        "apply_pca",
        "apply_zipf",
        "sif_coefficient",
        "hidden_dim",
        "seq_length",
        "pooling",
        "embedding_dtype",
        "vocabulary_quantization",
        "head_config",
        "library_name",
        "transformers_version",
    ],
    one_value: &[],
};

impl StaticFolder {
    /// Reads the files that say which model a folder has. Returns None if it is no static model.
    ///
    /// # Errors
    /// If a file is not valid.
    pub(crate) fn detect(files: &ModelFiles) -> Result<Option<Self>> {
        let mut manifest = Manifest::default();
        let modules = ModuleList::read(files, &mut manifest)?;
        let path = match &modules {
            Some(modules) => modules.static_embedding().map(|module| module.path.clone()),
            None => None,
        };
        let files = files.clone();
        if let Some(path) = path {
            let table_files = files.subfolder(&path);
            return Ok(Some(Self { files, table_files, modules, model2vec: None, manifest }));
        }
        if modules.is_some() {
            return Ok(None);
        }
        let Some(config) = manifest.json(&files, CONFIG)? else { return Ok(None) };
        if config.get("model_type").and_then(|kind| kind.as_str()) != Some("model2vec") {
            return Ok(None);
        }
        let model2vec = Some(Model2VecConfig::read(&config)?);
        Ok(Some(Self { table_files: files.clone(), files, modules: None, model2vec, manifest }))
    }

    /// Returns whether Model2Vec scales the vectors to length 1. modules.json says it otherwise.
    pub(crate) fn normalizes(&self) -> bool {
        self.model2vec.is_some_and(|config| config.normalize)
    }

    /// Opens the table and the tokenizer.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the tensors do not fit each other.
    pub(crate) fn open(&mut self, settings: &BackboneSettings) -> Result<StaticModel> {
        let (mut tokenizer, unknown_id) = Tokenizer::as_written(&self.table_files, &mut self.manifest)?;
        let checkpoint = Checkpoint::of_module(&self.table_files, "")?;
        let table = Table::load(&checkpoint)?;
        if self.model2vec.is_some() {
            table.require_row_of_each_token(tokenizer.model_and_vocab_size().1)?;
        }
        let requested = settings.max_length;
        if let Some(requested) = requested
            && !(1..=UNLIMITED_TOKENS).contains(&requested)
        {
            return Err(Error::MaxLength { requested, min: 1, max: UNLIMITED_TOKENS });
        }
        let mut rules = ReadingRules::default();
        if let Some(config) = self.model2vec {
            // The maximum of config.json replaces that of tokenizer.json, also if it is null.
            let max_length = requested.or(config.max_length);
            let max_characters = max_length.map(|tokens| tokens.saturating_mul(tokenizer.median_entry_length()));
            rules = ReadingRules { left_out: unknown_id, max_characters };
            tokenizer = tokenizer.with_truncation(max_length.unwrap_or(UNLIMITED_TOKENS), TruncationSide::Right);
        } else if let Some(requested) = requested {
            let side = tokenizer.truncation_side();
            tokenizer = tokenizer.with_truncation(requested, side);
        }
        let runtime = settings.runtime(settings.thread_pool()?, tokenizer, self.files.name(), table.tokens());
        let family = if self.model2vec.is_some() { "Model2Vec" } else { "StaticEmbedding" };
        Ok(StaticModel { runtime, table, rules, family })
    }
}

impl Model2VecConfig {
    fn read(config: &JsonObject) -> Result<Self> {
        const DEFAULT_MAX_TOKENS: usize = 512;
        const MAX_LENGTH: &str = "max_length";
        let max_length = if config.is_null(MAX_LENGTH) {
            None
        } else {
            let to_length = |value: &serde_json::Value| value.as_u64().filter(|&tokens| tokens > 0);
            Some(match config.get(MAX_LENGTH) {
                None => DEFAULT_MAX_TOKENS,
                Some(value) => {
                    let length = to_length(value).ok_or_else(|| {
                        config.invalid_value(MAX_LENGTH, "a whole number of at least 1, or null for no maximum")
                    })?;
                    usize::try_from(length).unwrap_or(UNLIMITED_TOKENS).min(UNLIMITED_TOKENS)
                }
            })
        };
        let normalize = config.boolean("normalize")?.unwrap_or(false);
        config.reject_unread(&[&INERT])?;
        Ok(Self { normalize, max_length })
    }
}
