//! The settings beside tokenizer.json: tokenizer_config.json, and in older folders
//! special_tokens_map.json and added_tokens.json.
//!
//! Follows transformers 5.23.0, `tokenization_utils_base.py` (`_from_pretrained`): if
//! tokenizer_config.json has an `added_tokens_decoder`, the other files are ignored. Otherwise the
//! other files add to tokenizer_config.json and take precedence over it.

use serde_json::Value;
use tokenizers::AddedToken;

use super::special_tokens::{ExtraSpecialTokens, ListedToken};
use super::truncation::TruncationSide;
use crate::config::JsonObject;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{ADDED_TOKENS, CONFIG, Manifest, SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG};

/// The tokens with a role, in the order in which transformers adds them.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The tokens to add to a tokenizer.
pub(super) struct TokensToAdd {
    /// In the order in which they are added.
    pub(super) added: Vec<AddedToken>,
    /// The special tokens in the sense of transformers (`all_special_tokens`).
    pub(super) special: Vec<String>,
}

/// The settings of a tokenizer.
pub(super) struct TokenizerConfig {
    /// tokenizer_config.json.
    config: Option<JsonObject>,
    /// special_tokens_map.json, unless it is ignored.
    map: Option<JsonObject>,
    /// Added tokens with their ids, in the order of the ids. transformers uses only this order.
    added: Vec<(u32, ListedToken)>,
    /// Whether tokenizer_config.json has an `added_tokens_decoder`.
    has_token_list: bool,
    /// `tokenizer_class` of config.json.
    model_class: Option<String>,
    label: String,
}

impl TokenizerConfig {
    /// Reads the settings.
    pub(super) fn read(files: &ModelFiles, manifest: &mut Manifest) -> Result<Self> {
        let config = manifest.json(files, TOKENIZER_CONFIG)?;
        let model_class = match manifest.json(files, CONFIG)? {
            Some(keys) => keys.string("tokenizer_class")?.map(str::to_owned),
            None => None,
        };
        let label = files.label(TOKENIZER_CONFIG);
        let token_list = config.as_ref().map_or(Ok(None), parse_added_tokens_decoder)?;
        if let Some(added) = token_list {
            return Ok(Self { config, map: None, added, has_token_list: true, model_class, label });
        }
        let map = manifest.json(files, SPECIAL_TOKENS_MAP)?;
        let mut settings = Self { config, map, added: Vec::new(), has_token_list: false, model_class, label };
        if let Some(keys) = manifest.json(files, ADDED_TOKENS)? {
            settings.read_added_tokens(&keys)?;
        }
        settings.added.sort_by_key(|&(id, _)| id);
        Ok(settings)
    }

    /// Reads added_tokens.json. A token is special if another file lists it as special.
    fn read_added_tokens(&mut self, keys: &JsonObject) -> Result<()> {
        // The special tokens that files list. Default tokens of the class do not count here.
        let mut special = self.extra_special_tokens(ExtraSpecialTokens { tokens: Vec::new(), replace_map: true })?;
        for role in ROLES {
            special.extend(self.token(role, None)?);
        }
        for content in keys.keys_with_prefix("") {
            let id = keys.token_id(content)?.ok_or_else(|| keys.invalid_value(content, "an id"))?;
            if let Some((_, other)) = self.added.iter().find(|(other, _)| *other == id) {
                let expected = format!("another id than that of {:?}", other.content);
                return Err(keys.invalid_value(content, expected));
            }
            let is_special = special.iter().any(|token| token.content == content);
            self.added.push((id, ListedToken::from_added_tokens_file(content, is_special)));
        }
        Ok(())
    }

    /// Adds the tokens of tokenizer.json, unless tokenizer_config.json lists all tokens.
    pub(super) fn merge_added_tokens(&mut self, tokens: &[(u32, Value)], label: &str) -> Result<()> {
        if self.has_token_list {
            return Ok(());
        }
        for (id, value) in tokens {
            let token = ListedToken::from_json(value, false)
                .ok_or_else(|| Error::config(label, "added_tokens", "tokens", value.to_string()))?;
            self.added.retain(|(other, _)| other != id);
            self.added.push((*id, token));
        }
        self.added.sort_by_key(|&(id, _)| id);
        Ok(())
    }

    /// Returns the class of the tokenizer, if a file names it.
    pub(super) fn class(&self) -> Result<Option<&str>> {
        let class = self.config.as_ref().map_or(Ok(None), |keys| keys.string("tokenizer_class"))?;
        Ok(class.or(self.model_class.as_deref()))
    }

    /// Makes the error that the class is not supported.
    pub(super) fn invalid_class(&self, expected: &str, found: &str) -> Error {
        Error::config(&self.label, "tokenizer_class", expected, format!("{found:?}"))
    }

