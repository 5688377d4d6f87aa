//! The builder, which opens models.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use likewise_kernels::Level;
use likewise_kernels::quant::{MAX_INT8_K, Precision};

use super::model::{Embedder, TruncationPolicy};
use super::sentence_config::SentenceConfig;
use crate::checkpoint::{Checkpoint, ConvertedFormat, Tensor};
use crate::config::JsonObject;
use crate::encoder::{ComputeConfig, Encoder, LoadedEncoder, families};
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, Manifest, ModuleList, reject_other_tasks, reject_unsupported_files};
use crate::modules::{OutputOptions, PoolingHead};
use crate::parallel::Pool;
use crate::tokenizer::{EncoderLimits, Tokenizer};

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
    level: Option<Level>,
    precision: Option<Precision>,
    threads: Option<usize>,
    max_length: Option<usize>,
    truncation: TruncationPolicy,
    prompt: Option<String>,
    prompt_name: Option<String>,
    truncate_dim: Option<usize>,
    normalize: bool,
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
        self.level = Some(level);
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
        self.precision = Some(precision);
        self
    }

    /// Sets the number of threads. Default: the number of CPUs that this process may use, by its
    /// affinity and cgroup. If the operating system does not allow as many, the model uses fewer;
    /// [`ModelInfo::requested_threads`](crate::ModelInfo::requested_threads) reports that.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets the maximum number of tokens of a text, special ones included. Default: the model's
    /// own.
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.max_length = Some(tokens);
        self
    }

    /// Sets what to do with longer texts. Default: truncate.
    pub fn truncation(mut self, truncation: TruncationPolicy) -> Self {
        self.truncation = truncation;
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
        let threads = self.threads.unwrap_or_else(Pool::default_threads).max(1);
        let mut manifest = Manifest::default();
        let modules = ModuleList::read(files, &mut manifest)?;
        let encoder_files = files.subfolder(modules.as_ref().map_or(Ok(""), ModuleList::encoder_path)?);
        Checkpoint::reject_other_formats(&encoder_files)?;
        let config = read_config(&encoder_files, modules.is_some(), &mut manifest)?;
        let spec = families::encoder_spec(&config)?;
        reject_unsupported_files(files, &encoder_files, modules.is_some())?;
        let limits = EncoderLimits { family: spec.family, max_tokens: spec.max_tokens };
        let (tokenizer, tokenizer_files) =
            Tokenizer::load(&encoder_files, &limits, self.max_length, modules.is_some())?;
        manifest.merge(tokenizer_files);
        let sentence_config = SentenceConfig::load(files, &mut manifest, modules.is_some())?;
        let similarity = sentence_config.similarity()?;
        let prompts = sentence_config.prompts()?;
        let prompt = match &self.prompt {
            Some(prompt) => prompt.clone(),
            None => sentence_config.prompt(self.prompt_name.clone(), &prompts)?,
        };
        let thread_pool = Pool::new(threads)?;
        let checkpoint = Checkpoint::open(&encoder_files)?;
        let compute = self.compute_config(&checkpoint)?;
        if compute.precision == Precision::Int8 && spec.max_inputs() > MAX_INT8_K {
            return Err(config.invalid_value("intermediate_size", format!("at most {MAX_INT8_K} with precision int8")));
        }
        if let Some(modules) = &modules {
            manifest.merge(modules.manifest(files)?);
        }
        let head = PoolingHead::load(files, modules.as_ref(), compute.level, spec.hidden_size)?;
        let output_options = OutputOptions {
            dimensions: self.output_dimensions(&sentence_config, head.width())?,
            normalize: self.normalize.then_some(true),
        };
        let LoadedEncoder { encoder, stats: load_stats, unpacked } =
            Encoder::load(&checkpoint, spec, compute, &thread_pool)?;
        let embedder = Embedder {
            level: compute.level,
            precision: compute.precision,
            thread_pool,
            tokenizer,
            encoder,
            load_stats,
            head,
            output_options,
            similarity,
            prompt,
            prompts,
            truncation: self.truncation,
            name: files.name(),
            pass_buffers: Mutex::default(),
        };
        Ok(LoadedModel { embedder, checkpoint, manifest, unpacked })
    }

    /// Returns the level and precision of the computation: those requested, or the defaults of the
    /// checkpoint.
    fn compute_config(&self, checkpoint: &Checkpoint) -> Result<ComputeConfig> {
        match checkpoint.converted_format() {
            Some(format) => self.converted_compute_config(format, checkpoint.label()),
            None => Ok(ComputeConfig {
                level: self.level.unwrap_or_else(Level::best),
                precision: self.precision.unwrap_or_default(),
            }),
        }
    }

    /// Returns the level and precision that a converted model was packed for.
    ///
    /// # Errors
    /// If another level or precision is requested.
    fn converted_compute_config(&self, format: ConvertedFormat, file: &str) -> Result<ComputeConfig> {
        let check = |key: &str, requested: Option<&'static str>, found: &'static str| match requested {
            Some(requested) if requested != found => Err(Error::Converted {
                file: file.to_owned(),
                key: key.to_owned(),
                expected: format!("{requested}, as requested"),
                found: found.to_owned(),
            }),
            _ => Ok(()),
        };
        check("level", self.level.map(Level::name), format.level.name())?;
        check("precision", self.precision.map(Precision::name), format.precision.name())?;
        // A requested level may lack instructions that the CPU has, so it takes precedence over the
        // format's.
        Ok(ComputeConfig { level: self.level.unwrap_or(format.level), precision: format.precision })
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

/// Reads config.json. Without modules.json, the model must be an encoder.
fn read_config(files: &ModelFiles, has_modules: bool, manifest: &mut Manifest) -> Result<JsonObject> {
    let bytes = manifest.require(files, CONFIG, "the architecture")?;
    let config = JsonObject::parse(&files.label(CONFIG), &bytes)?;
    if !has_modules {
        reject_other_tasks(&config)?;
    }
    Ok(config)
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
