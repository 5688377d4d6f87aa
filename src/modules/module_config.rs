//! Checks that the configurations of several kinds of modules share.

use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, file_in};

/// Reads the config.json of a module in a subfolder. `why` says what it is needed for.
pub(super) fn module_config(files: &ModelFiles, path: &str, why: &'static str) -> Result<JsonObject> {
    let name = file_in(path, CONFIG);
    let bytes = files.require(&name, why)?;
    JsonObject::parse(&files.label(&name), &bytes)
}

/// Rejects a module whose input or output is anything but sentence vectors.
pub(super) fn reject_other_features(keys: &JsonObject) -> Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        if keys.string(key)?.is_some_and(|name| name != "sentence_embedding") {
            return Err(keys.invalid_value(key, "sentence_embedding"));
        }
    }
    Ok(())
}
