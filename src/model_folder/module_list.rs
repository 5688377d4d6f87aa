//! modules.json: the modules of a sentence-transformers model and their subfolders.
//!
//! Class paths changed over the years: `sentence_transformers.models.Pooling` became
//! `sentence_transformers.sentence_transformer.modules.pooling.Pooling`. The class names did not
//! change, so they identify the modules. Follows sentence-transformers 6.2.0, `base/model.py`.

use serde_json::Value;

use super::known_files::{CONFIG, MODULES, file_in, module_weights};
use super::manifest::Manifest;
use crate::config::{self, JsonObject};
use crate::error::{Error, Result};
use crate::files::ModelFiles;

/// More modules than any model has.
const MAX_MODULES: usize = 100;

/// The modules of a model. The first is the encoder, the second pools its token vectors.
pub(crate) struct ModuleList {
    pub(crate) entries: Vec<ModuleEntry>,
    label: String,
}

/// A module: its class, its subfolder, and all keys of its entry.
pub(crate) struct ModuleEntry {
    /// The class name without the package.
    pub(crate) class: String,
    /// The module's subfolder. The path "" is the model's folder.
    pub(crate) path: String,
    pub(crate) keys: JsonObject,
}

/// The classes of encoders. The second is that of sparse encoders saved before 5.4.
const ENCODER_CLASSES: [&str; 2] = ["Transformer", "MLMTransformer"];

/// The class of weights of tokens, which has its own tokenizer and weights, like an encoder.
const TOKEN_WEIGHTS_CLASS: &str = "SparseStaticEmbedding";

/// The class whose own file names further modules.
const ROUTER_CLASS: &str = "Router";

/// The files in a module's subfolder.
struct ClassFiles {
    class: &'static str,
    /// Whether the module cannot be loaded without its config.json.
    needs_config: bool,
    has_weights: bool,
}

/// The classes that read files. Dropout has a configuration that only training reads.
const CLASS_FILES: [ClassFiles; 6] = [
    ClassFiles { class: "Pooling", needs_config: true, has_weights: false },
    ClassFiles { class: "SpladePooling", needs_config: true, has_weights: false },
    ClassFiles { class: "Dense", needs_config: true, has_weights: true },
    ClassFiles { class: "LayerNorm", needs_config: true, has_weights: true },
    // Models from before 5.4 name a subfolder that most repositories do not have.
    ClassFiles { class: "Normalize", needs_config: false, has_weights: false },
    ClassFiles { class: "MultiVectorMask", needs_config: false, has_weights: false },
];

impl ModuleList {
    /// Reads modules.json. Returns None if it does not exist.
    ///
    /// # Errors
    /// If the file is not valid, or names classes that are not sentence-transformers' own.
    pub(crate) fn read(files: &ModelFiles, manifest: &mut Manifest) -> Result<Option<Self>> {
        let Some(bytes) = manifest.read(files, MODULES)? else { return Ok(None) };
        let modules = Self::parse(&files.label(MODULES), &bytes)?;
        modules.validate()?;
        Ok(Some(modules))
    }

    /// Parses modules.json. `label` is the file's name in messages.
    pub(crate) fn parse(label: &str, bytes: &[u8]) -> Result<Self> {
        let array = match config::parse_json(label, bytes)? {
            Value::Array(array) => array,
            other => {
                return Err(Error::config(label, "(the whole file)", "an array of modules", config::json_type(&other)));
            }
        };
        if array.len() > MAX_MODULES {
            let expected = format!("at most {MAX_MODULES} modules");
            return Err(Error::config(label, "(the whole file)", expected, array.len().to_string()));
        }
        let entries = array.iter().enumerate().map(|(i, value)| ModuleEntry::parse(label, i, value));
        Ok(Self { entries: entries.collect::<Result<_>>()?, label: label.to_owned() })
    }