    /// Makes the error that a setting of tokenizer_config.json has the wrong value.
    pub(super) fn invalid_setting(&self, key: &str, expected: &str, found: &str) -> Error {
        Error::config(&self.label, key, expected, found)
    }

    /// Returns whether tokenizer_config.json has a key, perhaps with null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.config.as_ref().is_some_and(|keys| keys.is_null(key) || keys.get(key).is_some())
    }

    /// Returns tokenizer_config.json.
    pub(super) fn file(&self) -> Option<&JsonObject> {
        self.config.as_ref()
    }

    /// Reads a boolean of tokenizer_config.json.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.config.as_ref().map_or(Ok(None), |keys| keys.boolean(key))
    }

    /// Reads a boolean for which null counts as false, as Python's truth test does.
    pub(super) fn truthy(&self, key: &str) -> Result<Option<bool>> {
        match &self.config {
            Some(keys) if keys.is_null(key) => Ok(Some(false)),
            _ => self.boolean(key),
        }
    }

    /// Reads the side on which a text that is too long is truncated.
    pub(super) fn truncation_side(&self) -> Result<Option<TruncationSide>> {
        let Some(keys) = &self.config else { return Ok(None) };
        match keys.string("truncation_side")? {
            None => Ok(None),
            Some("right") => Ok(Some(TruncationSide::Right)),
            Some("left") => Ok(Some(TruncationSide::Left)),
            Some(_) => Err(keys.invalid_value("truncation_side", "left or right")),
        }
    }

    /// Returns whether the tokenizer passes token types to the model. `default` is what the class
    /// does if the settings do not say.
    pub(super) fn passes_token_types(&self, default: bool) -> bool {
        let names = self.config.as_ref().and_then(|keys| keys.get("model_input_names")?.as_array());
        match names {
            Some(names) => names.iter().any(|name| name == "token_type_ids"),
            None => default,
        }
    }

    /// Returns the token with a role: the token in a file, otherwise the default. A null means no
    /// token.
    pub(super) fn token(&self, role: &str, default: Option<ListedToken>) -> Result<Option<ListedToken>> {
        for (keys, special) in [(&self.map, true), (&self.config, false)] {
            let Some(keys) = keys else { continue };
            if keys.is_null(role) {
                return Ok(None);
            }
            let Some(value) = keys.get(role) else { continue };
            let token = ListedToken::from_json(value, special || value.is_string());
            let token = token.ok_or_else(|| keys.invalid_value(role, "a token, or an object with its content"))?;
            let listed = self.added.iter().find(|(_, listed)| listed.content == token.content);
            return Ok(Some(listed.map_or(token, |(_, listed)| listed.clone())));
        }
        Ok(default)
    }

    /// Makes the error that a token is null although the class needs it.
    pub(super) fn missing_token(&self, role: &str) -> Error {
        let keys = [&self.map, &self.config].into_iter().flatten().find(|keys| keys.is_null(role));
        let expected = "a token: the tokenizer's class puts it around a text";
        match keys {
            Some(keys) => keys.invalid_value(role, expected),
            None => Error::config(&self.label, role, expected, "nothing"),
        }
    }

    /// Returns all tokens with a role, in the order in which transformers adds them.
    fn tokens_with_roles(&self, default: &dyn Fn(&str) -> Option<ListedToken>) -> Result<Vec<ListedToken>> {
        let mut tokens = Vec::new();
        for role in ROLES {
            tokens.extend(self.token(role, default(role))?);
        }
        // Models can define other roles (`image_token`): any key with the suffix `_token`.
        for (keys, allows_any_object) in [(&self.config, false), (&self.map, true)] {
            let Some(keys) = keys else { continue };
            for role in keys.keys_with_prefix("").filter(|key| key.ends_with("_token") && !ROLES.contains(key)) {
                let Some(value) = keys.get(role) else { continue };
                let is_token_object = value.is_object() && (allows_any_object || value.get("__type").is_some());
                if value.is_string() || is_token_object {
                    tokens.extend(ListedToken::from_json(value, true));
                }
            }
            if let Some(Value::Object(extra)) = keys.get(EXTRA) {
                let extra: Option<Vec<_>> = extra.values().map(|token| ListedToken::from_json(token, true)).collect();
                tokens.extend(extra.ok_or_else(|| keys.invalid_value(EXTRA, "tokens"))?);
            }
        }
        Ok(tokens)
    }

    /// Returns the tokens to add to a tokenizer.
    ///
    /// `default` returns the class's token with a role. `extra` are the class's tokens without a
    /// role. `exists` returns whether the tokenizer has a token already.
    pub(super) fn tokens_to_add(
        &self,
        default: &dyn Fn(&str) -> Option<ListedToken>,
        extra: ExtraSpecialTokens,
        exists: &dyn Fn(&str) -> bool,
    ) -> Result<TokensToAdd> {
        let mut special = self.tokens_with_roles(default)?;
        let with_roles: Vec<String> = special.iter().map(|token| token.content.clone()).collect();
        let mut added: Vec<ListedToken> = self.added.iter().map(|(_, token)| token.clone()).collect();
        for token in &mut added {
            token.special |= with_roles.contains(&token.content);
        }
        special.extend(self.extra_special_tokens(extra)?);
        // Do not change a token that exists. Of new tokens with the same content, the last one
        // counts.
        let listed: Vec<String> = added.iter().map(|token| token.content.clone()).collect();
        for (i, token) in special.iter().enumerate() {
            if !exists(&token.content) && !listed.contains(&token.content) && !special[..i].contains(token) {
                let is_special = token.special || with_roles.contains(&token.content);
                added.push(token.clone().with_special(is_special));
            }
        }
        Ok(TokensToAdd {
            added: added.iter().map(ListedToken::to_added_token).collect(),
            special: special.into_iter().map(|token| token.content).collect(),
        })
    }

    /// Returns the old list of special tokens without a role in special_tokens_map.json.
    pub(super) fn map_extra_tokens(&self) -> Result<Option<Vec<ListedToken>>> {
        self.map.as_ref().map_or(Ok(None), |keys| parse_token_array(keys, ADDITIONAL))
    }

    /// Returns the special tokens without a role.
    ///
    /// tokenizer_config.json can have a new and an old list. The old list counts if the new one is
    /// empty. special_tokens_map.json adds to the new list, or removes it with a null. Its old list
    /// counts if no other list exists. A null in tokenizer_config.json is a list without tokens: it
    /// replaces the default tokens.
    fn extra_special_tokens(&self, default: ExtraSpecialTokens) -> Result<Vec<ListedToken>> {
        let mut listed = None;
        if let Some(keys) = &self.config {
            let array = |key: &str| -> Result<Option<Vec<ListedToken>>> {
                Ok(parse_token_array(keys, key)?.or_else(|| keys.is_null(key).then(Vec::new)))
            };
            let new = array(EXTRA)?;
            listed = new.clone().filter(|tokens| !tokens.is_empty()).or(array(ADDITIONAL)?).or(new);
        }
        if let Some(keys) = &self.map {
            if keys.is_null(EXTRA) {
                listed = Some(Vec::new());
            }
            if let Some(more) = parse_token_array(keys, EXTRA)? {
                let tokens = listed.get_or_insert_default();
                let is_new = |token: &ListedToken| !tokens.contains(token);
                let more: Vec<ListedToken> = more.into_iter().filter(is_new).collect();
                tokens.extend(more);
            }
            if listed.is_none() && !default.replace_map {
                listed = self.map_extra_tokens()?;
            }
        }
        Ok(listed.unwrap_or(default.tokens))
    }
}

