//! The sentence head: pooling and the modules after it, which make sentence vectors `[S, E]` of
//! token vectors `[T, D]` (Reimers and Gurevych 2019, <https://arxiv.org/abs/1908.10084>).
//!
//! Normalize is y = x / ‖x‖; `pooling.rs`, `dense.rs` and the encoder's norm are the other modules.

use likewise_kernels::Level;
use likewise_kernels::view::{MatMut, MatRef};

use super::dense::Dense;
use super::module_config::{ModuleOutput, module_config, reject_other_features};
use super::pooling::{Pooling, PoolingMode};
use crate::checkpoint::{Checkpoint, TensorReader};
use crate::encoder::Norm;
use crate::encoder::spec::NormSpec;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, ModuleEntry, ModuleList, file_in};
use crate::trace::{Layout, Recorder};
use crate::vector_math;

/// The epsilon of a LayerNorm module: the default of `torch.nn.LayerNorm`.
const LAYER_NORM_EPSILON: f32 = 1e-5;

/// The modules after the encoder, which turn token vectors into a sentence vector.
pub(crate) struct PoolingHead {
    level: Level,
    pub(super) pooling: Pooling,
    post_modules: Vec<Module>,
    /// The width of a token vector, D.
    token_width: usize,
    /// The width of a pooled vector, W.
    pub(super) pooled_width: usize,
    /// The width of a sentence vector after all modules, E.
    width: usize,
}

/// A module after pooling, which changes the sentence vector.
pub(super) enum Module {
    Dense(Dense),
    LayerNorm(Norm),
    Normalize,
    /// Has an effect in training only.
    Dropout,
}

/// What to do with a sentence vector after the model's modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputOptions {
    /// How many elements to keep: the first ones. None keeps all.
    pub(crate) dimensions: Option<usize>,
    /// Whether to scale the kept elements to length 1. `Some(false)` also skips the model's own
    /// Normalize, if it comes last. None leaves normalization to the model's modules, which come
    /// before the cut.
    pub(crate) normalize: Option<bool>,
}

impl PoolingHead {
    /// Loads the modules after the encoder, with their weights. `width` is the width of a token
    /// vector, D, and `output` what the last of them computes.
    ///
    /// # Errors
    /// If a module or a pooling mode is not supported, or the widths of two modules do not match.
    pub(crate) fn load(
        files: &ModelFiles,
        modules: Option<&ModuleList>,
        level: Level,
        width: usize,
        output: ModuleOutput,
    ) -> Result<Self> {
        let Some(modules) = modules else { return Ok(Self::of_mode(PoolingMode::Mean, level, width)) };
        let Some(pooling) = modules.entries.get(1) else { return Err(modules.too_few()) };
        if pooling.class != "Pooling" {
            return Err(pooling.keys.invalid_value("type", "Pooling as the second module"));
        }
        // With an empty path, the model's config.json would be read as the module's configuration.
        if pooling.path.is_empty() {
            return Err(pooling.keys.invalid_value("path", "the folder of the Pooling module"));
        }
        let mut head = Self::new(level, Pooling::load(files, &pooling.path, width)?, width);
        head.load_post_modules(files, &modules.entries[2..], output)?;
        if output == ModuleOutput::Scores && !matches!(head.post_modules.last(), Some(Module::Dense(_))) {
            let last = &modules.entries[modules.entries.len() - 1];
            return Err(last.keys.invalid_value("type", "Dense as the last module, for the scores"));
        }
        Ok(head)
    }

    /// Loads the modules after a table of token vectors, whose mean is the pooled vector. `width`
    /// is the width of a token vector, D. Without modules.json, `normalizes` says whether there is
    /// a Normalize.
    ///
    /// # Errors
    /// See [`Self::load`].
    pub(crate) fn load_after_table(
        files: &ModelFiles,
        modules: Option<&ModuleList>,
        level: Level,
        width: usize,
        normalizes: bool,
    ) -> Result<Self> {
        let mut head = Self::of_mode(PoolingMode::Mean, level, width);
        if let Some(modules) = modules {
            head.load_post_modules(files, &modules.entries[1..], ModuleOutput::Embedding)?;
        } else if normalizes {
            head.post_modules.push(Module::Normalize);
        }
        Ok(head)
    }

    /// Loads modules, the last of which computes `output`.
    fn load_post_modules(&mut self, files: &ModelFiles, entries: &[ModuleEntry], output: ModuleOutput) -> Result<()> {
        for (i, entry) in entries.iter().enumerate() {
            let output = if i + 1 == entries.len() { output } else { ModuleOutput::Embedding };
            let module = Module::load(files, entry, self.level, self.width, output)?;
            if let Module::Dense(dense) = &module {
                self.width = dense.width();
            }
            self.post_modules.push(module);
        }
        Ok(())
    }

    /// Makes a head that only pools token vectors.
    pub(crate) fn of_mode(mode: PoolingMode, level: Level, token_width: usize) -> Self {
        Self::new(level, Pooling::of_mode(mode), token_width)
    }

