//! JSON files of a model folder: typed values, and errors that name file, key, expected and found.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The keys of a JSON object in a file.
#[derive(Clone, Debug)]
pub(crate) struct JsonObject {
    file: String,
    map: Map<String, Value>,
}

impl JsonObject {
    /// Parses a file that must hold one JSON object. `file` is its name in messages.
    ///
    /// # Errors
    /// If it is not JSON or not an object.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        match parse_json(file, bytes)? {
            Value::Object(map) => Ok(Self { file: file.to_owned(), map }),
            other => Err(Error::config(file, "(the whole file)", "an object", json_type(&other))),
        }
    }

    /// The keys of an object that was parsed as part of a file.
    pub(crate) fn from_value(file: &str, value: &Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { file: file.to_owned(), map: map.clone() }),
            other => Err(Error::config(file, "(the whole element)", "an object", json_type(other))),
        }
    }

    /// A value, null counting as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether there is no key at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether a key is there and null.
    pub(crate) fn is_null(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(Value::is_null)
    }

    /// The error that a key has a value that cannot be used.
    pub(crate) fn invalid_value(&self, key: &str, expected: impl Into<String>) -> Error {
        let found = self.map.get(key).map_or_else(|| "nothing".to_owned(), shown);
        Error::config(&self.file, key, expected, found)
    }

    /// A value as `read` takes it, or None if the key is absent or null.
    fn optional<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        self.get(key).map(|value| read(value).ok_or_else(|| self.invalid_value(key, expected))).transpose()
    }

    /// A whole number of at least 1 that fits the sizes of this program.
    pub(crate) fn positive_integer(&self, key: &str) -> Result<Option<usize>> {
        // Products of a few such sizes (parameters, bytes) stay far below 2⁶⁴, so none of them can overflow.
        const MOST: u64 = 1 << 24;
        let read = |value: &Value| value.as_u64().filter(|n| (1..=MOST).contains(n)).map(|n| n as usize);
        self.optional(key, "a whole number from 1 to 16777216", read)
    }

    /// A token id.
    pub(crate) fn token_id(&self, key: &str) -> Result<Option<u32>> {
        self.optional(key, "a token id", |value| value.as_u64().and_then(|n| u32::try_from(n).ok()))
    }

    /// A positive number.
    pub(crate) fn positive_number(&self, key: &str) -> Result<Option<f32>> {
        let read = |value: &Value| value.as_f64().map(|x| x as f32).filter(|x| *x > 0.0 && x.is_finite());
        self.optional(key, "a positive number", read)
    }

    /// The keys that begin with a prefix and are neither absent nor null.
    pub(crate) fn keys_with_prefix(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.map
            .iter()
            .filter(move |(key, value)| key.starts_with(prefix) && !value.is_null())
            .map(|(key, _)| key.as_str())
    }

    /// true or false.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.optional(key, "true or false", Value::as_bool)
    }

    /// A string.
    pub(crate) fn string(&self, key: &str) -> Result<Option<&str>> {
        self.optional(key, "a string", Value::as_str)
    }

    /// An object whose values are strings; empty if the key is absent.
    pub(crate) fn string_map(&self, key: &str) -> Result<BTreeMap<String, String>> {
        let Some(value) = self.get(key) else { return Ok(BTreeMap::new()) };
        let read = |map: &Map<String, Value>| {
            map.iter().map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect::<Option<BTreeMap<_, _>>>()
        };
        value.as_object().and_then(read).ok_or_else(|| self.invalid_value(key, "an object of strings"))
    }
}

/// Parses JSON.
pub(crate) fn parse_json<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json { file: file.to_owned(), source })
}

/// What kind of value it is, in words.
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

/// A value as a message shows it: itself if it is short, else its kind.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 80 { text } else { json_type(value).to_owned() }
}
