//! What the configurations of several kinds of modules have in common.

use crate::config::JsonObject;
use crate::error::Result;

/// Returns the path of a file in a module's folder.
pub(super) fn file_in(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// Rejects a module whose input or output is anything but sentence vectors.
pub(super) fn reject_other_features(keys: &JsonObject) -> Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        if keys.text(key)?.is_some_and(|name| name != "sentence_embedding") {
            return Err(keys.wrong(key, "sentence_embedding"));
        }
    }
    Ok(())
}