    fn new(level: Level, pooling: Pooling, token_width: usize) -> Self {
        let pooled_width = pooling.width(token_width);
        Self { level, pooling, post_modules: Vec::new(), token_width, pooled_width, width: pooled_width }
    }

    /// Returns the width of the sentence vector, E.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Returns the width of the pooled vector, W.
    pub(crate) fn pooled_width(&self) -> usize {
        self.pooled_width
    }

    /// Returns the pooling modes.
    pub(crate) fn pooling_modes(&self) -> &[PoolingMode] {
        self.pooling.modes()
    }

    /// Returns whether pooling includes the tokens of the prompt.
    pub(crate) fn includes_prompt(&self) -> bool {
        self.pooling.includes_prompt()
    }

    /// Returns the bytes of the head's weights.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |module: &Module| match module {
            Module::Dense(dense) => dense.bytes(),
            Module::LayerNorm(norm) => norm.bytes(),
            Module::Normalize | Module::Dropout => 0,
        };
        self.post_modules.iter().map(bytes).sum()
    }

    /// Pools the token vectors `[L, D]` of a text to `out` `[W]`. The first `excluded_tokens`
    /// tokens are not pooled.
    pub(crate) fn pool(&self, tokens: MatRef<'_>, excluded_tokens: usize, out: &mut [f32]) {
        assert_eq!(tokens.cols(), self.token_width, "width of the token vectors");
        assert_eq!(out.len(), self.pooled_width, "width of the pooled vector");
        self.pooling.apply(self.level, tokens, excluded_tokens, out);
    }

    /// Returns the index of the only token whose vector pooling reads, in a text of so many tokens.
    /// The pooled vector is then that of the token. None if pooling reads several tokens, or none.
    pub(crate) fn single_token(&self, tokens: usize, excluded_tokens: usize) -> Option<usize> {
        self.pooling.single_token(tokens, excluded_tokens)
    }

    /// Applies the modules after pooling to pooled vectors `[S, W]`. Returns the sentence vectors
    /// `[S, E]`, or `[S, k]` if the options keep k dimensions.
    pub(crate) fn apply_post_modules(&self, vectors: Vec<f32>, options: OutputOptions) -> Vec<f32> {
        self.apply_observed(vectors, options, |_, _, _| ())
    }

    /// Applies the modules as [`Self::apply_post_modules`] does, and records the pooled vectors,
    /// the output of each module, and the sentence vectors. `first` is the index in modules.json of
    /// the first module after pooling.
    pub(crate) fn trace_post_modules(
        &self,
        pooled: Vec<f32>,
        options: OutputOptions,
        first: usize,
        recorder: &mut Recorder,
    ) -> Vec<f32> {
        recorder.record_rows("pooled", Layout::Texts("W"), self.pooled_width, &pooled);
        let texts = pooled.len() / self.pooled_width;
        let vectors = self.apply_observed(pooled, options, |module, width, vectors| {
            recorder.record_rows(&format!("module.{}", first + module), Layout::Texts("E"), width, vectors);
        });
        recorder.record_rows("vectors", Layout::Texts("E"), vectors.len() / texts, &vectors);
        vectors
    }

    /// Applies the modules after pooling. `observe` gets the index, the width and the output of
    /// each.
    fn apply_observed(
        &self,
        mut vectors: Vec<f32>,
        options: OutputOptions,
        mut observe: impl FnMut(usize, usize, &[f32]),
    ) -> Vec<f32> {
        let mut width = self.pooled_width;
        for (i, module) in self.modules_kept(options).iter().enumerate() {
            match module {
                Module::Dense(dense) => {
                    vectors = dense.apply(&vectors);
                    width = dense.width();
                }
                Module::LayerNorm(norm) => vectors = apply_norm(norm, &vectors, width),
                Module::Normalize => self.normalize(&mut vectors, width),
                Module::Dropout => {}
            }
            observe(i, width, &vectors);
        }
        if let Some(dimensions) = options.dimensions.filter(|&dimensions| dimensions < width) {
            vectors = vectors.chunks_exact(width).flat_map(|vector| &vector[..dimensions]).copied().collect();
            width = dimensions;
        }
        if options.normalize == Some(true) {
            self.normalize(&mut vectors, width);
        }
        vectors
    }

    /// Returns the modules to apply. If the options decide on normalization, the model's last
    /// Normalize is left out.
    pub(super) fn modules_kept(&self, options: OutputOptions) -> &[Module] {
        if options.normalize.is_none() {
            return &self.post_modules;
        }
        let is_skipped = |module: &Module| matches!(module, Module::Normalize | Module::Dropout);
        let kept = self.post_modules.iter().rposition(|module| !is_skipped(module)).map_or(0, |last| last + 1);
        &self.post_modules[..kept]
    }

    fn normalize(&self, vectors: &mut [f32], width: usize) {
        vectors.chunks_exact_mut(width).for_each(|vector| vector_math::normalize(self.level, vector));
    }

    /// Returns whether the model ends with a Normalize module.
    #[cfg(feature = "serve")]
    pub(crate) fn ends_with_normalize(&self) -> bool {
        let last = self.post_modules.iter().rev().find(|module| !matches!(module, Module::Dropout));
        matches!(last, Some(Module::Normalize))
    }

    /// Describes each module, such as "mean pooling" or "Normalize".
    pub(crate) fn describe(&self) -> Vec<String> {
        let post_modules = self.post_modules.iter().map(|module| match module {
            Module::Dense(dense) => dense.describe(),
            Module::LayerNorm(_) => "LayerNorm".to_owned(),
            Module::Normalize => "Normalize".to_owned(),
            Module::Dropout => "Dropout".to_owned(),
        });
        std::iter::once(self.pooling.describe()).chain(post_modules).collect()
    }
}

