//! How much longer a normalizer can make a text.
//!
//! A normalizer may replace each character by many and do so several times, so that a file of some kilobytes makes gigabytes of
//! a short text. That cannot be caught when it happens: the operating system ends the process.

use serde_json::Value;
use tokenizers::Tokenizer;

use super::charsmap;
use crate::error::{Error, Result};

/// Known normalizers make a text up to eighteen times as long (NFKC), and most not longer at all.
const MOST: f64 = 256.0;

/// Refuses a tokenizer whose normalizer may make a text far longer.
pub(super) fn refuse(tokenizer: &Tokenizer, file: &str) -> Result<()> {
    let normalizer = serde_json::to_value(tokenizer.get_normalizer()).unwrap_or_default();
    let times = growth(&normalizer);
    if times <= MOST {
        return Ok(());
    }
    let expected = format!("replacements that make a text at most {MOST} times as long");
    Err(Error::config(file, "normalizer", expected, format!("some that make it {times:.3e} times as long")))
}

/// How many bytes become of one, at most, by replacements. The fixed tables of Unicode are not counted.
fn growth(normalizer: &Value) -> f64 {
    match normalizer["type"].as_str() {
        Some("Sequence") => normalizer["normalizers"].as_array().into_iter().flatten().map(growth).product(),
        Some("Replace") => {
            let content = normalizer["content"].as_str().unwrap_or_default().len() as f64;
            match normalizer["pattern"]["String"].as_str() {
                Some(pattern) if !pattern.is_empty() => (content / pattern.len() as f64).max(1.0),
                // Nothing is found before each character, and a pattern may find nothing, too.
                _ => 1.0 + content,
            }
        }
        // What it replaces has a byte at least.
        Some("Precompiled") => {
            let table = charsmap::of(normalizer).ok().flatten();
            table.map_or(1.0, |table| charsmap::longest(&table).max(1) as f64)
        }
        // Once for each text, and what is replaced after it is counted there.
        Some("Prepend") => 1.0 + normalizer["prepend"].as_str().unwrap_or_default().len() as f64,
        _ => 1.0,
    }
}
