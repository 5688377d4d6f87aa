//! The token head: the modules of a late-interaction model after its encoder.
//!
//! ```text
//! y[t] = W x[t] / ‖W x[t]‖     x [T, D], W [E, D], y [T, E]
//! ```
//!
//! (Khattab and Zaharia 2020, <https://arxiv.org/abs/2004.12832>, §3.) Some models have several
//! such maps, or no norm.
//!
//! They change the vector of each token, and [`TokenMask`] says which vectors are scored. The order
//! of the mask and the other modules does not matter.

use likewise_kernels::Level;

use super::dense::Dense;
use super::head::require_folder;
use super::module_config::{ModuleOutput, reject_other_features};
use super::token_mask::TokenMask;
use crate::checkpoint::TensorReader;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, ModuleEntry, ModuleList, file_in};
use crate::trace::{Layout, Recorder};
use crate::vector_math;

/// The modules after the encoder, which turn token vectors into those that are compared.
pub(crate) struct TokenHead {
    level: Level,
    modules: Vec<TokenModule>,
    mask: Option<TokenMask>,
    /// The width of a token vector of the encoder.
    encoder_width: usize,
    /// The width of a vector after all modules.
    width: usize,
}

enum TokenModule {
    Dense(Box<Dense>),
    Normalize,
    /// Has an effect in training only.
    Dropout,
}

impl TokenHead {
    /// Loads the modules of modules.json after the encoder, with their weights. `width` is that of
    /// the encoder's token vectors.
    ///
    /// # Errors
    /// If a module is not supported, its weights are missing, or the widths of two modules do not
    /// match.
    pub(crate) fn load(files: &ModelFiles, modules: &ModuleList, level: Level, width: usize) -> Result<Self> {
        let mut head = Self::new(level, width);
        for entry in modules.entries.iter().skip(1) {
            let path = entry.path.as_str();
            match entry.class.as_str() {
                "Dense" => {
                    require_folder(entry)?;
                    let dense = Dense::load(files, level, path, head.width, ModuleOutput::Tokens)?;
                    head.width = dense.width();
                    head.modules.push(TokenModule::Dense(Box::new(dense)));
                }
                "Normalize" => {
                    check_normalize(files, entry)?;
                    head.modules.push(TokenModule::Normalize);
                }
                "Dropout" => head.modules.push(TokenModule::Dropout),
                "MultiVectorMask" if head.mask.is_none() => head.mask = Some(TokenMask::load(files, path)?),
                "MultiVectorMask" => return Err(entry.keys.invalid_value("type", "only one MultiVectorMask")),
                _ => {
                    let expected = "Dense, MultiVectorMask, Normalize or Dropout in a late-interaction model";
                    return Err(entry.keys.invalid_value("type", expected));
                }
            }
        }
        Ok(head)
    }

    /// Loads the projection that Stanford's ColBERT has among the encoder's tensors:
    /// `linear.weight`. The vectors are normalized.
    ///
    /// # Errors
    /// If the tensor is missing or has another width.
    pub(crate) fn inside(tensors: &mut TensorReader<'_>, level: Level, width: usize) -> Result<Self> {
        let dense = Dense::inside(tensors, level, "linear", width)?;
        let head = Self::new(level, width);
        Ok(Self {
            width: dense.width(),
            modules: vec![TokenModule::Dense(Box::new(dense)), TokenModule::Normalize],
            ..head
        })
    }

    fn new(level: Level, width: usize) -> Self {
        Self { level, modules: Vec::new(), mask: None, encoder_width: width, width }
    }

    /// Adds the modules that PyLate applies without listing them: a mask and Normalize.
    pub(crate) fn with_mask_and_normalize(mut self, mask: TokenMask) -> Self {
        if !matches!(self.modules.last(), Some(TokenModule::Normalize)) {
            self.modules.push(TokenModule::Normalize);
        }
        Self { mask: Some(mask), ..self }
    }

    /// Returns the mask, if the model has one.
    pub(crate) fn mask(&self) -> Option<&TokenMask> {
        self.mask.as_ref()
    }

    /// Returns the width of a vector after all modules.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Returns the bytes of the weights.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |module: &TokenModule| match module {
            TokenModule::Dense(dense) => dense.bytes(),
            TokenModule::Normalize | TokenModule::Dropout => 0,
        };
        self.modules.iter().map(bytes).sum()
    }

    /// Maps vectors of the encoder `[T, D]` to vectors `[T, width]`.
    pub(crate) fn apply(&self, vectors: Vec<f32>) -> Vec<f32> {
        self.apply_observed(vectors, |_, _, _| ())
    }

    /// Maps vectors as [`Self::apply`] does, and records the output of each module, by its index in
    /// modules.json.
    pub(crate) fn trace(&self, vectors: Vec<f32>, recorder: &mut Recorder) -> Vec<f32> {
        self.apply_observed(vectors, |module, width, vectors| {
            recorder.record_rows(&format!("module.{}", module + 1), Layout::Tokens("E"), width, vectors);
        })
    }

    /// Applies the modules. `observe` gets the index, the width and the output of each.
    fn apply_observed(&self, mut vectors: Vec<f32>, mut observe: impl FnMut(usize, usize, &[f32])) -> Vec<f32> {
        let mut width = self.encoder_width;
        for (i, module) in self.modules.iter().enumerate() {
            match module {
                TokenModule::Dense(dense) => {
                    vectors = dense.apply(&vectors);
                    width = dense.width();
                }
                TokenModule::Normalize => {
                    vectors.chunks_exact_mut(width).for_each(|vector| vector_math::normalize(self.level, vector));
                }
                TokenModule::Dropout => {}
            }
            observe(i, width, &vectors);
        }
        vectors
    }

    /// Describes each module, such as "Dense 768 → 128, no activation".
    pub(crate) fn describe(&self) -> Vec<String> {
        let modules = self.modules.iter().map(|module| match module {
            TokenModule::Dense(dense) => dense.describe(),
            TokenModule::Normalize => "Normalize".to_owned(),
            TokenModule::Dropout => "Dropout".to_owned(),
        });
        modules.chain(self.mask.as_ref().map(TokenMask::describe)).collect()
    }
}

/// Rejects a Normalize module of anything but token vectors.
fn check_normalize(files: &ModelFiles, entry: &ModuleEntry) -> Result<()> {
    let keys = if entry.path.is_empty() { None } else { files.json(&file_in(&entry.path, CONFIG))? };
    let Some(keys) = keys else {
        // Its default is the vector of the whole text, which such a model does not have.
        return Err(entry.keys.invalid_value("path", "a folder whose config.json says that tokens are normalized"));
    };
    if keys.get("module_input_name").is_none() {
        return Err(keys.invalid_value("module_input_name", "token_embeddings"));
    }
    reject_other_features(&keys, ModuleOutput::Tokens)?;
    keys.reject_unread(&[])
}
