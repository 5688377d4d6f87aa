//! The builder, which opens models.

use std::collections::BTreeMap;
use std::path::PathBuf;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::model::Embedder;
use crate::backbone::{BackboneSettings, LoadedBackbone, ModelFolder, PreparedBackbone, TruncationPolicy};
use crate::checkpoint::{Checkpoint, Tensor};
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{MODULES, Manifest, ModelKind, SentenceConfig, TransformerTask, reject_other_tasks};
use crate::modules::{ModuleOutput, OutputOptions, PoolingHead};
use crate::similarity::Similarity;

/// The settings to open a model with. Created by [`Embedder::builder`].
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// use likewise::{Embedder, Precision};
///
/// let builder = Embedder::builder().precision(Precision::Bf16).threads(4).max_length(128);
/// let model = builder.open("path/to/model")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    pub(crate) backbone: BackboneSettings,
    pub(crate) prompt: Option<String>,
    pub(crate) prompt_name: Option<String>,
    pub(crate) truncate_dim: Option<usize>,
    pub(crate) normalize: bool,
}

/// An open model, and what only a conversion needs.
pub(super) struct LoadedModel {
    pub(super) embedder: Embedder,
    pub(super) checkpoint: Checkpoint,
    /// The files that the model was read from, without the encoder's weights.
    pub(super) manifest: Manifest,
    /// The tensors that are used and not packed.
    pub(super) unpacked: BTreeMap<String, Tensor>,
}

impl Builder {
    /// Sets the SIMD level. Default: the fastest available, or the level that the model was
    /// converted for.
    pub fn level(mut self, level: Level) -> Self {
        self.backbone.level = Some(level);
        self
    }

