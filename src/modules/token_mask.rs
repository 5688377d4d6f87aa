//! Which tokens of a text are scored: a MultiVectorMask module.
//!
//! All tokens that the model reads are scored, special ones and those of a prompt too, and in an
//! expanded query also those that were added. A skip list leaves words out, such as punctuation.
//! Follows sentence-transformers 6.2.0, `multi_vector_encoder/modules/multi_vector_mask.py`.

use std::collections::HashSet;

use serde_json::Value;

use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, file_in};

/// ASCII punctuation, the skip list of PyLate and of Stanford's ColBERT.
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/// The configuration of a MultiVectorMask module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenMask {
    skipped_words: Vec<String>,
    skips_in_queries: bool,
    skips_in_documents: bool,
    /// The only tokens of documents that are scored. None: all.
    kept_ids: Option<HashSet<u32>>,
}

/// The ids of a mask's words in one vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScoredTokens {
    skipped_in_queries: HashSet<u32>,
    skipped_in_documents: HashSet<u32>,
    kept_in_documents: Option<HashSet<u32>>,
}

impl TokenMask {
    /// Reads `{path}/config.json`. Without the file nothing is skipped.
    ///
    /// # Errors
    /// If a value is not valid.
    pub(super) fn load(files: &ModelFiles, path: &str) -> Result<Self> {
        let keys = if path.is_empty() { None } else { files.json(&file_in(path, CONFIG))? };
        let Some(keys) = keys else { return Ok(Self::skipping(Vec::new())) };
        let tasks = match keys.get("skiplist_tasks") {
            Some(Value::String(task)) => vec![task.clone()],
            _ => strings(&keys, "skiplist_tasks")?.unwrap_or_else(|| vec!["document".to_owned()]),
        };
        let kept_ids = ids(&keys, "keep_only_token_ids")?;
        let mask = Self {
            skipped_words: strings(&keys, "skiplist_words")?.unwrap_or_default(),
            skips_in_queries: tasks.iter().any(|task| task == "query"),
            skips_in_documents: tasks.iter().any(|task| task == "document"),
            kept_ids: kept_ids.filter(|ids| !ids.is_empty()),
        };
        keys.reject_unread(&[])?;
        Ok(mask)
    }

    /// Makes the mask of a model of PyLate: `skiplist_words`, or without the key perhaps
    /// punctuation.
    ///
    /// # Errors
    /// If the value is not valid.
    pub(crate) fn of_pylate(keys: &JsonObject, skips_punctuation: bool) -> Result<Self> {
        Ok(match strings(keys, "skiplist_words")? {
            Some(words) => Self::skipping(words),
            None if skips_punctuation => Self::skipping_punctuation(),
            None => Self::skipping(Vec::new()),
        })
    }

    /// Makes the mask that skips punctuation in documents.
    pub(crate) fn skipping_punctuation() -> Self {
        Self::skipping(PUNCTUATION.chars().map(String::from).collect())
    }

    /// Makes the mask that skips words in documents.
    pub(crate) fn skipping(skipped_words: Vec<String>) -> Self {
        Self { skipped_words, skips_in_queries: false, skips_in_documents: true, kept_ids: None }
    }

    /// Looks the words up. A word that is no token by itself is not skipped.
    pub(crate) fn scored_tokens(&self, token_id: impl Fn(&str) -> Option<u32>) -> ScoredTokens {
        let ids: HashSet<u32> = self.skipped_words.iter().filter_map(|word| token_id(word)).collect();
        let in_task = |applies: bool| if applies { ids.clone() } else { HashSet::new() };
        ScoredTokens {
            skipped_in_queries: in_task(self.skips_in_queries),
            skipped_in_documents: in_task(self.skips_in_documents),
            kept_in_documents: self.kept_ids.clone(),
        }
    }

    /// Describes the mask, such as "skip list of 32 words in documents".
    pub(super) fn describe(&self) -> String {
        let places = match (self.skips_in_queries, self.skips_in_documents) {
            (true, true) => "queries and documents",
            (true, false) => "queries",
            _ => "documents",
        };
        let kept = match &self.kept_ids {
            Some(ids) => format!(", only {} tokens of documents", ids.len()),
            None => String::new(),
        };
        format!("mask ({} words skipped in {places}{kept})", self.skipped_words.len())
    }
}

impl ScoredTokens {
    /// Returns whether a token of a query or a document is scored.
    pub(crate) fn contains(&self, id: u32, is_query: bool) -> bool {
        if is_query {
            return !self.skipped_in_queries.contains(&id);
        }
        let is_kept = self.kept_in_documents.as_ref().is_none_or(|kept| kept.contains(&id));
        is_kept && !self.skipped_in_documents.contains(&id)
    }
}

/// Reads a list of strings.
fn strings(keys: &JsonObject, key: &str) -> Result<Option<Vec<String>>> {
    list(keys, key, "a list of strings", |value| value.as_str().map(str::to_owned))
}

/// Reads a list of token ids.
fn ids(keys: &JsonObject, key: &str) -> Result<Option<HashSet<u32>>> {
    let ids = list(keys, key, "a list of token ids", |value| value.as_u64().and_then(|id| u32::try_from(id).ok()))?;
    Ok(ids.map(|ids| ids.into_iter().collect()))
}

fn list<T>(
    keys: &JsonObject,
    key: &str,
    expected: &str,
    convert: impl Fn(&Value) -> Option<T>,
) -> Result<Option<Vec<T>>> {
    let Some(value) = keys.get(key) else { return Ok(None) };
    let items = value.as_array().and_then(|values| values.iter().map(convert).collect());
    items.map(Some).ok_or_else(|| keys.invalid_value(key, expected))
}
