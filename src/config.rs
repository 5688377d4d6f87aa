//! JSON files of a model folder: typed values, and errors that name file, key, expected and found.
//!
//! The files are not deserialized into structs. An error must name the key and show the value that
//! was found, and sentence-transformers treats an absent key, a null and a value differently.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

impl Error {
    /// Returns the error of a value in a JSON file.
    pub(crate) fn config(file: &str, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Config { file: file.to_owned(), key: key.to_owned(), expected: expected.into(), found: found.into() }
    }
}

/// A JSON object in a file.
#[derive(Clone, Debug)]
pub(crate) struct JsonObject {
    file: String,
    map: Map<String, Value>,
}

impl JsonObject {
    /// Parses a file that must contain one JSON object. `file` is the file's name in messages.
    ///
    /// # Errors
    /// If the bytes are not JSON or not an object.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        match parse_json(file, bytes)? {
            Value::Object(map) => Ok(Self { file: file.to_owned(), map }),
            other => Err(Error::config(file, "(the whole file)", "an object", json_type(&other))),
        }
    }

    /// Takes a value that was parsed as part of a file, and must be an object.
    pub(crate) fn from_value(file: &str, value: &Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { file: file.to_owned(), map: map.clone() }),
            other => Err(Error::config(file, "(the whole element)", "an object", json_type(other))),
        }
    }

    /// Returns the value of a key, or None if the key is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Returns whether the object has no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Returns whether a key is present and null.
    pub(crate) fn is_null(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(Value::is_null)
    }

    /// Makes the error that the value of a key cannot be used.
    pub(crate) fn invalid_value(&self, key: &str, expected: impl Into<String>) -> Error {
        let found = self.map.get(key).map_or_else(|| "nothing".to_owned(), abbreviated);
        Error::config(&self.file, key, expected, found)
    }

    /// Converts the value of a key, or returns None if the key is absent or null.
    ///
    /// # Errors
    /// If `convert` returns None.
    fn optional<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        self.get(key).map(|value| convert(value).ok_or_else(|| self.invalid_value(key, expected))).transpose()
    }

    /// Reads an integer of at least 1 that is small enough for a size of a model.
    pub(crate) fn positive_integer(&self, key: &str) -> Result<Option<usize>> {
        // A product of a few such sizes (parameters, bytes) stays far below 2⁶⁴ and cannot
        // overflow.
        const MAX_SIZE: u64 = 1 << 24;
        let convert = |value: &Value| value.as_u64().filter(|n| (1..=MAX_SIZE).contains(n)).map(|n| n as usize);
        self.optional(key, "a whole number from 1 to 16777216", convert)
    }

    /// Reads a token id.
    pub(crate) fn token_id(&self, key: &str) -> Result<Option<u32>> {
        self.optional(key, "a token id", |value| value.as_u64().and_then(|n| u32::try_from(n).ok()))
    }

    /// Reads a finite number above 0.
    pub(crate) fn positive_number(&self, key: &str) -> Result<Option<f32>> {
        let convert = |value: &Value| value.as_f64().map(|x| x as f32).filter(|x| *x > 0.0 && x.is_finite());
        self.optional(key, "a positive number", convert)
    }

    /// Returns the keys that start with a prefix and are not null.
    pub(crate) fn keys_with_prefix(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.map
            .iter()
            .filter(move |(key, value)| key.starts_with(prefix) && !value.is_null())
            .map(|(key, _)| key.as_str())
    }

    /// Reads true or false.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.optional(key, "true or false", Value::as_bool)
    }

    /// Reads a string.
    pub(crate) fn string(&self, key: &str) -> Result<Option<&str>> {
        self.optional(key, "a string", Value::as_str)
    }

    /// Reads an object whose values are strings. An absent key is an empty object.
    pub(crate) fn string_map(&self, key: &str) -> Result<BTreeMap<String, String>> {
        let convert = |value: &Value| -> Option<BTreeMap<String, String>> {
            value.as_object()?.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        };
        Ok(self.optional(key, "an object of strings", convert)?.unwrap_or_default())
    }
}

/// Parses JSON.
pub(crate) fn parse_json<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json { file: file.to_owned(), source })
}

/// Names the type of a value, for messages.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Formats a value for a message: the JSON if it is short, otherwise its type.
fn abbreviated(value: &Value) -> String {
    const MAX_SHOWN_BYTES: usize = 80;
    let text = value.to_string();
    if text.len() <= MAX_SHOWN_BYTES { text } else { json_type(value).to_owned() }
}
