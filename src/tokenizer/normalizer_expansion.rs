//! A limit on how much longer a normalizer can make a text.
//!
//! A normalizer may replace each character by many, several times in a row. A file of some
//! kilobytes could expand a short text to gigabytes. The operating system would then kill the
//! process, so the expansion is limited before the first text.

use serde_json::Value;
use tokenizers::Tokenizer;

use super::charsmap;
use crate::error::{Error, Result};

/// Known normalizers make a text at most 18 times as long (NFKC). Most do not make it longer at
/// all.
const MAX_EXPANSION: f64 = 256.0;

/// Rejects a tokenizer whose normalizer can make a text more than [`MAX_EXPANSION`] times as long.
pub(super) fn check_normalizer_expansion(tokenizer: &Tokenizer, file: &str) -> Result<()> {
    let normalizer = serde_json::to_value(tokenizer.get_normalizer()).unwrap_or_default();
    let expansion = max_expansion(&normalizer);
    if expansion <= MAX_EXPANSION {
        return Ok(());
    }
    let expected = format!("replacements that make a text at most {MAX_EXPANSION} times as long");
    Err(Error::config(file, "normalizer", expected, format!("some that make it {expansion:.3e} times as long")))
}

/// Returns an upper bound of the bytes that one byte becomes. The fixed tables of Unicode count as
/// 1.
fn max_expansion(normalizer: &Value) -> f64 {
    match normalizer["type"].as_str() {
        Some("Sequence") => normalizer["normalizers"].as_array().into_iter().flatten().map(max_expansion).product(),
        Some("Replace") => {
            let content = normalizer["content"].as_str().unwrap_or_default().len() as f64;
            match normalizer["pattern"]["String"].as_str() {
                Some(pattern) if !pattern.is_empty() => (content / pattern.len() as f64).max(1.0),
                // An empty string matches before each character, and a regex may match an empty
                // string.
                _ => 1.0 + content,
            }
        }
        // Each replaced string has at least one byte.
        Some("Precompiled") => {
            let table = charsmap::decode(normalizer).ok().flatten();
            table.map_or(1.0, |table| charsmap::longest_replacement(&table).max(1) as f64)
        }
        // Prepends once per text. The steps after it count their own replacements.
        Some("Prepend") => 1.0 + normalizer["prepend"].as_str().unwrap_or_default().len() as f64,
        _ => 1.0,
    }
}
