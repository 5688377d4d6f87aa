//! The forms of model folders: of sentence-transformers, of PyLate, and of Stanford's ColBERT.

use std::collections::BTreeMap;

use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{ARTIFACT_METADATA, Manifest, SentenceConfig};
use crate::modules::TokenMask;
use crate::similarity::MultiVectorSimilarity;
use crate::tokenizer::{QueryExpansion, Setting, TextLengths, length};

/// The tokens of an expanded query, unless the model says otherwise.
const DEFAULT_QUERY_LENGTH: usize = 32;

/// What a folder says about queries and documents, beside its modules.
pub(super) struct FolderSettings {
    /// Lengths that sentence_bert_config.json does not define.
    pub(super) lengths: TextLengths,
    /// Texts before queries and documents that training inserted as tokens.
    pub(super) prefixes: Vec<String>,
    /// The texts of all prompts, by name.
    pub(super) prompts: BTreeMap<String, String>,
    /// The mask of a model whose modules do not list it. Its vectors are normalized.
    pub(super) unlisted_mask: Option<TokenMask>,
    pub(super) similarity: MultiVectorSimilarity,
}

impl FolderSettings {
    /// Reads the settings of a model with modules.json. `min` is the number of special tokens and
    /// one more.
    ///
    /// PyLate writes prefixes, lengths and the skip list to config_sentence_transformers.json, and
    /// has no modules for the mask and for Normalize.
    ///
    /// # Errors
    /// If a value is not valid.
    pub(super) fn of_modules(config: &SentenceConfig, min: usize) -> Result<Self> {
        let mut prompts = config.prompts()?;
        let similarity = MultiVectorSimilarity::from_config(config.keys())?;
        let Some(keys) = config.keys() else {
            let lengths = TextLengths::default();
            return Ok(Self { lengths, prefixes: Vec::new(), prompts, unlisted_mask: None, similarity });
        };
        let mut prefixes = Vec::new();
        for (key, role) in [("query_prefix", "query"), ("document_prefix", "document")] {
            if keys.get(key).is_none() && !keys.is_null(key) {
                continue;
            }
            let prefix = keys.string(key)?.unwrap_or_default();
            let prompt = prompts.remove(role).unwrap_or_default();
            prompts.insert(role.to_owned(), format!("{prefix}{}", prompt.strip_prefix(prefix).unwrap_or(&prompt)));
            prefixes.push(prefix.to_owned());
        }
        let model_type = keys.string("model_type")?;
        let unlisted_mask = match model_type {
            Some("MultiVectorEncoder") => None,
            Some("ColBERT") => Some(TokenMask::of_pylate(keys, true)?),
            _ => Some(TokenMask::of_pylate(keys, !prefixes.is_empty())?),
        };
        let lengths = pylate_lengths(keys, min)?;
        Ok(Self { lengths, prefixes, prompts, unlisted_mask, similarity })
    }

    /// Reads artifact.metadata of Stanford's ColBERT. Without the file every setting has its
    /// default.
    ///
    /// # Errors
    /// If a value is not valid.
    pub(super) fn of_stanford(files: &ModelFiles, manifest: &mut Manifest, min: usize) -> Result<Self> {
        let found = manifest.json(files, ARTIFACT_METADATA)?;
        let keys = match found {
            Some(keys) => keys,
            None => JsonObject::parse(&files.label(ARTIFACT_METADATA), b"{}")?,
        };
        let marker = |key: &str, default: &str| -> Result<String> {
            let marker = keys.string(key)?.filter(|marker| !marker.is_empty()).unwrap_or(default);
            Ok(format!("{marker} "))
        };
        let prefixes = vec![marker("query_token_id", "[unused0]")?, marker("doc_token_id", "[unused1]")?];
        let prompts = ["query", "document"].map(str::to_owned).into_iter().zip(prefixes.iter().cloned()).collect();
        let expansion = expansion_of(&keys, "query_maxlen", min, keys.boolean("attend_to_mask_tokens")?)?;
        let lengths = TextLengths {
            query: Setting::Absent,
            document: length(&keys, "doc_maxlen", min)?.map_or(Setting::Absent, Setting::Value),
            expansion: Setting::Value(expansion),
        };
        let skips_punctuation = keys.boolean("mask_punctuation")?.unwrap_or(!keys.is_null("mask_punctuation"));
        let mask = if skips_punctuation { TokenMask::skipping_punctuation() } else { TokenMask::skipping(Vec::new()) };
        let similarity = MultiVectorSimilarity::MaxSim;
        Ok(Self { lengths, prefixes, prompts, unlisted_mask: Some(mask), similarity })
    }
}

/// Reads the lengths in config_sentence_transformers.json. A model with any key of PyLate expands
/// queries, unless it says otherwise.
fn pylate_lengths(keys: &JsonObject, min: usize) -> Result<TextLengths> {
    const OTHER_KEYS: [&str; 8] = [
        "query_length",
        "document_length",
        "do_query_expansion",
        "attend_to_expansion_tokens",
        "attend_to_mask_tokens",
        "query_prefix",
        "document_prefix",
        "skiplist_words",
    ];
    let mut lengths = TextLengths::read(keys, min)?;
    // A null counts as no length.
    for setting in [&mut lengths.query, &mut lengths.document] {
        if *setting == Setting::Null {
            *setting = Setting::Absent;
        }
    }
    let has = |key: &&str| keys.get(key).is_some() || keys.is_null(key);
    if lengths.expansion != Setting::Absent || !OTHER_KEYS.iter().any(has) {
        return Ok(lengths);
    }
    if keys.boolean("do_query_expansion")? == Some(false) {
        lengths.expansion = Setting::Null;
        return Ok(lengths);
    }
    let attend =
        if has(&"attend_to_expansion_tokens") { "attend_to_expansion_tokens" } else { "attend_to_mask_tokens" };
    let expansion = expansion_of(keys, "query_length", min, keys.boolean(attend)?)?;
    Ok(TextLengths { query: Setting::Absent, expansion: Setting::Value(expansion), ..lengths })
}

/// Returns the expansion to the length of a key, by mask tokens.
fn expansion_of(keys: &JsonObject, key: &str, min: usize, attend: Option<bool>) -> Result<QueryExpansion> {
    Ok(QueryExpansion {
        length: length(keys, key, min)?.unwrap_or(DEFAULT_QUERY_LENGTH),
        is_fixed: true,
        attend: attend.unwrap_or(false),
        token: None,
        label: keys.label().to_owned(),
    })
}
