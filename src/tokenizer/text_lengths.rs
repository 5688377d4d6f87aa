//! The lengths of queries and documents in models of late interaction.

use crate::config::JsonObject;
use crate::error::{Error, Result};

/// The value of a key. A null overrides another file's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Setting<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

/// The maximum numbers of tokens of queries and documents, special ones included, and how queries
/// become longer. Follows sentence-transformers 6.2.0, `base/modules/transformer.py`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TextLengths {
    pub(crate) query: Setting<usize>,
    pub(crate) document: Setting<usize>,
    pub(crate) expansion: Setting<QueryExpansion>,
}

/// A query gets more tokens at its end, until it has `length`. Their vectors are scored as those of
/// its own tokens (Khattab and Zaharia 2020, <https://arxiv.org/abs/2004.12832>, §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueryExpansion {
    pub(crate) length: usize,
    /// Whether longer queries are truncated to the length.
    pub(crate) is_fixed: bool,
    /// Whether the tokens of the query attend to the added ones, and these to one another.
    pub(crate) attend: bool,
    /// The added token. None: the mask token, or without one the token at the end of a text.
    pub(crate) token: Option<String>,
    /// The file, for messages.
    pub(crate) label: String,
}

impl<T> Setting<T> {
    /// Reads a key. `convert` returns None for null.
    fn read(keys: &JsonObject, key: &str, convert: impl Fn(&str) -> Result<Option<T>>) -> Result<Self> {
        if keys.is_null(key) {
            return Ok(Self::Null);
        }
        Ok(convert(key)?.map_or(Self::Absent, Self::Value))
    }

    /// Returns this setting, or if it is absent another.
    pub(crate) fn or(self, other: Self) -> Self {
        if matches!(self, Self::Absent) { other } else { self }
    }

    /// Returns the value, if there is one.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

impl TextLengths {
    /// Reads the keys of one file. `min` is the number of special tokens and one more.
    ///
    /// # Errors
    /// If a value is not valid, or leaves no token of a text.
    pub(crate) fn read(keys: &JsonObject, min: usize) -> Result<Self> {
        Ok(Self {
            query: Setting::read(keys, "query_length", |key| length(keys, key, min))?,
            document: Setting::read(keys, "document_length", |key| length(keys, key, min))?,
            expansion: Setting::read(keys, "query_expansion", |key| {
                keys.object(key)?.map(|object| QueryExpansion::read(&object, min)).transpose()
            })?,
        })
    }

    /// Returns these lengths, with those of another file where a key is absent.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            query: self.query.or(other.query),
            document: self.document.or(other.document),
            expansion: self.expansion.or(other.expansion),
        }
    }
}

/// Reads the maximum number of tokens of a text.
///
/// # Errors
/// If it is less than `min`.
pub(crate) fn length(keys: &JsonObject, key: &str, min: usize) -> Result<Option<usize>> {
    match keys.positive_integer(key)? {
        Some(length) if length < min => {
            Err(keys.invalid_value(key, format!("at least {min}: {} special tokens and one more", min - 1)))
        }
        length => Ok(length),
    }
}

impl QueryExpansion {
    fn read(keys: &JsonObject, min: usize) -> Result<Self> {
        let is_fixed = match keys.string("strategy")? {
            Some("fixed") => true,
            Some("min") => false,
            _ => return Err(keys.invalid_value("strategy", "fixed or min")),
        };
        let expansion = Self {
            length: length(keys, "length", min)?.ok_or_else(|| keys.invalid_value("length", "a length"))?,
            is_fixed,
            attend: keys.boolean("attend")?.unwrap_or(false),
            token: keys.string("token")?.map(str::to_owned),
            label: keys.label().to_owned(),
        };
        keys.reject_unread(&[])?;
        Ok(expansion)
    }

    /// Makes the error that a key has the wrong value.
    pub(crate) fn invalid(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::config(&self.label, key, expected, found)
    }
}