    /// Makes the list of the modules of a route. `modules` has their subfolders and class paths.
    ///
    /// # Errors
    /// If a class is not sentence-transformers' own.
    pub(crate) fn of_route(label: &str, modules: &[(String, String)]) -> Result<Self> {
        let entry = |(i, (path, class)): (usize, &(String, String))| {
            ModuleEntry::parse(label, i, &serde_json::json!({ "path": path, "type": class }))
        };
        let entries = modules.iter().enumerate().map(entry).collect::<Result<_>>()?;
        let list = Self { entries, label: label.to_owned() };
        list.validate()?;
        Ok(list)
    }

    /// Lists the modules of all routes of a Router, without their order. `bytes` is the content of
    /// [`ROUTER_CONFIG`](super::ROUTER_CONFIG).
    ///
    /// # Errors
    /// If the file has no map from subfolders to classes.
    #[cfg(feature = "hub")]
    pub(crate) fn of_router(label: &str, bytes: &[u8]) -> Result<Self> {
        let types: Vec<(String, String)> = JsonObject::parse(label, bytes)?.string_map("types")?.into_iter().collect();
        Self::of_route(label, &types)
    }

    /// Whether the first module is a Router.
    pub(crate) fn has_router(&self) -> bool {
        self.entries.first().is_some_and(|first| first.class == ROUTER_CLASS)
    }

    /// Whether a module has its own tokenizer and weights. In a list without such a class it is the
    /// first one.
    pub(crate) fn is_encoder(&self, index: usize) -> bool {
        let has_class =
            |entry: &ModuleEntry| ENCODER_CLASSES.contains(&entry.class.as_str()) || entry.class == TOKEN_WEIGHTS_CLASS;
        has_class(&self.entries[index]) || (index == 0 && !self.entries.iter().any(has_class))
    }

    fn validate(&self) -> Result<()> {
        for (i, entry) in self.entries.iter().enumerate() {
            entry.validate_class()?;
            // sentence-transformers keeps only one of two modules with the same name.
            let name = entry.keys.get("name");
            if name.is_some() && self.entries[..i].iter().any(|earlier| earlier.keys.get("name") == name) {
                return Err(entry.keys.invalid_value("name", "a name that no earlier module has"));
            }
        }
        Ok(())
    }

    /// Returns the first module if it is a table of token vectors instead of an encoder.
    pub(crate) fn static_embedding(&self) -> Option<&ModuleEntry> {
        self.entries.first().filter(|first| first.class == "StaticEmbedding")
    }

    /// Returns the subfolder of the encoder, which is "" except in the oldest models.
    ///
    /// # Errors
    /// If the first module is not an encoder.
    pub(crate) fn encoder_path(&self) -> Result<&str> {
        match self.entries.first() {
            Some(first) if ENCODER_CLASSES.contains(&first.class.as_str()) => Ok(&first.path),
            Some(first) => Err(first.keys.invalid_value("type", "Transformer as the first module")),
            None => Err(self.too_few()),
        }
    }

    /// Makes the error that the model lacks an encoder or a pooling module.
    pub(crate) fn too_few(&self) -> Error {
        Error::config(&self.label, "(the whole file)", "a Transformer and a Pooling module", "fewer modules")
    }

    /// Returns the files in the subfolders of the modules after the encoder.
    pub(crate) fn manifest(&self, files: &ModelFiles) -> Result<Manifest> {
        let mut manifest = Manifest::default();
        for (module, class) in self.modules_with_files() {
            let config = file_in(&module.path, CONFIG);
            if class.needs_config || files.read(&config)?.is_some() {
                manifest.insert(config);
            }
            if class.has_weights {
                manifest.insert(module_weights(|name| files.contains(name), &module.path));
            }
        }
        Ok(manifest)
    }

    /// Returns the files that the modules after the encoder cannot be loaded without. `has`:
    /// whether a file exists.
    #[cfg(feature = "hub")]
    pub(crate) fn required_files(&self, has: &dyn Fn(&str) -> bool) -> Vec<String> {
        let mut names = Vec::new();
        for (module, class) in self.modules_with_files() {
            names.extend(class.needs_config.then(|| file_in(&module.path, CONFIG)));
            names.extend(class.has_weights.then(|| module_weights(has, &module.path)));
        }
        names
    }

