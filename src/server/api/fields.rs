//! Fields of a JSON body, with errors that say what was expected and found.
//!
//! A key may stand in several objects of a body, depending on the client; the first that has it is taken. JsonObject that are not
//! known are ignored and null is absent, as the hosted API does it.

use serde_json::{Map, Value};

use crate::embedder::{EncodeOptions, TextInput};
use crate::server::api::error::ApiError;
use crate::tokenizer::TruncationSide;

pub(in crate::server) type Object = Map<String, Value>;

/// Objects in which a key may stand, in this order.
pub(in crate::server) struct Fields<'a>(Vec<&'a Object>);

impl<'a> Fields<'a> {
    /// Of some places, without those that are not there.
    pub(in crate::server) fn of(places: impl IntoIterator<Item = Option<&'a Object>>) -> Self {
        Self(places.into_iter().flatten().collect())
    }

    /// Of a body's root and the objects below it that are named.
    ///
    /// # Errors
    /// 400 if one of them is something else.
    pub(in crate::server) fn of_body(root: &'a Object, names: &[&str]) -> Result<Self, ApiError> {
        let mut places = vec![root];
        for name in names {
            match root.get(*name) {
                None | Some(Value::Null) => {}
                Some(Value::Object(place)) => places.push(place),
                Some(other) => return Err(expected(name, "an object", other)),
            }
        }
        Ok(Self(places))
    }

    /// A key's value, if it is not null.
    pub(in crate::server) fn find(&self, key: &str) -> Option<&'a Value> {
        self.0.iter().filter_map(|place| place.get(key)).find(|value| !value.is_null())
    }

    pub(in crate::server) fn flag(&self, key: &str) -> Result<Option<bool>, ApiError> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub(in crate::server) fn text(&self, key: &str) -> Result<Option<&'a str>, ApiError> {
        self.read(key, "a string", Value::as_str)
    }

    /// A number of at least 1.
    pub(in crate::server) fn size(&self, key: &str) -> Result<Option<usize>, ApiError> {
        let size = |value: &Value| whole(value).filter(|&n| n > 0).and_then(|n| usize::try_from(n).ok());
        self.read(key, "a whole number of at least 1", size)
    }

    /// How texts are to be read.
    pub(in crate::server) fn reading(&self) -> Result<EncodeOptions, ApiError> {
        let side = |value: &Value| match value.as_str()? {
            "left" | "Left" => Some(TruncationSide::Left),
            "right" | "Right" => Some(TruncationSide::Right),
            _ => None,
        };
        Ok(EncodeOptions {
            prompt: self.text("prompt_name")?.map(str::to_owned),
            truncate: self.flag("truncate")?,
            side: self.read("truncation_direction", "\"left\" or \"right\"", side)?,
        })
    }

    /// The first value of a key. All of them are read, so that a mistake is not hidden by another place.
    fn read<T>(&self, key: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, ApiError> {
        let mut first = None;
        for value in self.0.iter().filter_map(|place| place.get(key)).filter(|value| !value.is_null()) {
            let value = read(value).ok_or_else(|| expected(key, what, value))?;
            first.get_or_insert(value);
        }
        Ok(first)
    }
}

/// A whole number. 2.0 is one: JavaScript and JSON Schema know no difference.
fn whole(value: &Value) -> Option<u64> {
    // Whole numbers up to here are floats, too.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = || value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..=EXACT).contains(x)).map(|x| x as u64);
    value.as_u64().or_else(float)
}

/// A text, texts, a text's ids, or a list of texts and lists of ids.
pub(in crate::server) fn inputs(name: &str, value: Option<&Value>) -> Result<Vec<TextInput>, ApiError> {
    let what = "a string, an array of strings, or token ids";
    match value {
        None => Err(missing(name, what)),
        Some(Value::String(text)) => Ok(vec![TextInput::Text(text.clone())]),
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_number) => {
            Ok(vec![TextInput::Ids(ids(name, list)?)])
        }
        Some(Value::Array(list)) => {
            let input = |name: &str, value: &Value| match value {
                Value::String(text) => Ok(TextInput::Text(text.clone())),
                Value::Array(list) => Ok(TextInput::Ids(ids(name, list)?)),
                other => Err(expected(name, "a string or an array of token ids", other)),
            };
            each(name, list, input)
        }
        Some(other) => Err(expected(name, what, other)),
    }
}

/// Strings, at least one.
pub(in crate::server) fn strings(name: &str, list: &[Value]) -> Result<Vec<String>, ApiError> {
    let string = |name: &str, value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(expected(name, "a string", other)),
    };
    each(name, list, string)
}

/// Token ids, at least one.
pub(in crate::server) fn ids(name: &str, list: &[Value]) -> Result<Vec<u32>, ApiError> {
    let id = |name: &str, value: &Value| {
        let id = whole(value).and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| expected(name, "a token id", value))
    };
    each(name, list, id)
}

fn each<T>(name: &str, list: &[Value], read: impl Fn(&str, &Value) -> Result<T, ApiError>) -> Result<Vec<T>, ApiError> {
    if list.is_empty() {
        return Err(ApiError::bad(format!("`{name}`: expected at least one element, found none")));
    }
    list.iter().enumerate().map(|(i, value)| read(&format!("{name}[{i}]"), value)).collect()
}

pub(in crate::server) fn missing(name: &str, what: &str) -> ApiError {
    ApiError::bad(format!("`{name}`: expected {what}, found nothing"))
}

pub(in crate::server) fn expected(name: &str, what: &str, found: &Value) -> ApiError {
    ApiError::bad(format!("`{name}`: expected {what}, found {}", kind(found)))
}

/// What a value is, in words.
pub(in crate::server) fn kind(value: &Value) -> String {
    /// Longer ones are not repeated to whoever sent them.
    const SHORT: usize = 40;
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.len() <= SHORT => format!("the string {text:?}"),
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
    fn what_inputs_can_be() {
        let read = |value: Value| inputs("inputs", Some(&value));
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
    fn the_first_place_counts_and_null_is_absent() {
        let (first, second) = (json!({"truncate": null, "n": 3}), json!({"truncate": true, "n": 4}));
        let fields = Fields::of([first.as_object(), None, second.as_object()]);
        assert_eq!(fields.flag("truncate").ok(), Some(Some(true)));
        assert_eq!(fields.size("n").ok(), Some(Some(3)));
        assert_eq!(fields.size("other").ok(), Some(None));
        // But a mistake in another place is one.
        let wrong = json!({"n": "x"});
        assert!(Fields::of([first.as_object(), wrong.as_object()]).size("n").is_err());
        assert!(Fields::of_body(&Object::from_iter([("a".to_owned(), json!(3))]), &["a"]).is_err());
    }

    #[test]
    fn whole_numbers() {
        for (value, number) in [(json!(2), Some(2)), (json!(2.0), Some(2)), (json!(-0.0), Some(0)), (json!(2.5), None)]
        {
            assert_eq!(whole(&value), number, "{value}");
        }
        for wrong in [json!(-1), json!(1e30), json!("2"), json!(null)] {
            assert_eq!(whole(&wrong), None, "{wrong}");
        }
    }
}
