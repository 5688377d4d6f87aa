//! The labels of a classifier, from config.json.

use crate::config::JsonObject;
use crate::error::Result;

/// Reads the names of the labels: `id2label`, or otherwise LABEL_0, LABEL_1, … as many as
/// `num_labels` says, or two. Follows transformers 5.23.0, `configuration_utils.py`.
///
/// # Errors
/// If a key is not valid, or the numbers of the labels are not 0, 1, 2, …
pub(super) fn read_labels(config: &JsonObject) -> Result<Vec<String>> {
    const NAMES: &str = "id2label";
    const COUNT: &str = "num_labels";
    let count = config.positive_integer(COUNT)?;
    let names = config.string_map(NAMES)?;
    if names.is_empty() {
        return Ok((0..count.unwrap_or(2)).map(|i| format!("LABEL_{i}")).collect());
    }
    let by_number = |i: usize| names.get(&i.to_string()).cloned();
    let labels: Option<Vec<String>> = (0..names.len()).map(by_number).collect();
    let labels = labels.ok_or_else(|| config.invalid_value(NAMES, "a name for each of the numbers 0, 1, 2, …"))?;
    match count {
        Some(count) if count != labels.len() => {
            Err(config.invalid_value(COUNT, format!("{}, the number of names in {NAMES}", labels.len())))
        }
        _ => Ok(labels),
    }
}
