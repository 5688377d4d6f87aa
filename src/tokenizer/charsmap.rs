//! The table of SentencePiece's normalizer, looked at before the crate that uses it allocates what it asks for.
//!
//! Its form (`normalizer.cc` of SentencePiece, `DecodePrecompiledCharsMap`): 4 bytes that say how many bytes of a trie follow,
//! the trie, and then all replacements, each with a zero byte at its end.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

/// Where the replacements begin.
///
/// # Errors
/// If the table is none: it is too short, or has less than it says.
fn replacements(table: &[u8]) -> Result<&[u8], String> {
    let (size, rest) = table.split_first_chunk().ok_or("a normalizer's table of less than 4 bytes")?;
    let size = u32::from_le_bytes(*size) as usize;
    let beyond = || format!("a normalizer's table that announces a trie of {size} bytes and has {}", rest.len());
    rest.get(size..).ok_or_else(beyond)
}

/// Refuses a table that announces more than it has.
pub(super) fn check(table: &[u8]) -> Result<(), String> {
    replacements(table).map(drop)
}

/// The bytes of its longest replacement.
pub(super) fn longest(table: &[u8]) -> usize {
    let replacements = replacements(table).unwrap_or_default();
    replacements.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(0)
}

/// The table of a normalizer as tokenizer.json has it; None if that normalizer is not of this kind.
pub(super) fn of(normalizer: &Value) -> Result<Option<Vec<u8>>, String> {
    // The crate that reads it after us does not ask for padding.
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let table = normalizer["precompiled_charsmap"].as_str().map(|text| LENIENT.decode(text));
    table.transpose().map_err(|failure| format!("a normalizer's table that is no base64: {failure}"))
}

/// [`check`] of each table among a normalizer's steps.
pub(super) fn check_all(normalizer: &Value) -> Result<(), String> {
    normalizer["normalizers"].as_array().into_iter().flatten().try_for_each(check_all)?;
    of(normalizer)?.map_or(Ok(()), |table| check(&table))
}
