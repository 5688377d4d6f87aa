//! Validation of SentencePiece's normalizer table.
//!
//! The `tokenizers` crate allocates as much memory as the table announces, so the announced size is
//! checked first. Format (`normalizer.cc` of SentencePiece, `DecodePrecompiledCharsMap`): the
//! length of a trie (4 bytes), the trie, then all replacements, each with a zero byte at its end.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

/// Returns the replacements.
///
/// # Errors
/// If the table is shorter than it announces.
fn replacements(table: &[u8]) -> Result<&[u8], String> {
    let (size, rest) = table.split_first_chunk().ok_or("a normalizer's table of less than 4 bytes")?;
    let size = u32::from_le_bytes(*size) as usize;
    let too_short = || format!("a normalizer's table that announces a trie of {size} bytes and has {}", rest.len());
    rest.get(size..).ok_or_else(too_short)
}

/// Rejects a table that is shorter than it announces.
pub(super) fn validate(table: &[u8]) -> Result<(), String> {
    replacements(table).map(drop)
}

/// Validates every table in a normalizer of tokenizer.json.
pub(super) fn validate_all(normalizer: &Value) -> Result<(), String> {
    normalizer["normalizers"].as_array().into_iter().flatten().try_for_each(validate_all)?;
    decode(normalizer)?.map_or(Ok(()), |table| validate(&table))
}

/// Returns the length of the longest replacement in bytes.
pub(super) fn longest_replacement(table: &[u8]) -> usize {
    let replacements = replacements(table).unwrap_or_default();
    replacements.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(0)
}

/// Decodes the table of a normalizer of tokenizer.json. Returns None if the normalizer has no
/// table.
pub(super) fn decode(normalizer: &Value) -> Result<Option<Vec<u8>>, String> {
    // The `tokenizers` crate accepts base64 without padding.
    const OPTIONAL_PADDING: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let table = normalizer["precompiled_charsmap"].as_str().map(|text| OPTIONAL_PADDING.decode(text));
    table.transpose().map_err(|error| format!("a normalizer's table that is not base64: {error}"))
}
