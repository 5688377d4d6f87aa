//! The sentence head: the chain of modules that modules.json describes.
//!
//! The first is the encoder itself, the second pools its token vectors; the rest change the sentence vector, in the order of
//! the array. Class paths changed over the years (`sentence_transformers.models.Pooling` became
//! `sentence_transformers.sentence_transformer.modules.pooling.Pooling`), the class names did not, so those are matched.
//! Follows sentence-transformers 6.2.0, `base/model.py`.

mod dense;
pub(crate) mod normalize;
mod pooling;

use likewise_kernels::Level;
use likewise_kernels::view::{MatMut, MatRef};
use serde_json::Value;

use crate::checkpoint::{Checkpoint, TensorReader};
use crate::config::{self, JsonObject};
use crate::encoder::LayerNorm;
use crate::encoder::spec::NormSpec;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use dense::Dense;
use pooling::Pooling;

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

/// Token vectors to a sentence vector.
pub(crate) struct PoolingHead {
    level: Level,
    pooling: Pooling,
    after: Vec<Module>,
    /// D, and the widths after pooling and after all modules.
    tokens: usize,
    pooled: usize,
    width: usize,
}

/// A step on the sentence vector.
enum Module {
    Dense(Dense),
    LayerNorm(LayerNorm),
    Normalize,
    /// Which does nothing but in training.
    Dropout,
}

/// What is done to a sentence vector after the model's modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputOptions {
    /// How many numbers are kept: the first ones.
    pub(crate) dimensions: Option<usize>,
    /// Whether what is kept is brought to length 1; `Some(false)` undoes the model's own Normalize, if it comes last. None: as
    /// the model does it, before anything is cut off.
    pub(crate) normalize: Option<bool>,
}

const MODULES: &str = "modules.json";
/// More than any model has.
pub(crate) const MOST_MODULES: usize = 100;

impl ModuleList {
    /// Reads modules.json. None if there is none: then the model is the encoder, and its tokens' mean.
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

impl PoolingHead {
    /// The modules after the encoder, with their weights. `width`: D.
    ///
    /// # Errors
    /// If a module or a pooling mode is not supported, or the modules do not fit together.
    pub(crate) fn load(files: &ModelFiles, modules: Option<&ModuleList>, level: Level, width: usize) -> Result<Self> {
        let Some(modules) = modules else {
            let (pooling, after) = (Pooling::mean(), Vec::new());
            return Ok(Self { level, pooling, after, tokens: width, pooled: width, width });
        };
        let Some(pooling) = modules.entries.get(1) else { return Err(modules.too_few()) };
        if pooling.class != "Pooling" {
            return Err(pooling.keys.wrong("type", "Pooling as the second module"));
        }
        // Without a folder of its own, the model's config.json would be read as its configuration.
        if pooling.path.is_empty() {
            return Err(pooling.keys.wrong("path", "the folder of the Pooling module"));
        }
        let pooling = Pooling::load(files, &pooling.path, width)?;
        let pooled = pooling.width(width);
        let mut head = Self { level, pooling, after: Vec::new(), tokens: width, pooled, width: pooled };
        for entry in &modules.entries[2..] {
            let module = Module::load(files, entry, level, head.width)?;
            if let Module::Dense(dense) = &module {
                head.width = dense.width();
            }
            head.after.push(module);
        }
        Ok(head)
    }

    /// Width of the sentence vector.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Width of the pooled vector.
    pub(crate) fn pooled_width(&self) -> usize {
        self.pooled
    }

    /// Whether pooling counts the tokens of the prompt.
    pub(crate) fn includes_prompt(&self) -> bool {
        self.pooling.includes_prompt()
    }