    fn modules_with_files(&self) -> impl Iterator<Item = (&ModuleEntry, &'static ClassFiles)> {
        let others = (0..self.entries.len()).filter(|&i| !self.is_encoder(i)).map(|i| &self.entries[i]);
        let others = others.filter(|module| !module.path.is_empty());
        others.filter_map(|module| Some((module, CLASS_FILES.iter().find(|files| files.class == module.class)?)))
    }
}

impl ModuleEntry {
    /// Whether the module cannot be loaded without a config.json, if it is an encoder.
    #[cfg(feature = "hub")]
    pub(crate) fn encoder_needs_config(&self) -> bool {
        self.class != TOKEN_WEIGHTS_CLASS
    }

    fn parse(label: &str, index: usize, value: &Value) -> Result<Self> {
        let keys = JsonObject::from_value(&format!("{label}: element {index}"), value)?;
        let class_path = keys.string("type")?.unwrap_or_default();
        let class = class_path.rsplit('.').next().unwrap_or_default().to_owned();
        let path = keys.string("path")?.unwrap_or_default();
        let trimmed = path.trim_end_matches('/');
        // Keep "/": it is not the model's folder. Model2Vec writes ".", which is.
        let path = if trimmed.is_empty() { path } else { trimmed };
        let path = if path == "." { "" } else { path }.to_owned();
        Ok(Self { class, path, keys })
    }

    /// Rejects a class that is not one of sentence-transformers' own: code in a folder is never
    /// run.
    fn validate_class(&self) -> Result<()> {
        let class_path = self.keys.string("type")?.unwrap_or_default();
        match class_path.split_once('.') {
            Some(("sentence_transformers", _)) => Ok(()),
            // The Dense of sentence-transformers, by its name in the library of the training.
            Some(("pylate", "models.Dense.Dense")) => Ok(()),
            _ => Err(self.keys.invalid_value("type", "a class of the package sentence_transformers")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES_JSON: &[u8] = br#"[
        {"path": "0_Transformer/", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Dense//", "type": "sentence_transformers.models.Dense"},
        {"path": "3_Dropout", "type": "sentence_transformers.models.Dropout"},
        {"path": "4_Normalize", "type": "sentence_transformers.models.Normalize"}
    ]"#;

    #[test]
    fn paths_of_modules_are_parsed_without_trailing_slashes() {
        let modules = ModuleList::parse(MODULES, MODULES_JSON).expect("modules");
        assert!(modules.validate().is_ok());
        assert_eq!(modules.encoder_path().expect("an encoder"), "0_Transformer");
        assert_eq!(modules.entries[2].path, "2_Dense");
        let root = ModuleList::parse(MODULES, br#"[{"path": "/", "type": "a.Transformer"}]"#).expect("modules");
        assert_eq!(root.entries[0].path, "/");
        assert!(root.validate().is_err());
    }

    #[test]
    fn manifest_of_modules_has_the_files_that_loading_reads() {
        let modules = ModuleList::parse(MODULES, MODULES_JSON).expect("modules");
        let files = ModelFiles::in_memory();
        let names = |files: &ModelFiles| -> Vec<String> {
            modules.manifest(files).expect("a manifest").iter().map(str::to_owned).collect()
        };
        let required = ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"];
        assert_eq!(names(&files), required);
        let files = files.with("3_Dropout/config.json", &b"{}"[..]).with("4_Normalize/config.json", &b"{}"[..]);
        assert_eq!(names(&files), [&required[..], &["4_Normalize/config.json"]].concat());
        let files = ModelFiles::in_memory().with("2_Dense/pytorch_model.bin", &b""[..]);
        assert_eq!(names(&files), ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/pytorch_model.bin"]);
        let files = files.with("2_Dense/model.safetensors", &b""[..]);
        assert_eq!(names(&files), required);
    }
}
