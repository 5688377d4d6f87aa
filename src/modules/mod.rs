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

use crate::checkpoint::Checkpoint;
use crate::config::JsonObject;
use crate::encoder::norm::LayerNorm;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, ModuleEntry, ModuleList, file_in};
use dense::Dense;
use pooling::Pooling;

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
            return Err(pooling.keys.invalid_value("type", "Pooling as the second module"));
        }
        // Without a folder of its own, the model's config.json would be read as its configuration.
        if pooling.path.is_empty() {
            return Err(pooling.keys.invalid_value("path", "the folder of the Pooling module"));
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
    fn load(files: &ModelFiles, entry: &ModuleEntry, level: Level, width: usize) -> Result<Self> {
        let path = entry.path.as_str();
        let needs_folder = || match path.is_empty() {
            true => Err(entry.keys.invalid_value("path", format!("the folder of the {} module", entry.class))),
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
                    && let Some(keys) = files.json(&file_in(path, CONFIG))?
                {
                    on_sentences(&keys)?;
                }
                Ok(Self::Normalize)
            }
            "Dropout" => Ok(Self::Dropout),
            _ => Err(entry.keys.invalid_value("type", "Dense, LayerNorm, Normalize or Dropout after Pooling")),
        }
    }
}

/// A LayerNorm module's weights (`sentence_transformer/modules/layer_norm.py`): torch's, with its own epsilon.
fn load_norm(files: &ModelFiles, level: Level, path: &str, width: usize) -> Result<LayerNorm> {
    const EPSILON: f32 = 1e-5;
    let name = file_in(path, CONFIG);
    let keys =
        JsonObject::parse(&files.label(&name), &files.require(&name, "the configuration of a LayerNorm module")?)?;
    if keys.positive_integer("dimension")? != Some(width) {
        return Err(keys.invalid_value("dimension", format!("{width}, the width of the vectors before it")));
    }
    let checkpoint = Checkpoint::of_module(files, path)?;
    let norm = LayerNorm::load(&checkpoint, level, "norm", width, EPSILON)?;
    checkpoint.refuse_unknown("LayerNorm")?;
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
        if keys.string(key)?.is_some_and(|name| name != "sentence_embedding") {
            return Err(keys.invalid_value(key, "sentence_embedding"));
        }
    }
    Ok(())
}