impl Module {
    /// Loads a module after pooling. `width` is the width of its input vectors, and `output` what a
    /// Dense must compute.
    fn load(files: &ModelFiles, entry: &ModuleEntry, level: Level, width: usize, output: ModuleOutput) -> Result<Self> {
        let path = entry.path.as_str();
        match entry.class.as_str() {
            "Dense" => {
                require_folder(entry)?;
                Ok(Self::Dense(Dense::load(files, level, path, width, output)?))
            }
            "LayerNorm" => {
                require_folder(entry)?;
                Ok(Self::LayerNorm(load_norm(files, level, path, width)?))
            }
            "Normalize" => {
                // Models saved before sentence-transformers 5.4 name a folder that does not exist.
                if !path.is_empty()
                    && let Some(keys) = files.json(&file_in(path, CONFIG))?
                {
                    reject_other_features(&keys, ModuleOutput::Embedding)?;
                    keys.reject_unread(&[])?;
                }
                Ok(Self::Normalize)
            }
            "Dropout" => Ok(Self::Dropout),
            _ => Err(entry
                .keys
                .invalid_value("type", "Dense, LayerNorm, Normalize or Dropout after Pooling or StaticEmbedding")),
        }
    }
}

/// Rejects a module without a folder if it needs one.
pub(super) fn require_folder(entry: &ModuleEntry) -> Result<()> {
    if entry.path.is_empty() {
        return Err(entry.keys.invalid_value("path", format!("the folder of the {} module", entry.class)));
    }
    Ok(())
}

/// Loads a LayerNorm module (`sentence_transformer/modules/layer_norm.py`), which wraps
/// `torch.nn.LayerNorm`.
fn load_norm(files: &ModelFiles, level: Level, path: &str, width: usize) -> Result<Norm> {
    let keys = module_config(files, path, "the configuration of a LayerNorm module")?;
    if keys.positive_integer("dimension")? != Some(width) {
        return Err(keys.invalid_value("dimension", format!("{width}, the width of the vectors before it")));
    }
    keys.reject_unread(&[])?;
    let checkpoint = Checkpoint::of_module(files, path)?;
    let mut tensors = TensorReader::new(&checkpoint);
    let norm = Norm::load(&mut tensors, level, &NormSpec::module("norm", LAYER_NORM_EPSILON), width)?;
    tensors.reject_unknown_tensors("LayerNorm")?;
    Ok(norm)
}

/// Applies a layer norm to vectors `[S, width]`.
fn apply_norm(norm: &Norm, vectors: &[f32], width: usize) -> Vec<f32> {
    let rows = vectors.len() / width;
    let mut out = vec![0.0; vectors.len()];
    norm.apply(MatRef::new(vectors, rows, width), MatMut::new(&mut out, rows, width));
    out
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    use super::*;

    fn weights(tensors: &[(&str, &[usize])]) -> Vec<u8> {
        let zeros = [0; 64];
        let views = tensors.iter().map(|&(name, shape)| {
            let bytes = &zeros[..shape.iter().product::<usize>() * size_of::<f32>()];
            (name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("a tensor"))
        });
        safetensors::serialize(views, None).expect("safetensors")
    }

    #[test]
    fn layer_norm_before_a_narrower_dense_is_counted_with_its_own_width() {
        let list = br#"[
            {"path": "", "type": "sentence_transformers.models.Transformer"},
            {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"path": "2_LayerNorm", "type": "sentence_transformers.models.LayerNorm"},
            {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}
        ]"#;
        let files = ModelFiles::in_memory()
            .with("1_Pooling/config.json", br#"{"pooling_mode": "mean"}"#.as_slice())
            .with("2_LayerNorm/config.json", br#"{"dimension": 4}"#.as_slice())
            .with("2_LayerNorm/model.safetensors", weights(&[("norm.weight", &[4]), ("norm.bias", &[4])]))
            .with("3_Dense/config.json", br#"{"in_features": 4, "out_features": 2}"#.as_slice())
            .with("3_Dense/model.safetensors", weights(&[("linear.weight", &[2, 4]), ("linear.bias", &[2])]));
        let modules = ModuleList::parse("modules.json", list).expect("modules");
        let head =
            PoolingHead::load(&files, Some(&modules), Level::PORTABLE, 4, ModuleOutput::Embedding).expect("a head");
        assert_eq!(head.width(), 2);
        assert_eq!(head.bytes(), (2 * 4 + 2 * 4 + 2) * size_of::<f32>());
    }
}
