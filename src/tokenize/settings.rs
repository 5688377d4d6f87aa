//! What stands beside tokenizer.json: tokenizer_config.json, and in older folders special_tokens_map.json and
//! added_tokens.json.
//!
//! Follows transformers 5.23.0, `tokenization_utils_base.py` (`_from_pretrained`): with `added_tokens_decoder` in
//! tokenizer_config.json that file says all, without it the others add to it and come before it.

use serde_json::Value;
use tokenizers::AddedToken;

use crate::config::Keys;
use crate::error::{Error, Result};
use crate::files::ModelFiles;

/// The tokens with a part of their own, in the order in which the reference adds them.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The settings of a tokenizer.
pub(super) struct Settings {
    config: Option<Keys>,
    /// special_tokens_map.json, where it counts.
    map: Option<Keys>,
    /// Tokens with their ids, of which the reference takes only the order.
    added: Vec<(u32, Token)>,
    /// Whether tokenizer_config.json lists the added tokens.
    listed: bool,
    /// `tokenizer_class` of config.json.
    model_class: Option<String>,
    label: String,
}

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
    special: bool,
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

    /// It takes the space before it, or does not.
    pub(super) fn taking_space(self, lstrip: bool) -> Self {
        Self { lstrip, ..self }
    }

    /// A text, or an object with its `content`.
    fn of(value: &Value, special: bool) -> Option<Self> {
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

    fn added(&self) -> AddedToken {
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

impl Settings {
    pub(super) fn read(files: &ModelFiles) -> Result<Self> {
        const ADDED: &str = "added_tokens.json";
        const MAP: &str = "special_tokens_map.json";
        let config = files.json("tokenizer_config.json")?;
        let model_class = match files.json("config.json")? {
            Some(keys) => keys.text("tokenizer_class")?.map(str::to_owned),
            None => None,
        };
        let decoder = config.as_ref().and_then(|keys| Some((keys, keys.get("added_tokens_decoder")?)));
        let label = files.label("tokenizer_config.json");
        if let Some((keys, decoder)) = decoder {
            let wrong = || keys.wrong("added_tokens_decoder", "an object of tokens by their ids");
            let entries = decoder.as_object().ok_or_else(wrong)?;
            let entry = |(id, token): (&String, &Value)| Some((id.parse().ok()?, Token::of(token, false)?));
            let mut added = entries.iter().map(entry).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
            added.sort_by_key(|&(id, _)| id);
            return Ok(Self { config, map: None, added, listed: true, model_class, label });
        }
        let mut settings = Self { config, map: files.json(MAP)?, added: Vec::new(), listed: false, model_class, label };
        if let Some(keys) = files.json(ADDED)? {
            let named = settings.named()?;
            for content in keys.beginning_with("") {
                let id = keys.id(content)?.ok_or_else(|| keys.wrong(content, "an id"))?;
                let special = named.iter().any(|token| token.content == content);
                settings.added.push((id, Token { special, ..Token::special(content) }));
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
        let own = self.config.as_ref().map_or(Ok(None), |keys| keys.text("tokenizer_class"))?;
        Ok(own.or(self.model_class.as_deref()))
    }

    /// What a class that is not one of those that are known is told.
    pub(super) fn wrong_class(&self, expected: &str, found: &str) -> Error {
        Error::config(&self.label, "tokenizer_class", expected, format!("{found:?}"))
    }

    /// tokenizer_config.json.
    pub(super) fn config(&self) -> Option<&Keys> {
        self.config.as_ref()
    }

    /// A setting that is on or off.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.config.as_ref().map_or(Ok(None), |keys| keys.flag(key))
    }

    /// Refuses a setting that is made.
    pub(super) fn refuse(&self, key: &str, expected: &str) -> Result<()> {
        match &self.config {
            Some(keys) if keys.get(key).is_some() => Err(keys.wrong(key, expected)),
            _ => Ok(()),
        }
    }

    /// A named token, if a file has it.
    pub(super) fn token(&self, name: &str) -> Result<Option<Token>> {
        for (keys, special) in [(&self.map, true), (&self.config, false)] {
            let Some(keys) = keys else { continue };
            let Some(value) = keys.get(name) else { continue };
            let token = Token::of(value, special || value.is_string());
            let token = token.ok_or_else(|| keys.wrong(name, "a token, or an object with its content"))?;
            let listed = self.added.iter().find(|(_, listed)| listed.content == token.content);
            return Ok(Some(listed.map_or(token, |(_, listed)| listed.clone())));
        }
        Ok(None)
    }

    /// All named tokens that a file has.
    fn named(&self) -> Result<Vec<Token>> {
        let mut named = Vec::new();
        for name in NAMED {
            named.extend(self.token(name)?);
        }
        Ok(named)
    }

    /// The tokens that are added to a tokenizer, in this order. `named`: what the class has by these names; `further`: those
    /// that have no name, if no file lists any; `present`: whether the tokenizer has such a token.
    pub(super) fn tokens(
        &self,
        named: &dyn Fn(&str) -> Option<Token>,
        further: Further,
        present: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<AddedToken>> {
        let mut specials = Vec::new();
        for name in NAMED {
            specials.extend(self.token(name)?.or_else(|| named(name)));
        }
        let mut tokens: Vec<Token> = self.added.iter().map(|(_, token)| token.clone()).collect();
        for token in &mut tokens {
            token.special |= specials.iter().any(|special| special.content == token.content);
        }
        let is_named: Vec<String> = specials.iter().map(|token| token.content.clone()).collect();
        for mut token in specials.into_iter().chain(self.further(further)?) {
            if !present(&token.content) && !tokens.iter().any(|other| other.content == token.content) {
                token.special |= is_named.contains(&token.content);
                tokens.push(token);
            }
        }
        Ok(tokens.iter().map(Token::added).collect())
    }

    /// Further special tokens, under either name.
    fn further(&self, otherwise: Further) -> Result<Vec<Token>> {
        const NAMES: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];
        let of_map = if otherwise.hides_map { &NAMES[..1] } else { &NAMES };
        let mut listed: Option<Vec<Token>> = None;
        for (keys, names) in [(&self.config, &NAMES[..]), (&self.map, of_map)] {
            let Some(keys) = keys else { continue };
            for name in names {
                let tokens: Option<Vec<Token>> = match keys.get(name) {
                    None => continue,
                    Some(Value::Array(tokens)) => tokens.iter().map(|token| Token::of(token, true)).collect(),
                    Some(Value::Object(tokens)) => tokens.values().map(|token| Token::of(token, true)).collect(),
                    Some(_) => None,
                };
                let tokens = tokens.ok_or_else(|| keys.wrong(name, "an array of tokens"))?;
                listed.get_or_insert_default().extend(tokens);
            }
        }
        Ok(listed.unwrap_or(otherwise.tokens))
    }
}
