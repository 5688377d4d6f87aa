//! Tokens that the files of a folder list, in the forms that these files use.

use serde_json::Value;
use tokenizers::AddedToken;

/// A token that is matched in the text before the text is split into words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedToken {
    pub(super) content: String,
    single_word: bool,
    /// Whether the token includes the space before it.
    lstrip: bool,
    rstrip: bool,
    /// Whether the token is matched in normalized text. Default: unless the token is special.
    normalized: Option<bool>,
    pub(super) special: bool,
}

impl ListedToken {
    /// Returns a special token with default properties.
    pub(super) fn special(content: &str) -> Self {
        Self {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special: true,
        }
    }

    /// Returns the token of a SentencePiece symbol, which is matched in text that is not
    /// normalized.
    pub(super) fn from_sentence_piece(content: &str, special: bool) -> Self {
        Self { special, normalized: Some(false), ..Self::special(content) }
    }

    /// Returns a token of added_tokens.json.
    ///
    /// The token is matched in normalized text unless it is special here. It may become special
    /// later.
    pub(super) fn from_added_tokens_file(content: &str, special: bool) -> Self {
        Self { special, normalized: Some(!special), ..Self::special(content) }
    }

    /// Parses a string, or an object with a `content`. Returns None if the value is neither.
    pub(super) fn from_json(value: &Value, special: bool) -> Option<Self> {
        if let Some(content) = value.as_str() {
            return Some(Self { special, ..Self::special(content) });
        }
        let flag = |key: &str| match value.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(value) => value.as_bool().map(Some),
        };
        Some(Self {
            content: value.get("content")?.as_str()?.to_owned(),
            single_word: flag("single_word")?.unwrap_or(false),
            lstrip: flag("lstrip")?.unwrap_or(false),
            rstrip: flag("rstrip")?.unwrap_or(false),
            normalized: flag("normalized")?,
            special: special || flag("special")?.unwrap_or(false),
        })
    }

    pub(super) fn with_special(self, special: bool) -> Self {
        Self { special, ..self }
    }

    pub(super) fn with_lstrip(self, lstrip: bool) -> Self {
        Self { lstrip, ..self }
    }

    /// Converts to the type of the `tokenizers` crate.
    pub(super) fn to_added_token(&self) -> AddedToken {
        AddedToken::from(self.content.clone(), self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

/// Special tokens without a role that a tokenizer has by default, if no file lists others.
#[derive(Default)]
pub(super) struct ExtraSpecialTokens {
    pub(super) tokens: Vec<ListedToken>,
    /// Whether these replace the `additional_special_tokens` of special_tokens_map.json.
    /// transformers does that with the symbols of a SentencePiece model.
    pub(super) replace_map: bool,
}
