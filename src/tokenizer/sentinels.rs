//! The sentinels of T5: special tokens `<extra_id_0>`, `<extra_id_1>`, … for masked parts of a
//! text.
//!
//! Follows transformers 5.23.0: `tokenization_t5.py`, and `convert_from_spm` of `T5Converter` in
//! `convert_slow_tokenizer.py`.

use super::special_tokens::{ExtraSpecialTokens, ListedToken};
use super::tokenizer_config::TokenizerConfig;
use crate::error::Result;

/// The key with the number of sentinels.
const EXTRA_IDS: &str = "extra_ids";

/// Published models have at most 300.
const MAX_SENTINELS: i64 = 10_000;

/// Adds the sentinels to the special tokens of a file, unless the file lists them.
///
/// # Errors
/// If the file lists another number of sentinels than `extra_ids`.
pub(super) fn with_sentinels(listed: Option<Vec<ListedToken>>, config: &TokenizerConfig) -> Result<ExtraSpecialTokens> {
    let count = number_of_sentinels(config)?;
    let mut tokens = listed.unwrap_or_default();
    let found = tokens.iter().filter(|token| token.content.contains("<extra_id_")).count();
    if found == 0 {
        tokens.extend((0..count).map(|i| ListedToken::special(&sentinel(i))));
    } else if count > 0 && count != found {
        let expected = format!("{found}, because so many special tokens contain `<extra_id_`");
        return Err(config.invalid_setting(EXTRA_IDS, &expected, &count.to_string()));
    }
    // The tokens of special_tokens_map.json are in the list already.
    Ok(ExtraSpecialTokens { tokens, replace_map: true })
}

/// Returns the sentinels that follow the pieces of a SentencePiece model, in the order of their
/// ids.
pub(super) fn sentinels_after_pieces(config: &TokenizerConfig) -> Result<impl Iterator<Item = String>> {
    Ok((0..number_of_sentinels(config)?).rev().map(sentinel))
}

fn number_of_sentinels(config: &TokenizerConfig) -> Result<usize> {
    const DEFAULT: usize = 100;
    if !config.has(EXTRA_IDS) {
        return Ok(DEFAULT);
    }
    let value = config.file().and_then(|keys| keys.get(EXTRA_IDS)).cloned().unwrap_or_default();
    let count = value.as_i64().filter(|&count| count <= MAX_SENTINELS);
    let expected = format!("a whole number up to {MAX_SENTINELS}");
    let count = count.ok_or_else(|| config.invalid_setting(EXTRA_IDS, &expected, &value.to_string()))?;
    // A negative number makes an empty range in Python.
    Ok(usize::try_from(count).unwrap_or(0))
}

fn sentinel(i: usize) -> String {
    format!("<extra_id_{i}>")
}
