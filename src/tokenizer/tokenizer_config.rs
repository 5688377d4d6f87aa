//! What stands beside tokenizer.json: tokenizer_config.json, and in older folders special_tokens_map.json and
//! added_tokens.json.
//!
//! Follows transformers 5.23.0, `tokenization_utils_base.py` (`_from_pretrained`): with `added_tokens_decoder` in
//! tokenizer_config.json that file says all, without it the others add to it and come before it.

use serde_json::Value;
use tokenizers::AddedToken;

use super::special_tokens::{Further, Token};
use crate::config::JsonObject;
use crate::error::{Error, Result};
use crate::files::ModelFiles;

/// The tokens with a part of their own, in the order in which the reference adds them.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What is added to a tokenizer.
pub(super) struct Tokens {
    /// In this order.
    pub(super) added: Vec<AddedToken>,
    /// What the reference calls its special tokens (`all_special_tokens`).
    pub(super) special: Vec<String>,
}

/// The settings of a tokenizer.
pub(super) struct Settings {
    config: Option<JsonObject>,
    /// special_tokens_map.json, where it counts.
    map: Option<JsonObject>,
    /// Tokens with their ids, of which the reference takes only the order.
    added: Vec<(u32, Token)>,
    /// Whether tokenizer_config.json lists the added tokens.
    listed: bool,
    /// `tokenizer_class` of config.json.
    model_class: Option<String>,
    label: String,
}

impl Settings {
    pub(super) fn read(files: &ModelFiles) -> Result<Self> {
        const ADDED: &str = "added_tokens.json";
        const MAP: &str = "special_tokens_map.json";
        let config = files.json("tokenizer_config.json")?;
        let model_class = match files.json("config.json")? {
            Some(keys) => keys.string("tokenizer_class")?.map(str::to_owned),
            None => None,
        };
        let decoder = config.as_ref().and_then(|keys| Some((keys, keys.get("added_tokens_decoder")?)));
        let label = files.label("tokenizer_config.json");
        if let Some((keys, decoder)) = decoder {
            let wrong = || keys.invalid_value("added_tokens_decoder", "an object of tokens by their ids");
            let entries = decoder.as_object().ok_or_else(wrong)?;
            let entry = |(id, token): (&String, &Value)| Some((id.parse().ok()?, Token::of(token, false)?));
            let mut added = entries.iter().map(entry).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
            added.sort_by_key(|&(id, _)| id);
            return Ok(Self { config, map: None, added, listed: true, model_class, label });
        }
        let mut settings = Self { config, map: files.json(MAP)?, added: Vec::new(), listed: false, model_class, label };
        if let Some(keys) = files.json(ADDED)? {
            // Of those that files name or list; what the class or the model has besides does not count here.
            let mut named = settings.further(Further { tokens: Vec::new(), hides_map: true })?;
            for name in NAMED {
                named.extend(settings.token(name, None)?);
            }
            for content in keys.keys_with_prefix("") {
                let id = keys.token_id(content)?.ok_or_else(|| keys.invalid_value(content, "an id"))?;
                if let Some((_, other)) = settings.added.iter().find(|(other, _)| *other == id) {
                    let expected = format!("another id than that of {:?}", other.content);
                    return Err(keys.invalid_value(content, expected));
                }
                let special = named.iter().any(|token| token.content == content);
                settings.added.push((id, Token::of_file(content, special)));
            }
        }
        settings.added.sort_by_key(|&(id, _)| id);
        Ok(settings)
    }

    /// Adds the tokens that a tokenizer.json lists, if they count.
    pub(super) fn and(&mut self, written: &[(u32, Value)], label: &str) -> Result<()> {
        if self.listed {
            return Ok(());
        }
        for (id, value) in written {
            let token = Token::of(value, false)
                .ok_or_else(|| Error::config(label, "added_tokens", "tokens", value.to_string()))?;
            self.added.retain(|(other, _)| other != id);
            self.added.push((*id, token));
        }
        self.added.sort_by_key(|&(id, _)| id);
        Ok(())
    }

    /// The class of the reference's tokenizer, if a file says which.
    pub(super) fn class(&self) -> Result<Option<&str>> {
        let own = self.config.as_ref().map_or(Ok(None), |keys| keys.string("tokenizer_class"))?;
        Ok(own.or(self.model_class.as_deref()))
    }

    /// What a class that is not one of those that are known is told.
    pub(super) fn wrong_class(&self, expected: &str, found: &str) -> Error {
        Error::config(&self.label, "tokenizer_class", expected, format!("{found:?}"))
    }

    /// tokenizer_config.json.
    pub(super) fn config(&self) -> Option<&JsonObject> {
        self.config.as_ref()
    }

