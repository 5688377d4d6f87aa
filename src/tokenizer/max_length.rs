//! The maximum length of a text.

use super::tokenizer_config::TokenizerConfig;
use crate::config::JsonObject;
use crate::encoder::spec::Family;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::CONFIG;

/// The maximum length of a tokenizer without one. No text has as many tokens.
pub(crate) const UNLIMITED_TOKENS: usize = u32::MAX as usize;

/// The properties of an encoder that limit its tokenizer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EncoderLimits {
    pub(crate) family: Family,
    /// The maximum number of tokens that the encoder has positions for.
    pub(crate) max_tokens: usize,
}

/// Chooses the maximum number of tokens of a text, with its `special_tokens`.
///
/// `requested` overrides the model's maximum.
pub(super) fn max_tokens(
    files: &ModelFiles,
    requested: Option<usize>,
    sentence_bert_config: Option<&JsonObject>,
    tokenizer_config: &TokenizerConfig,
    limits: &EncoderLimits,
    special_tokens: usize,
) -> Result<usize> {
    let min = special_tokens + 1;
    let max = limits.max_tokens;
    if max < min {
        // A text would keep its special tokens and get more positions than the table has rows.
        let expected = format!("room for at least {min} tokens: {special_tokens} special ones and one of the text");
        let found = format!("room for {max}");
        return Err(Error::config(&files.label(CONFIG), "max_position_embeddings", expected, found));
    }
    match requested {
        Some(requested) if !(min..=max).contains(&requested) => Err(Error::MaxLength { requested, min, max }),
        Some(requested) => Ok(requested),
        None => Ok(model_maximum(sentence_bert_config, tokenizer_config, limits, special_tokens)?.min(max)),
    }
}

/// Returns the maximum that the model's files define.
///
/// `max_seq_length` overrides the tokenizer's maximum. Otherwise the maximum is the lesser of the
/// tokenizer's `model_max_length` (formerly `max_len`) and the number of positions.
fn model_maximum(
    sentence_bert_config: Option<&JsonObject>,
    tokenizer_config: &TokenizerConfig,
    limits: &EncoderLimits,
    special_tokens: usize,
) -> Result<usize> {
    let min = special_tokens + 1;
    let check = |length: Option<usize>, keys: &JsonObject, key: &str| match length {
        Some(length) if length < min => {
            Err(keys.invalid_value(key, format!("at least {min}: {special_tokens} special tokens and one more")))
        }
        length => Ok(length),
    };
    const MAX_SEQ_LENGTH: &str = "max_seq_length";
    if let Some(keys) = sentence_bert_config
        && let Some(length) = check(keys.positive_integer(MAX_SEQ_LENGTH)?, keys, MAX_SEQ_LENGTH)?
    {
        return Ok(length);
    }
    for key in ["model_max_length", "max_len"] {
        if let Some(keys) = tokenizer_config.file()
            // Tokenizers without a maximum have 10³⁰ here, which is not an integer.
            && let Some(length) = check(keys.positive_number(key)?.map(|length| length as usize), keys, key)?
        {
            return Ok(length.min(limits.max_tokens));
        }
    }
    Ok(limits.max_tokens)
}
