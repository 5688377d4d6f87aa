//! JSON files of a model folder: typed values, and errors that name file, key, expected and found.
//!
//! The files are not deserialized into structs. An error must name the key and show the value that
//! was found, and sentence-transformers treats an absent key, a null and a value differently.
//!
//! An object remembers which keys were looked up. [`JsonObject::reject_unread`] makes an error of
//! the others, so that a key of unknown effect does not pass unseen.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

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
    /// The keys that were looked up.
    read: RefCell<BTreeSet<String>>,
}

/// Keys that no code reads, because they do not change the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InertKeys {
    /// Keys without an effect, whatever their value is.
    pub(crate) any_value: &'static [&'static str],
    /// Keys without an effect if they have this value. A key may have several such values.
    pub(crate) one_value: &'static [(&'static str, InertValue)],
}

/// A value with which a key has no effect.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InertValue {
    Bool(bool),
    Number(f64),
    Text(&'static str),
    /// An array, object or string without content.
    Empty,
}

impl InertKeys {
    /// No keys.
    pub(crate) const NONE: Self = Self { any_value: &[], one_value: &[] };

    /// Returns the values with which a key has no effect.
    fn values_of(&self, key: &str) -> impl Iterator<Item = InertValue> {
        self.one_value.iter().filter(move |(name, _)| *name == key).map(|(_, value)| *value)
    }
}

impl InertValue {
    fn matches(self, value: &Value) -> bool {
        match self {
            Self::Bool(expected) => value.as_bool() == Some(expected),
            Self::Number(expected) => value.as_f64() == Some(expected),
            Self::Text(expected) => value.as_str() == Some(expected),
            Self::Empty => match value {
                Value::Array(items) => items.is_empty(),
                Value::Object(map) => map.is_empty(),
                Value::String(text) => text.is_empty(),
                _ => false,
            },
        }
    }
}

impl fmt::Display for InertValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{}", json!(value)),
            Self::Text(value) => write!(f, "{}", json!(value)),
            Self::Empty => f.write_str("an empty value"),
        }
    }
}

impl JsonObject {
    /// Parses a file that must contain one JSON object. `file` is the file's name in messages.
    ///
    /// # Errors
    /// If the bytes are not JSON or not an object.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        match parse_json(file, bytes)? {
            Value::Object(map) => Ok(Self::new(file, map)),
            other => Err(Error::config(file, "(the whole file)", "an object", json_type(&other))),
        }
    }

    /// Takes a value that was parsed as part of a file, and must be an object.
    pub(crate) fn from_value(file: &str, value: &Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self::new(file, map.clone())),
            other => Err(Error::config(file, "(the whole element)", "an object", json_type(other))),
        }
    }

    fn new(file: &str, map: Map<String, Value>) -> Self {
        Self { file: file.to_owned(), map, read: RefCell::default() }
    }

    /// Remembers that a key was looked up.
    fn mark_read(&self, key: &str) {
        if self.map.contains_key(key) && !self.read.borrow().contains(key) {
            self.read.borrow_mut().insert(key.to_owned());
        }
    }

    /// Returns the value of a key, or None if the key is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.mark_read(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Rejects keys that nothing has read, except null ones and those that are listed as inert.
    /// Call it after everything that reads the object.
    ///
    /// # Errors
    /// If the effect of a key on the result is unknown.
    pub(crate) fn reject_unread(&self, inert: &[&InertKeys]) -> Result<()> {
        const MAX_NAMED: usize = 3;
        let read = self.read.borrow();
        let is_unknown = |key: &&String| {
            let value = &self.map[key.as_str()];
            let is_inert = |keys: &&InertKeys| {
                keys.any_value.contains(&key.as_str()) || keys.values_of(key).any(|inert| inert.matches(value))
            };
            !value.is_null() && !read.contains(key.as_str()) && !inert.iter().any(is_inert)
        };
        let mut unknown = self.map.keys().filter(is_unknown);
        let Some(first) = unknown.next() else { return Ok(()) };
        let values: Vec<String> =
            inert.iter().flat_map(|keys| keys.values_of(first)).map(|value| value.to_string()).collect();
        let mut expected = if values.is_empty() {
            "no such key, because its effect is not known".to_owned()
        } else {
            format!("{}, because the effect of other values is not known", values.join(" or "))
        };
        expected += " (remove the key if it changes no vector; otherwise the model is not supported)";
        let others: Vec<&str> = unknown.map(String::as_str).collect();
        if !others.is_empty() {
            let more = if others.len() > MAX_NAMED { ", …" } else { "" };
            expected += &format!("; the same holds for {}{more}", others[..others.len().min(MAX_NAMED)].join(", "));
        }
        Err(self.invalid_value(first, expected))
    }

    /// Returns the file, and the key of a nested object, for messages.
    pub(crate) fn label(&self) -> &str {
        &self.file
    }

    /// Returns whether the object has no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Returns whether a key is present and null.
    pub(crate) fn is_null(&self, key: &str) -> bool {
        self.mark_read(key);
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

    /// Reads an integer of at least 0 that is small enough for a size of a model.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<usize>> {
        if self.get(key).is_some_and(|value| value.as_u64() == Some(0)) {
            return Ok(Some(0));
        }
        self.positive_integer(key)
    }

    /// Reads a nested object, whose errors name it.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value {
            Value::Object(map) => Ok(Some(Self::new(&format!("{}, `{key}`", self.file), map.clone()))),
            _ => Err(self.invalid_value(key, "an object")),
        }
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
            .inspect(|key| self.mark_read(key))
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