    /// A setting that is on or off.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.config.as_ref().map_or(Ok(None), |keys| keys.boolean(key))
    }

    /// [`Self::flag`], null being off, as for a class that asks no more than whether a value is true.
    pub(super) fn truth(&self, key: &str) -> Result<Option<bool>> {
        match &self.config {
            Some(keys) if keys.is_null(key) => Ok(Some(false)),
            _ => self.flag(key),
        }
    }

    /// Whether a class that takes tokenizer.json as it is written tells the model the types of tokens.
    pub(super) fn gives_types(&self) -> bool {
        let names = self.config.as_ref().and_then(|keys| keys.get("model_input_names")?.as_array());
        names.is_some_and(|names| names.iter().any(|name| name == "token_type_ids"))
    }

    /// A named token: what a file says, and if none does, the class's own. Where a file says null there is none.
    pub(super) fn token(&self, name: &str, of_class: Option<Token>) -> Result<Option<Token>> {
        for (keys, special) in [(&self.map, true), (&self.config, false)] {
            let Some(keys) = keys else { continue };
            if keys.is_null(name) {
                return Ok(None);
            }
            let Some(value) = keys.get(name) else { continue };
            let token = Token::of(value, special || value.is_string());
            let token = token.ok_or_else(|| keys.invalid_value(name, "a token, or an object with its content"))?;
            let listed = self.added.iter().find(|(_, listed)| listed.content == token.content);
            return Ok(Some(listed.map_or(token, |(_, listed)| listed.clone())));
        }
        Ok(of_class)
    }

    /// What is said if a token is needed for which a file says null.
    pub(super) fn no_token(&self, name: &str) -> Error {
        let keys = [&self.map, &self.config].into_iter().flatten().find(|keys| keys.is_null(name));
        let expected = "a token: the tokenizer's class puts it around a text";
        keys.map_or_else(
            || Error::config(&self.label, name, expected, "nothing"),
            |keys| keys.invalid_value(name, expected),
        )
    }

    /// All tokens that have a name, in the order in which the reference adds them. `of_class`: what the class has by these names.
    fn named(&self, of_class: &dyn Fn(&str) -> Option<Token>) -> Result<Vec<Token>> {
        let mut named = Vec::new();
        for name in NAMED {
            named.extend(self.token(name, of_class(name))?);
        }
        // Names of the model's own: `image_token`, and whatever else ends so.
        for (keys, all) in [(&self.config, false), (&self.map, true)] {
            let Some(keys) = keys else { continue };
            for name in keys.keys_with_prefix("").filter(|name| name.ends_with("_token") && !NAMED.contains(name)) {
                let Some(value) = keys.get(name) else { continue };
                if value.is_string() || (value.is_object() && (all || value.get("__type").is_some())) {
                    named.extend(Token::of(value, true));
                }
            }
            if let Some(Value::Object(tokens)) = keys.get("extra_special_tokens") {
                let tokens: Option<Vec<Token>> = tokens.values().map(|token| Token::of(token, true)).collect();
                named.extend(tokens.ok_or_else(|| keys.invalid_value("extra_special_tokens", "tokens"))?);
            }
        }
        Ok(named)
    }

    /// The tokens that are added to a tokenizer. `of_class`: what the class has by a name; `further`: those that have no name,
    /// if no file lists any; `present`: whether the tokenizer has such a token.
    pub(super) fn tokens(
        &self,
        of_class: &dyn Fn(&str) -> Option<Token>,
        further: Further,
        present: &dyn Fn(&str) -> bool,
    ) -> Result<Tokens> {
        let mut special = self.named(of_class)?;
        let is_named: Vec<String> = special.iter().map(|token| token.content.clone()).collect();
        let mut added: Vec<Token> = self.added.iter().map(|(_, token)| token.clone()).collect();
        for token in &mut added {
            token.special |= is_named.contains(&token.content);
        }
        special.extend(self.further(further)?);
        // One that is there is left as it is. Of those that come now, the last of the same content counts.
        let listed: Vec<String> = added.iter().map(|token| token.content.clone()).collect();
        for (i, token) in special.iter().enumerate() {
            if !present(&token.content) && !listed.contains(&token.content) && !special[..i].contains(token) {
                let special = token.special || is_named.contains(&token.content);
                added.push(token.clone().being_special(special));
            }
        }
        let special = special.into_iter().map(|token| token.content).collect();
        Ok(Tokens { added: added.iter().map(Token::added).collect(), special })
    }

    /// Special tokens without a name. Of the two lists that tokenizer_config.json may have, the older counts if the newer is
    /// empty; special_tokens_map.json may add to the newer, and its older one counts if there is no other.
    fn further(&self, otherwise: Further) -> Result<Vec<Token>> {
        let list = |keys: &JsonObject, name: &str| -> Result<Option<Vec<Token>>> {
            match keys.get(name) {
                None | Some(Value::Object(_)) => Ok(None),
                Some(Value::Array(tokens)) => {
                    let tokens: Option<Vec<Token>> = tokens.iter().map(|token| Token::of(token, true)).collect();
                    tokens.map(Some).ok_or_else(|| keys.invalid_value(name, "an array of tokens"))
                }
                Some(_) => Err(keys.invalid_value(name, "an array of tokens")),
            }
        };
        const NEWER: &str = "extra_special_tokens";
        const OLDER: &str = "additional_special_tokens";
        let mut listed = None;
        if let Some(keys) = &self.config {
            let newer = list(keys, NEWER)?;
            let older = list(keys, OLDER)?;
            listed = newer.clone().filter(|tokens| !tokens.is_empty()).or(older).or(newer);
        }
        if let Some(keys) = &self.map {
            if let Some(more) = list(keys, NEWER)? {
                let tokens = listed.get_or_insert_default();
                let is_new = |token: &Token| !tokens.contains(token);
                let more: Vec<Token> = more.into_iter().filter(is_new).collect();
                tokens.extend(more);
            }
            if listed.is_none() && !otherwise.hides_map {
                listed = list(keys, OLDER)?;
            }
        }
        Ok(listed.unwrap_or(otherwise.tokens))
    }
}