    /// Sets the type of the elements that the linear layers multiply. Default: f32, or the type
    /// that the model was converted to.
    ///
    /// bf16 takes half of the memory of f32, and int8 a quarter. Both take less time on CPUs with
    /// dot-product instructions for them. Their vectors are less accurate;
    /// [`guide::numerics`](crate::guide::numerics) has the figures. The weights of any checkpoint
    /// are rounded when the model is opened.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.backbone.precision = Some(precision);
        self
    }

    /// Sets the number of threads. Default: the number of CPUs that this process may use, by its
    /// affinity and cgroup. If the operating system does not allow as many, the model uses fewer;
    /// [`ModelInfo::requested_threads`](crate::ModelInfo::requested_threads) reports that.
    pub fn threads(mut self, threads: usize) -> Self {
        self.backbone.threads = Some(threads);
        self
    }

    /// Sets the maximum number of tokens of a text, special ones included. Default: the model's
    /// own.
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.backbone.max_length = Some(tokens);
        self
    }

    /// Sets what to do with longer texts. Default: truncate.
    pub fn truncation(mut self, truncation: TruncationPolicy) -> Self {
        self.backbone.truncation = truncation;
        self
    }

    /// Sets the name of the model's prompt that is put before every text. Default: the model's
    /// `default_prompt_name`, if it has one.
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.prompt_name = Some(name.into());
        self
    }

    /// Sets the text that is put before every text. It overrides [`Self::prompt_name`].
    pub fn prompt(mut self, text: impl Into<String>) -> Self {
        self.prompt = Some(text.into());
        self
    }

    /// Sets how many elements of a vector are kept: the first ones. Default: the model's
    /// `truncate_dim`, or all.
    ///
    /// This is for "Matryoshka" models, which are trained so that the first elements are a useful
    /// vector. The model's own modules, including its Normalize, come before the cut, and
    /// [`Self::normalize`] comes after it.
    pub fn truncate_dim(mut self, dimensions: usize) -> Self {
        self.truncate_dim = Some(dimensions);
        self
    }

    /// Scales vectors to length 1 after [`Self::truncate_dim`], whether or not the model does.
    pub fn normalize(mut self) -> Self {
        self.normalize = true;
        self
    }

    /// Opens a model folder.
    ///
    /// The weights are memory-mapped. Neither this process nor another may change or truncate the
    /// files in place while the model is open. A change would alter the weights during the
    /// computation. A truncation makes the operating system kill the process (SIGBUS). To update a
    /// model, rename a new file over the old one, or open [`ModelFiles::without_mmap`].
    ///
    /// # Errors
    /// If a file is missing, damaged or needs something that is not supported. Nothing is skipped
    /// silently.
    pub fn open(self, folder: impl Into<PathBuf>) -> Result<Embedder> {
        self.open_files(&ModelFiles::folder(folder))
    }

    /// Opens a model whose files are in a folder or in memory.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub fn open_files(self, files: &ModelFiles) -> Result<Embedder> {
        self.load(files).map(|model| model.embedder)
    }

    /// Opens a model and keeps what only a conversion needs.
    pub(super) fn load(self, files: &ModelFiles) -> Result<LoadedModel> {
        reject_multi_vector_encoder(files)?;
        let mut folder = ModelFolder::read(files)?;
        let has_modules = folder.modules.is_some();
        if !has_modules {
            reject_other_tasks(&folder.config)?;
        }
        let prepared = PreparedBackbone::read(&mut folder, &self.backbone, TransformerTask::FeatureExtraction)?;
        let sentence_config = SentenceConfig::load(files, &mut folder.manifest, has_modules, ModelKind::Embedder)?;
        let similarity = Similarity::from_config(sentence_config.keys())?;
        let prompts = sentence_config.prompts()?;
        let prompt = match &self.prompt {
            Some(prompt) => prompt.clone(),
            None => sentence_config.prompt(self.prompt_name.clone(), &prompts)?,
        };
        if let Some(modules) = &folder.modules {
            folder.manifest.merge(modules.manifest(files)?);
        }
        let token_width = prepared.spec().hidden_size;
        let level = prepared.compute.level;
        let head = PoolingHead::load(files, folder.modules.as_ref(), level, token_width, ModuleOutput::Embedding)?;
        let output_options = OutputOptions {
            dimensions: self.output_dimensions(&sentence_config, head.width())?,
            normalize: self.normalize.then_some(true),
        };
        let LoadedBackbone { backbone, checkpoint, unpacked } = prepared.load()?;
        let embedder = Embedder { backbone, head, output_options, similarity, prompt, prompts };
        Ok(LoadedModel { embedder, checkpoint, manifest: folder.manifest, unpacked })
    }

    /// Returns how many elements of a vector are kept, or None for all.
    fn output_dimensions(&self, config: &SentenceConfig, width: usize) -> Result<Option<usize>> {
        match self.truncate_dim {
            Some(requested) if !(1..=width).contains(&requested) => Err(Error::TruncateDim { requested, max: width }),
            Some(requested) => Ok(Some(requested)),
            None => Ok(config.truncate_dim()?.map(|dimensions| dimensions.min(width))),
        }
    }
}

/// Rejects a model that config_sentence_transformers.json says computes a vector for each token.
/// Its modules are others, and the messages about them would not say what to do.
fn reject_multi_vector_encoder(files: &ModelFiles) -> Result<()> {
    let mut manifest = Manifest::default();
    if ModelKind::detect(files)? == ModelKind::MultiVector && files.contains(MODULES) {
        SentenceConfig::load(files, &mut manifest, true, ModelKind::Embedder)?;
    }
    Ok(())
}

impl Embedder {
    /// Opens a model folder with default settings.
    ///
    /// [`Builder::open`] documents what must not happen to the files while the model is open.
    ///
    /// # Errors
    /// If a file is missing, damaged or needs something that is not supported.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        Self::builder().open(folder)
    }

    /// Returns the default settings, to be changed before a model is opened.
    pub fn builder() -> Builder {
        Builder::default()
    }
}
