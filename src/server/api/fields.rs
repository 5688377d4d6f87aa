//! Fields of a JSON body, with errors that say what was expected and found.
//!
//! Depending on the client, a key may be in several objects of a body; the first object that has it
//! wins. Null counts as absent, as in the hosted API.

use serde_json::{Map, Value};

use super::error::ApiError;
use crate::embedder::{EncodeOptions, TextInput};
use crate::tokenizer::TruncationSide;

pub(super) type JsonObject = Map<String, Value>;

/// The objects that may contain a key, in the order of precedence.
pub(super) struct Fields<'a>(Vec<&'a JsonObject>);

impl<'a> Fields<'a> {
    /// Combines those of the objects that exist.
    pub(super) fn new(objects: impl IntoIterator<Item = Option<&'a JsonObject>>) -> Self {
        Self(objects.into_iter().flatten().collect())
    }

    /// Combines the root of a body and the named objects below it.
    ///
    /// # Errors
    /// 400 if one of them is not an object.
    pub(super) fn in_body(root: &'a JsonObject, names: &[&str]) -> Result<Self, ApiError> {
        let mut objects = vec![root];
        for name in names {
            match root.get(*name) {
                None | Some(Value::Null) => {}
                Some(Value::Object(object)) => objects.push(object),
                Some(other) => return Err(unexpected_value(name, "an object", other)),
            }
        }
        Ok(Self(objects))
    }

    /// Returns a key's value, unless it is null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.values(key).next()
    }

    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>, ApiError> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// Reads a name, which must not be empty.
    pub(super) fn name(&self, key: &str) -> Result<Option<&'a str>, ApiError> {
        self.read(key, "a string that is not empty", |value| value.as_str().filter(|name| !name.is_empty()))
    }

    /// Reads an integer of at least 1.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, ApiError> {
        let size = |value: &Value| integer(value).filter(|&n| n > 0).and_then(|n| usize::try_from(n).ok());
        self.read(key, "an integer of at least 1", size)
    }

    /// Reads an integer that is not negative.
    pub(super) fn count(&self, key: &str) -> Result<Option<usize>, ApiError> {
        let count = |value: &Value| integer(value).and_then(|n| usize::try_from(n).ok());
        self.read(key, "an integer of at least 0", count)
    }

    /// Reads the options for tokenization.
    pub(super) fn encode_options(&self) -> Result<EncodeOptions, ApiError> {
        Ok(EncodeOptions { truncate: self.bool("truncate")?, ..self.encode_options_without_truncate()? })
    }

    /// Reads the options for tokenization except `truncate`.
    pub(super) fn encode_options_without_truncate(&self) -> Result<EncodeOptions, ApiError> {
        let side = |value: &Value| match value.as_str()? {
            "left" | "Left" => Some(TruncationSide::Left),
            "right" | "Right" => Some(TruncationSide::Right),
            _ => None,
        };
        Ok(EncodeOptions {
            prompt_name: self.name("prompt_name")?.map(str::to_owned),
            truncate: None,
            truncation_side: self.read("truncation_direction", "\"left\" or \"right\"", side)?,
        })
    }

    /// Reads the first value of a key. The values in all objects are checked, so that none hides an
    /// error in another.
    fn read<T>(&self, key: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, ApiError> {
        let mut first = None;
        for value in self.values(key) {
            let value = read(value).ok_or_else(|| unexpected_value(key, what, value))?;
            first.get_or_insert(value);
        }
        Ok(first)
    }

    /// The values of a key that are not null.
    fn values(&self, key: &str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter_map(move |object| object.get(key)).filter(|value| !value.is_null())
    }
}

/// Reads an integer. 2.0 is one: JavaScript and JSON Schema do not distinguish it from 2.
fn integer(value: &Value) -> Option<u64> {
    /// Up to 2^53, every integer is a float.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    let from_float = || value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..=MAX_EXACT).contains(x)).map(|x| x as u64);
    value.as_u64().or_else(from_float)
}

/// Reads a text, several texts, the token ids of one text, or a list of texts and lists of ids.
pub(super) fn text_inputs(name: &str, value: Option<&Value>) -> Result<Vec<TextInput>, ApiError> {
    let what = "a string, an array of strings, or token ids";
    match value {
        None => Err(missing_field(name, what)),
        Some(Value::String(text)) => Ok(vec![TextInput::Text(text.clone())]),
        Some(Value::Array(list)) if is_flat(value) => Ok(vec![TextInput::Ids(ids(name, list)?)]),
        Some(Value::Array(list)) => {
            let input = |name: &str, value: &Value| match value {
                Value::String(text) => Ok(TextInput::Text(text.clone())),
                Value::Array(list) => Ok(TextInput::Ids(ids(name, list)?)),
                other => Err(unexpected_value(name, "a string or an array of token ids", other)),
            };
            each(name, list, input)
        }
        Some(other) => Err(unexpected_value(name, what, other)),
    }
}

/// Whether a value is the list of one text's token ids, not a list of texts.
pub(super) fn is_flat(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_some_and(|list| list.first().is_some_and(Value::is_number))
}

