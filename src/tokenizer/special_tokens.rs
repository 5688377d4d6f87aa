//! A token that a folder's files list, as they write it.

use serde_json::Value;
use tokenizers::AddedToken;

/// A token that is matched in the text before it is split into words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) content: String,
    single_word: bool,
    /// Whether it takes the space before it.
    lstrip: bool,
    rstrip: bool,
    /// Whether it is matched in normalized text. If that is not said: unless it is special.
    normalized: Option<bool>,
    pub(super) special: bool,
}

impl Token {
    pub(super) fn special(content: &str) -> Self {
        let (content, normalized) = (content.to_owned(), None);
        Self { content, single_word: false, lstrip: false, rstrip: false, normalized, special: true }
    }

    /// A piece that is matched as it is, in the text that was not normalized.
    pub(super) fn of_piece(content: &str, special: bool) -> Self {
        Self { special, normalized: Some(false), ..Self::special(content) }
    }

    /// One of added_tokens.json, which is matched in normalized text unless it is special, whatever it becomes later.
    pub(super) fn of_file(content: &str, special: bool) -> Self {
        Self { special, normalized: Some(!special), ..Self::special(content) }
    }

    /// It is special, or is not.
    pub(super) fn being_special(self, special: bool) -> Self {
        Self { special, ..self }
    }

    /// It takes the space before it, or does not.
    pub(super) fn taking_space(self, lstrip: bool) -> Self {
        Self { lstrip, ..self }
    }

    /// A text, or an object with its `content`.
    pub(super) fn of(value: &Value, special: bool) -> Option<Self> {
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

    pub(super) fn added(&self) -> AddedToken {
        AddedToken::from(self.content.clone(), self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

/// Tokens without a name that a tokenizer has if no file lists any.
#[derive(Default)]
pub(super) struct Further {
    pub(super) tokens: Vec<Token>,
    /// Whether `additional_special_tokens` of special_tokens_map.json does not count. The reference puts those of a SentencePiece
    /// model in its place.
    pub(super) hides_map: bool,
}
