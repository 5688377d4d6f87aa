//! The sentence head: the modules that modules.json lists after the encoder.
//!
//! The first module is the encoder, and the second pools its token vectors. The others change the
//! sentence vector, in the order of the list. Class paths changed over the years:
//! `sentence_transformers.models.Pooling` became
//! `sentence_transformers.sentence_transformer.modules.pooling.Pooling`. The class names did not
//! change, so they identify the modules. Follows sentence-transformers 6.2.0, `base/model.py`.

mod dense;
mod head;
mod module_config;
mod pooling;

use serde_json::Value;

use crate::config::{self, JsonObject};
use crate::error::{Error, Result};
use crate::files::ModelFiles;
pub(crate) use head::{OutputOptions, PoolingHead};

/// The array of modules.json.
pub(crate) struct ModuleList {
    entries: Vec<Entry>,
    label: String,
}

/// An element of the array.
struct Entry {
    class: String,
    path: String,
    keys: JsonObject,
}

const MODULES: &str = "modules.json";
/// More than any model has.
pub(crate) const MOST_MODULES: usize = 100;

impl ModuleList {
    /// Reads modules.json. None if there is none: then the model is the encoder, and its tokens'
    /// mean.
    pub(crate) fn read(files: &ModelFiles) -> Result<Option<Self>> {
        let Some(bytes) = files.read(MODULES)? else { return Ok(None) };
        let label = files.label(MODULES);
        let array = match config::parse(&label, &bytes)? {
            Value::Array(array) if array.len() <= MOST_MODULES => array,
            Value::Array(array) => {
                let expected = format!("at most {MOST_MODULES} modules");
                return Err(Error::config(&label, "(the whole file)", expected, array.len().to_string()));
            }
            other => {
                return Err(Error::config(&label, "(the whole file)", "an array of modules", config::kind(&other)));
            }
        };
        let entry = |(i, entry)| -> Result<Entry> {
            let keys = JsonObject::of(&format!("{label}: element {i}"), entry)?;
            let (class, path) = (class_name(&keys)?.to_owned(), keys.text("path")?.unwrap_or_default().to_owned());
            Ok(Entry { class, path, keys })
        };
        let entries: Vec<Entry> = array.iter().enumerate().map(entry).collect::<Result<_>>()?;
        // The reference keeps only one of two modules of the same name.
        for (i, entry) in entries.iter().enumerate() {
            let name = entry.keys.get("name");
            if name.is_some() && entries[..i].iter().any(|other| other.keys.get("name") == name) {
                return Err(entry.keys.wrong("name", "another than an earlier module's"));
            }
        }
        Ok(Some(Self { entries, label }))
    }

    /// The folder of the encoder's own files, below the model's: "" but in the oldest models.
    pub(crate) fn encoder_path(&self) -> Result<&str> {
        match self.entries.first() {
            Some(first) if first.class == "Transformer" => Ok(&first.path),
            Some(first) => Err(first.keys.wrong("type", "Transformer as the first module")),
            None => Err(self.too_few()),
        }
    }

    fn too_few(&self) -> Error {
        Error::config(&self.label, "(the whole file)", "a Transformer and a Pooling module", "fewer modules")
    }
}

/// The last part of a class path, which must be one of sentence-transformers' own.
fn class_name(entry: &JsonObject) -> Result<&str> {
    let path = entry.text("type")?.unwrap_or_default();
    match path.rsplit_once('.') {
        Some((package, class)) if package.split('.').next() == Some("sentence_transformers") => Ok(class),
        _ => Err(entry.wrong("type", "a class of the package sentence_transformers")),
    }
}
