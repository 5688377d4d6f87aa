//! tokenizer.json, in the parts that a class of tokenizers takes from it.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::NormalizerWrapper;
use tokenizers::normalizers::Precompiled;

use super::TruncationSide;
use super::class::{Class, Vocabulary};
use crate::config;
use crate::error::Result;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A tokenizer.json. Its vocabulary, which is nearly all of it, is not looked into.
#[derive(Deserialize)]
pub(super) struct Written<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    added_tokens: Vec<Value>,
    #[serde(default)]
    truncation: Value,
    #[serde(default)]
    padding: Value,
}

#[derive(Deserialize)]
struct Pieces {
    vocab: Vec<(String, f64)>,
}

impl<'a> Written<'a> {
    /// The JSON as it is, if it is no tokenizer.
    ///
    /// # Errors
    /// If it is not JSON.
    pub(super) fn parse(file: &str, bytes: &'a [u8]) -> Result<std::result::Result<Self, Value>> {
        match serde_json::from_slice(bytes) {
            Ok(written) => Ok(Ok(written)),
            Err(_) => config::parse_json(file, bytes).map(Err),
        }
    }

    /// The vocabulary, as a class needs it.
    pub(super) fn vocabulary(&self, class: Class) -> std::result::Result<Vocabulary, Failure> {
        if class.has_scores()
            && let Ok(Pieces { vocab }) = serde_json::from_str(self.model.get())
        {
            return Ok(Vocabulary::Pieces(vocab));
        }
        Ok(Vocabulary::Model(Box::new(serde_json::from_str(self.model.get())?)))
    }

    /// The table of SentencePiece's normalizer, which stands alone or first among others.
    pub(super) fn charsmap(&self) -> std::result::Result<Option<Precompiled>, Failure> {
        let listed = self.normalizer["normalizers"].as_array();
        let steps = listed.map_or(std::slice::from_ref(&self.normalizer), Vec::as_slice);
        let Some(step) = steps.iter().find(|step| step["type"] == "Precompiled") else { return Ok(None) };
        match serde_json::from_value(step.clone())? {
            NormalizerWrapper::Precompiled(table) => Ok(Some(table)),
            _ => Ok(None),
        }
    }

    /// The added tokens with their ids.
    pub(super) fn added(&self) -> Vec<(u32, Value)> {
        let id = |token: &Value| token["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        self.added_tokens.iter().filter_map(|token| Some((id(token)?, token.clone()))).collect()
    }

    /// What texts are filled up with, if it says so. Where the settings name no such token, this is it.
    pub(super) fn padding(&self) -> Option<&str> {
        self.padding["pad_token"].as_str()
    }

    /// From which side a text that is too long is cut, if it says so.
    pub(super) fn side(&self) -> Option<TruncationSide> {
        match self.truncation["direction"].as_str()? {
            "Left" => Some(TruncationSide::Left),
            "Right" => Some(TruncationSide::Right),
            _ => None,
        }
    }
}
