//! tokenizer.json, as far as a tokenizer class reads it.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::normalizers::Precompiled;
use tokenizers::{NormalizerWrapper, PostProcessorWrapper};

use super::build::Vocabulary;
use super::class::TokenizerClass;
use super::error::TokenizerError;
use super::truncation::TruncationSide;
use crate::config;
use crate::error::Result;

/// A tokenizer.json. The vocabulary, nearly all of the file, stays unparsed.
#[derive(Deserialize)]
pub(super) struct TokenizerJson<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    added_tokens: Vec<Value>,
    #[serde(default)]
    truncation: Value,
    #[serde(default)]
    padding: Value,
}

/// A parsed tokenizer.json.
pub(super) enum ParsedTokenizerJson<'a> {
    Tokenizer(TokenizerJson<'a>),
    /// JSON without the fields of a tokenizer.
    Other(Value),
}

#[derive(Deserialize)]
struct UnigramVocabulary {
    vocab: Vec<(String, f64)>,
}

impl<'a> ParsedTokenizerJson<'a> {
    /// Parses a tokenizer.json. `file` is the file's name in messages.
    ///
    /// # Errors
    /// If the bytes are not JSON.
    pub(super) fn parse(file: &str, bytes: &'a [u8]) -> Result<Self> {
        match serde_json::from_slice(bytes) {
            Ok(tokenizer) => Ok(Self::Tokenizer(tokenizer)),
            Err(_) => config::parse_json(file, bytes).map(Self::Other),
        }
    }

    /// Returns the normalizer, or null.
    pub(super) fn normalizer(&self) -> &Value {
        match self {
            Self::Tokenizer(tokenizer) => &tokenizer.normalizer,
            Self::Other(json) => &json["normalizer"],
        }
    }
}

impl ParsedTokenizerJson<'_> {
    /// Returns the id of the unknown token of a Unigram model.
    pub(super) fn unigram_unknown_id(&self) -> Option<u32> {
        #[derive(Deserialize)]
        struct Model {
            unk_id: Option<u32>,
        }
        match self {
            Self::Tokenizer(tokenizer) => serde_json::from_str::<Model>(tokenizer.model.get()).ok()?.unk_id,
            Self::Other(_) => None,
        }
    }
}

impl TokenizerJson<'_> {
    /// Parses the vocabulary in the form that a class needs.
    pub(super) fn vocabulary(&self, class: TokenizerClass) -> std::result::Result<Vocabulary, TokenizerError> {
        if class.is_unigram()
            && let Ok(UnigramVocabulary { vocab }) = serde_json::from_str(self.model.get())
        {
            return Ok(Vocabulary::Pieces(vocab));
        }
        Ok(Vocabulary::Model(Box::new(serde_json::from_str(self.model.get())?)))
    }

    /// Parses the table of SentencePiece's normalizer, which may be one step of a sequence.
    pub(super) fn charsmap(&self) -> std::result::Result<Option<Precompiled>, TokenizerError> {
        let sequence = self.normalizer["normalizers"].as_array();
        let steps = sequence.map_or(std::slice::from_ref(&self.normalizer), Vec::as_slice);
        let Some(step) = steps.iter().find(|step| step["type"] == "Precompiled") else { return Ok(None) };
        match serde_json::from_value(step.clone())? {
            NormalizerWrapper::Precompiled(table) => Ok(Some(table)),
            _ => Ok(None),
        }
    }

    /// Parses the post-processor.
    pub(super) fn post_processor(&self) -> std::result::Result<Option<PostProcessorWrapper>, TokenizerError> {
        Ok(serde_json::from_value(self.post_processor.clone())?)
    }

    /// Returns the added tokens with their ids.
    pub(super) fn added_tokens(&self) -> Vec<(u32, Value)> {
        let id = |token: &Value| token["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        self.added_tokens.iter().filter_map(|token| Some((id(token)?, token.clone()))).collect()
    }

    /// Returns the padding token. It counts if the settings do not define one.
    pub(super) fn padding_token(&self) -> Option<&str> {
        self.padding["pad_token"].as_str()
    }

    /// Returns the side on which a text that is too long is truncated.
    pub(super) fn truncation_side(&self) -> Option<TruncationSide> {
        match self.truncation["direction"].as_str()? {
            "Left" => Some(TruncationSide::Left),
            "Right" => Some(TruncationSide::Right),
            _ => None,
        }
    }
}