/// Parses JSON, and the floats NaN, Infinity and -Infinity, which Python writes although JSON does
/// not have them.
///
/// Such a float is harmless in a key that nothing reads. It becomes a value that no typed access
/// accepts, so in a key that is read it is an error that shows it.
pub(crate) fn parse_json<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T> {
    let parsed = serde_json::from_slice(bytes).or_else(|error| match replace_python_floats(bytes) {
        Some(replaced) => serde_json::from_slice(&replaced),
        None => Err(error),
    });
    parsed.map_err(|source| Error::Json { file: file.to_owned(), source })
}

/// The floats of Python's json module that are not JSON.
const PYTHON_FLOATS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Replaces Python's floats outside of strings by `{"NaN":null}` and so on. Returns None if there
/// are none.
fn replace_python_floats(json: &[u8]) -> Option<Vec<u8>> {
    let mut replaced = Vec::with_capacity(json.len());
    let mut in_string = false;
    let mut found = false;
    let mut rest = json;
    while let Some(&byte) = rest.first() {
        let float = PYTHON_FLOATS.iter().find(|float| !in_string && rest.starts_with(float.as_bytes()));
        if let Some(float) = float {
            found = true;
            replaced.extend_from_slice(format!("{{\"{float}\":null}}").as_bytes());
            rest = &rest[float.len()..];
            continue;
        }
        // An escaped character in a string does not end it.
        let length = if in_string && byte == b'\\' { 2.min(rest.len()) } else { 1 };
        in_string ^= byte == b'"';
        replaced.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    found.then_some(replaced)
}

/// Returns Python's float that [`replace_python_floats`] has replaced by this value.
fn python_float(value: &Value) -> Option<&'static str> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    PYTHON_FLOATS.into_iter().find(|float| map.get(*float).is_some_and(Value::is_null))
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
    let text = python_float(value).map_or_else(|| value.to_string(), str::to_owned);
    if text.len() <= MAX_SHOWN_BYTES { text } else { json_type(value).to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Value> {
        parse_json("config.json", text.as_bytes())
    }

    #[test]
    fn python_floats_outside_of_strings_are_parsed() {
        let parsed = parse(r#"{"a": [0.0, Infinity], "b": -Infinity, "NaN": "NaN \" Infinity", "c\\": NaN}"#);
        let float = |name: &str| json!({ name: null });
        let expected = json!({
            "a": [0.0, float("Infinity")], "b": float("-Infinity"), "NaN": "NaN \" Infinity", "c\\": float("NaN"),
        });
        assert_eq!(parsed.expect("JSON"), expected);
        for text in ["", "{", "nan", "[NaN", "[Infinity1]", "[+Infinity]", "\"NaN", "\"\\"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn python_float_in_a_key_that_is_read_is_an_error_that_shows_it() {
        let keys = JsonObject::parse("config.json", br#"{"x": NaN, "y": -Infinity}"#).expect("JSON");
        let errors = [
            keys.positive_integer("x").map(drop),
            keys.positive_number("x").map(drop),
            keys.token_id("x").map(drop),
            keys.boolean("x").map(drop),
            keys.string("x").map(drop),
            keys.string_map("x").map(drop),
        ];
        for error in errors {
            let message = error.expect_err("no number").to_string();
            assert!(message.starts_with("config.json: `x`: expected") && message.ends_with("found NaN"), "{message}");
        }
        assert!(keys.invalid_value("y", "a number").to_string().ends_with("found -Infinity"));
    }

    #[test]
    fn keys_that_nothing_has_read_are_rejected_unless_they_are_inert() {
        const INERT: InertKeys = InertKeys {
            any_value: &["note"],
            one_value: &[
                ("scale", InertValue::Number(1.0)),
                ("heads", InertValue::Empty),
                ("kind", InertValue::Text("a")),
            ],
        };
        let check = |json: &str| {
            let keys = JsonObject::parse("config.json", json.as_bytes()).expect("JSON");
            let _ = (keys.string("read"), keys.is_null("absent"), keys.keys_with_prefix("mode_").count());
            keys.reject_unread(&[&InertKeys::NONE, &INERT]).map_err(|error| error.to_string())
        };
        let inert = r#"{"read": 3, "mode_a": 1, "note": [1], "scale": 1, "heads": {}, "kind": "a", "other": null}"#;
        assert_eq!(check(inert), Ok(()));
        for (json, parts) in [
            (
                r#"{"other": [0.5]}"#,
                &["config.json: `other`: expected no such key", "remove the key", "found [0.5]"][..],
            ),
            (r#"{"mode": 1}"#, &["`mode`", "found 1"]),
            (r#"{"scale": 2}"#, &["`scale`: expected 1.0", "other values", "found 2"]),
            (r#"{"heads": {"0": [1]}}"#, &["`heads`: expected an empty value", r#"found {"0":[1]}"#]),
            (r#"{"kind": "b"}"#, &[r#"`kind`: expected "a""#, r#"found "b""#]),
            (r#"{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}"#, &["`a`", "the same holds for b, c, d, …", "found 1"]),
        ] {
            let message = check(json).expect_err(json);
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}
