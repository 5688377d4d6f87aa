//! Checks that the configurations of several kinds of modules share.

use crate::config::JsonObject;
use crate::error::Result;

/// Rejects a module whose input or output is anything but sentence vectors.
pub(super) fn reject_other_features(keys: &JsonObject) -> Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        if keys.string(key)?.is_some_and(|name| name != "sentence_embedding") {
            return Err(keys.invalid_value(key, "sentence_embedding"));
        }
    }
    Ok(())
}