/// Reads a string, or strings, at least one.
pub(super) fn string_or_strings(name: &str, value: Option<&Value>) -> Result<Vec<String>, ApiError> {
    let what = "a string or an array of strings";
    match value {
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(list)) => strings(name, list),
        None | Some(Value::Null) => Err(missing_field(name, what)),
        Some(other) => Err(unexpected_value(name, what, other)),
    }
}

/// Reads strings, at least one.
pub(super) fn strings(name: &str, list: &[Value]) -> Result<Vec<String>, ApiError> {
    let string = |name: &str, value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(unexpected_value(name, "a string", other)),
    };
    each(name, list, string)
}

/// Reads token ids, or several lists of them.
pub(super) fn id_lists(name: &str, value: Option<&Value>) -> Result<Vec<Vec<u32>>, ApiError> {
    let what = "an array of token ids, or of such arrays";
    match value {
        None => Err(missing_field(name, what)),
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_array) => {
            let id_list = |name: &str, value: &Value| match value {
                Value::Array(list) => ids(name, list),
                other => Err(unexpected_value(name, "an array of token ids", other)),
            };
            each(name, list, id_list)
        }
        Some(Value::Array(list)) => Ok(vec![ids(name, list)?]),
        Some(other) => Err(unexpected_value(name, what, other)),
    }
}

/// Reads token ids, at least one.
fn ids(name: &str, list: &[Value]) -> Result<Vec<u32>, ApiError> {
    let id = |name: &str, value: &Value| {
        let id = integer(value).and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| unexpected_value(name, "a token id", value))
    };
    each(name, list, id)
}

/// Reads each element of a list, which must not be empty.
pub(super) fn each<T>(
    name: &str,
    list: &[Value],
    read: impl Fn(&str, &Value) -> Result<T, ApiError>,
) -> Result<Vec<T>, ApiError> {
    if list.is_empty() {
        return Err(ApiError::bad_request(format!("`{name}`: expected at least one element, found none")));
    }
    list.iter().enumerate().map(|(i, value)| read(&format!("{name}[{i}]"), value)).collect()
}

/// 400: a required field is missing.
pub(super) fn missing_field(name: &str, what: &str) -> ApiError {
    ApiError::bad_request(format!("`{name}`: expected {what}, found nothing"))
}

/// 400: a field has another type or value.
pub(super) fn unexpected_value(name: &str, what: &str, found: &Value) -> ApiError {
    ApiError::bad_request(format!("`{name}`: expected {what}, found {}", describe(found)))
}

/// Describes a value in an error.
pub(super) fn describe(value: &Value) -> String {
    /// Longer strings are not repeated.
    const MAX_QUOTED_BYTES: usize = 40;
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.len() <= MAX_QUOTED_BYTES => format!("the string {text:?}"),
        Value::String(_) => "a string".into(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_inputs_of_every_shape_are_read() {
        let read = |value: Value| text_inputs("inputs", Some(&value));
        let text = |text: &str| TextInput::Text(text.into());
        assert_eq!(read(json!("a")).ok(), Some(vec![text("a")]));
        assert_eq!(read(json!(["a", "b"])).ok(), Some(vec![text("a"), text("b")]));
        assert_eq!(read(json!([1, 2])).ok(), Some(vec![TextInput::Ids(vec![1, 2])]));
        assert_eq!(
            read(json!([[1, 2], "a", [3]])).ok(),
            Some(vec![TextInput::Ids(vec![1, 2]), text("a"), TextInput::Ids(vec![3])])
        );
        for wrong in [
            json!([]),
            json!([[]]),
            json!(5),
            json!([1, "a"]),
            json!([[1, "a"]]),
            json!([1.5]),
            json!([-1]),
            json!([1_u64 << 32]),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_in_several_objects_take_the_first_that_is_not_null() {
        let first = json!({"truncate": null, "n": 3});
        let second = json!({"truncate": true, "n": 4});
        let fields = Fields::new([first.as_object(), None, second.as_object()]);
        assert_eq!(fields.bool("truncate").ok(), Some(Some(true)));
        assert_eq!(fields.size("n").ok(), Some(Some(3)));
        assert_eq!(fields.size("other").ok(), Some(None));
        // A wrong value in another object is still an error.
        let wrong = json!({"n": "x"});
        assert!(Fields::new([first.as_object(), wrong.as_object()]).size("n").is_err());
        assert!(Fields::in_body(&JsonObject::from_iter([("a".to_owned(), json!(3))]), &["a"]).is_err());
    }

    #[test]
    fn integers_written_as_floats_are_read() {
        for (value, number) in [(json!(2), Some(2)), (json!(2.0), Some(2)), (json!(-0.0), Some(0)), (json!(2.5), None)]
        {
            assert_eq!(integer(&value), number, "{value}");
        }
        for wrong in [json!(-1), json!(1e30), json!("2"), json!(null)] {
            assert_eq!(integer(&wrong), None, "{wrong}");
        }
    }
}