/// The key of the new list of special tokens without a role.
const EXTRA: &str = "extra_special_tokens";
/// The key of the old list.
const ADDITIONAL: &str = "additional_special_tokens";

/// Parses the `added_tokens_decoder` of tokenizer_config.json. Returns None if the key is absent.
fn parse_added_tokens_decoder(keys: &JsonObject) -> Result<Option<Vec<(u32, ListedToken)>>> {
    const KEY: &str = "added_tokens_decoder";
    let Some(value) = keys.get(KEY) else { return Ok(None) };
    let invalid = || keys.invalid_value(KEY, "an object of tokens by their ids");
    let entries = value.as_object().ok_or_else(invalid)?;
    let parse = |(id, token): (&String, &Value)| Some((id.parse().ok()?, ListedToken::from_json(token, false)?));
    let mut added = entries.iter().map(parse).collect::<Option<Vec<(u32, ListedToken)>>>().ok_or_else(invalid)?;
    added.sort_by_key(|&(id, _)| id);
    Ok(Some(added))
}

/// Parses an array of special tokens. Returns None if the key is absent, or has an object, which
/// lists roles.
fn parse_token_array(keys: &JsonObject, key: &str) -> Result<Option<Vec<ListedToken>>> {
    let tokens = match keys.get(key) {
        None | Some(Value::Object(_)) => return Ok(None),
        Some(Value::Array(tokens)) => tokens.iter().map(|token| ListedToken::from_json(token, true)).collect(),
        Some(_) => None,
    };
    tokens.map(Some).ok_or_else(|| keys.invalid_value(key, "an array of tokens"))
}
