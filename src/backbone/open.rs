//! Opening a backbone: the files are read and checked first, and the weights packed last.

use std::collections::BTreeMap;
use std::sync::Mutex;

use likewise_kernels::Level;
use likewise_kernels::quant::{MAX_INT8_K, Precision};

use super::folder::ModelFolder;
use super::model::Backbone;
use super::runtime::{Runtime, TruncationPolicy};
use crate::checkpoint::{Checkpoint, ConvertedFormat, Tensor};
use crate::config::JsonObject;
use crate::encoder::spec::EncoderSpec;
use crate::encoder::{ComputeConfig, Encoder, LoadedEncoder, families};
use crate::error::{Error, Result};
use crate::model_folder::{TransformerTask, reject_unsupported_files};
use crate::parallel::Pool;
use crate::tokenizer::{EncoderLimits, Tokenizer};

/// The settings of a backbone. None means the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackboneSettings {
    pub(crate) level: Option<Level>,
    pub(crate) precision: Option<Precision>,
    pub(crate) threads: Option<usize>,
    pub(crate) max_length: Option<usize>,
    pub(crate) truncation: TruncationPolicy,
}

/// A backbone whose files are open and whose weights are not packed yet. A model reads its other
/// modules before, so that an error in them appears at once.
pub(crate) struct PreparedBackbone {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) compute: ComputeConfig,
    spec: EncoderSpec,
    tokenizer: Tokenizer,
    thread_pool: Pool,
    truncation: TruncationPolicy,
    name: String,
}

/// An open backbone, and what only a conversion needs.
pub(crate) struct LoadedBackbone {
    pub(crate) backbone: Backbone,
    pub(crate) checkpoint: Checkpoint,
    /// The tensors that are used and not packed.
    pub(crate) unpacked: BTreeMap<String, Tensor>,
}

impl PreparedBackbone {
    /// Reads the architecture and the tokenizer, and opens the weights. `task` is what the
    /// encoder's module must compute.
    ///
    /// # Errors
    /// If a file is missing, damaged or needs something that is not supported.
    pub(crate) fn read(folder: &mut ModelFolder, settings: &BackboneSettings, task: TransformerTask) -> Result<Self> {
        let spec = families::encoder_spec(&folder.config)?;
        let has_modules = folder.modules.is_some();
        reject_unsupported_files(&folder.files, &folder.encoder_files, has_modules)?;
        let limits = EncoderLimits { family: spec.family, max_tokens: spec.max_tokens };
        let (tokenizer, tokenizer_files) =
            Tokenizer::load(&folder.encoder_files, &limits, settings.max_length, has_modules.then_some(task))?;
        folder.manifest.merge(tokenizer_files);
        let thread_pool = settings.thread_pool()?;
        let checkpoint = Checkpoint::open(&folder.encoder_files)?;
        let compute = settings.compute_config(&checkpoint)?;
        if compute.precision == Precision::Int8 && spec.max_inputs() > MAX_INT8_K {
            let expected = format!("at most {MAX_INT8_K} with precision int8");
            return Err(folder.config.invalid_value("intermediate_size", expected));
        }
        let (truncation, name) = (settings.truncation, folder.files.name());
        Ok(Self { checkpoint, compute, spec, tokenizer, thread_pool, truncation, name })
    }

    /// Returns the description of the encoder.
    pub(crate) fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    /// Returns the model's name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the tokenizer.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Makes markers before queries and documents one token each.
    ///
    /// # Errors
    /// If the tokenizer is damaged.
    pub(crate) fn register_markers(&mut self, prefixes: &[&str]) -> Result<()> {
        self.tokenizer.register_markers(prefixes)
    }

    /// Rejects a maximum length that leaves less than one token of each text of a pair, and a table
    /// of token types with fewer rows than the tokenizer gives types.
    pub(crate) fn require_room_for_pairs(&self, config: &JsonObject) -> Result<()> {
        let min = self.tokenizer.special_tokens_of_pair() + 2;
        if self.tokenizer.max_tokens() < min {
            return Err(Error::MaxLength { requested: self.tokenizer.max_tokens(), min, max: self.spec.max_tokens });
        }
        let types = self.tokenizer.types_of_pair()?;
        match &self.spec.embeddings.token_types {
            Some(table) if table.rows < types => {
                Err(config.invalid_value("type_vocab_size", format!("at least {types}, the types of the tokenizer")))
            }
            _ => Ok(()),
        }
    }

    /// Packs the weights, or maps those of a converted model.
    ///
    /// # Errors
    /// If the weights do not fit the architecture, or there is not enough memory.
    pub(crate) fn load(self) -> Result<LoadedBackbone> {
        let Self { checkpoint, compute, spec, tokenizer, thread_pool, truncation, name } = self;
        let LoadedEncoder { encoder, stats: load_stats, unpacked } =
            Encoder::load(&checkpoint, spec, compute, &thread_pool)?;
        let vocabulary = encoder.spec().embeddings.tokens.rows;
        let runtime = Runtime { level: compute.level, thread_pool, tokenizer, truncation, name, vocabulary };
        let precision = compute.precision;
        let backbone = Backbone { runtime, precision, encoder, load_stats, pass_buffers: Mutex::default() };
        Ok(LoadedBackbone { backbone, checkpoint, unpacked })
    }
}

impl BackboneSettings {
    /// Starts the threads.
    pub(crate) fn thread_pool(&self) -> Result<Pool> {
        Pool::new(self.threads.unwrap_or_else(Pool::default_threads).max(1))
    }

    /// Returns the runtime of a model without an encoder, whose weights have rows for so many token
    /// ids.
    pub(crate) fn runtime(&self, thread_pool: Pool, tokenizer: Tokenizer, name: String, vocabulary: usize) -> Runtime {
        let level = self.level.unwrap_or_else(Level::best);
        Runtime { level, thread_pool, tokenizer, truncation: self.truncation, name, vocabulary }
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
}