    /// Bytes of its weights.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |module: &Module| match module {
            Module::Dense(dense) => dense.bytes(),
            Module::LayerNorm(_) => 2 * self.width * size_of::<f32>(),
            Module::Normalize | Module::Dropout => 0,
        };
        self.after.iter().map(bytes).sum()
    }

    /// The pooled vector `[P]`, before the modules after it, from the vectors of a sentence's tokens `[L, D]`, of which the
    /// first `prompt` are its prompt's.
    pub(crate) fn pool(&self, tokens: MatRef<'_>, prompt: usize, out: &mut [f32]) {
        assert_eq!((tokens.cols(), out.len()), (self.tokens, self.pooled), "widths of tokens and of their pool");
        self.pooling.apply(self.level, tokens, prompt, out);
    }

    /// Takes pooled vectors `[n, P]` through the modules after pooling, and to their end `[n, E]`.
    pub(crate) fn finish(&self, mut vectors: Vec<f32>, ending: OutputOptions) -> Vec<f32> {
        let (mut width, modules) = (self.pooled, self.modules_before(ending));
        for module in modules {
            match module {
                Module::Dense(dense) => (vectors, width) = (dense.apply(&vectors), dense.width()),
                Module::LayerNorm(norm) => vectors = normed(norm, &vectors, width),
                Module::Normalize => self.normalize(&mut vectors, width),
                Module::Dropout => {}
            }
        }
        if let Some(dimensions) = ending.dimensions.filter(|&dimensions| dimensions < width) {
            vectors = vectors.chunks_exact(width).flat_map(|vector| &vector[..dimensions]).copied().collect();
            width = dimensions;
        }
        if ending.normalize == Some(true) {
            self.normalize(&mut vectors, width);
        }
        vectors
    }

    /// The modules that an ending leaves in force: where it decides on the length, not the model's last Normalize.
    fn modules_before(&self, ending: OutputOptions) -> &[Module] {
        let last = |module: &Module| matches!(module, Module::Normalize | Module::Dropout);
        let kept = match ending.normalize {
            None => self.after.len(),
            Some(_) => self.after.iter().rposition(|module| !last(module)).map_or(0, |at| at + 1),
        };
        &self.after[..kept]
    }

    fn normalize(&self, vectors: &mut [f32], width: usize) {
        vectors.chunks_exact_mut(width).for_each(|vector| normalize::normalize(self.level, vector));
    }

    /// Whether the model brings its vectors to length 1, at the end.
    #[cfg(feature = "serve")]
    pub(crate) fn normalizes(&self) -> bool {
        let last = self.after.iter().rev().find(|module| !matches!(module, Module::Dropout));
        matches!(last, Some(Module::Normalize))
    }

    /// Its modules in words: "mean pooling", "Normalize".
    pub(crate) fn describe(&self) -> Vec<String> {
        let after = self.after.iter().map(|module| match module {
            Module::Dense(dense) => dense.describe(),
            Module::LayerNorm(_) => "LayerNorm".to_owned(),
            Module::Normalize => "Normalize".to_owned(),
            Module::Dropout => "Dropout".to_owned(),
        });
        std::iter::once(self.pooling.describe()).chain(after).collect()
    }
}

impl Module {
    /// A module after pooling. `width`: of the vectors that come in.
    fn load(files: &ModelFiles, entry: &Entry, level: Level, width: usize) -> Result<Self> {
        let path = entry.path.as_str();
        let needs_folder = || match path.is_empty() {
            true => Err(entry.keys.wrong("path", format!("the folder of the {} module", entry.class))),
            false => Ok(()),
        };
        match entry.class.as_str() {
            "Dense" => {
                needs_folder()?;
                Ok(Self::Dense(Dense::load(files, level, path, width)?))
            }
            "LayerNorm" => {
                needs_folder()?;
                Ok(Self::LayerNorm(load_norm(files, level, path, width)?))
            }
            "Normalize" => {
                // Models of before 5.4 list a folder that is not there.
                if !path.is_empty()
                    && let Some(keys) = files.json(&in_module(path, "config.json"))?
                {
                    on_sentences(&keys)?;
                }
                Ok(Self::Normalize)
            }
            "Dropout" => Ok(Self::Dropout),
            _ => Err(entry.keys.wrong("type", "Dense, LayerNorm, Normalize or Dropout after Pooling")),
        }
    }
}

/// A LayerNorm module's weights (`sentence_transformer/modules/layer_norm.py`): torch's, with its own epsilon.
fn load_norm(files: &ModelFiles, level: Level, path: &str, width: usize) -> Result<LayerNorm> {
    const EPSILON: f32 = 1e-5;
    let name = in_module(path, "config.json");
    let keys =
        JsonObject::parse(&files.label(&name), &files.require(&name, "the configuration of a LayerNorm module")?)?;
    if keys.size("dimension")? != Some(width) {
        return Err(keys.wrong("dimension", format!("{width}, the width of the vectors before it")));
    }
    let checkpoint = Checkpoint::of_module(files, path)?;
    let mut tensors = TensorReader::new(&checkpoint);
    let norm = LayerNorm::load(&mut tensors, level, &NormSpec::module("norm", EPSILON), width)?;
    tensors.reject_unknown_tensors("LayerNorm")?;
    Ok(norm)
}

fn normed(norm: &LayerNorm, vectors: &[f32], width: usize) -> Vec<f32> {
    let rows = vectors.len() / width;
    let mut out = vec![0.0; vectors.len()];
    norm.apply(MatRef::new(vectors, rows, width), MatMut::new(&mut out, rows, width));
    out
}

/// Refuses a module that reads or writes anything but sentence vectors.
fn on_sentences(keys: &JsonObject) -> Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        if keys.text(key)?.is_some_and(|name| name != "sentence_embedding") {
            return Err(keys.wrong(key, "sentence_embedding"));
        }
    }
    Ok(())
}

/// The last part of a class path, which must be one of sentence-transformers' own.
fn class_name(entry: &JsonObject) -> Result<&str> {
    let path = entry.text("type")?.unwrap_or_default();
    match path.rsplit_once('.') {
        Some((package, class)) if package.split('.').next() == Some("sentence_transformers") => Ok(class),
        _ => Err(entry.wrong("type", "a class of the package sentence_transformers")),
    }
}

/// The path of a file in a module's folder.
fn in_module(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}
