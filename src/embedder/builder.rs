//! How a model is opened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use likewise_kernels::Level;
use likewise_kernels::quant::{MOST_INT8_INPUTS, Precision};

use super::{Embedder, TruncationPolicy};
use crate::checkpoint::{Checkpoint, ConvertedFormat, Tensor};
use crate::config::JsonObject;
use crate::encoder::{ComputeConfig, Encoder, LoadReport, families};
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::modules::{ModuleList, OutputOptions, PoolingHead};
use crate::parallel::Pool;
use crate::similarity::Similarity;
use crate::tokenizer::Tokenizer;

/// How to open a model. Made by [`Embedder::builder`].
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

/// An open model, the checkpoint that it came from, and the tensors that it uses and has not packed.
pub(super) struct LoadedModel {
    pub(super) embedder: Embedder,
    pub(super) checkpoint: Checkpoint,
    pub(super) unpacked: BTreeMap<String, Tensor>,
}

const CONFIG: &str = "config.json";
const ADAPTER: &str = "adapter_config.json";
const SENTENCE_CONFIG: &str = "config_sentence_transformers.json";

impl Builder {
    /// The instruction set. Default: the fastest there is, or the one that the model was converted for.
    pub fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// The type of the numbers that linear layers multiply. Default: f32, or the one that the model was converted to.
    ///
    /// bf16 and int8 take a half and a quarter of the memory, and less time on CPUs with instructions for them
    /// ([`Level::word_instructions`]). Vectors are further from the truth; `docs/numerics.md` says how far. The weights of any
    /// checkpoint are rounded when it is opened.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    /// The number of threads. Default: as many as this process may use, by its affinity and cgroup.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// The most tokens of a text, special ones included. Default: the model's own.
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.max_length = Some(tokens);
        self
    }

    /// What to do with longer texts. Default: truncate.
    pub fn truncation(mut self, truncation: TruncationPolicy) -> Self {
        self.truncation = truncation;
        self
    }

    /// The prompt, by name, that is put before every text. Default: the model's `default_prompt_name`, if it has one.
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.prompt_name = Some(name.into());
        self
    }

    /// The prompt itself, in place of one of the model's.
    pub fn prompt(mut self, text: impl Into<String>) -> Self {
        self.prompt = Some(text.into());
        self
    }

    /// How many numbers of a vector are kept: the first ones (of models that were trained so that these are a vector of their
    /// own, "Matryoshka" models). Default: the model's `truncate_dim`, or all. They are cut off after the model's own modules,
    /// its Normalize among them, and before [`Self::normalize`].
    pub fn truncate_dim(mut self, numbers: usize) -> Self {
        self.truncate_dim = Some(numbers);
        self
    }

    /// Brings vectors to length 1, whether or not the model does, after [`Self::truncate_dim`].
    pub fn normalize(mut self) -> Self {
        self.normalize = true;
        self
    }

    /// Opens a model folder.
    ///
    /// The weights are mapped, not read. While the model is open its files must not be changed or cut short in place, by
    /// this process or another: numbers would change under the computation, or the operating system would end the process.
    /// (To replace a file by renaming another over it is fine.) Where that cannot be promised, open
    /// [`ModelFiles::without_mmap`].
    ///
    /// # Errors
    /// If a file is missing, damaged or asks for something that is not supported. Nothing is skipped silently.
    pub fn open(self, folder: impl Into<PathBuf>) -> Result<Embedder> {
        self.open_files(&ModelFiles::folder(folder))
    }

    /// Opens a model whose files come from anywhere.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_files(self, files: &ModelFiles) -> Result<Embedder> {
        self.load(files).map(|model| model.embedder)
    }

    /// Opens a model, and keeps what only a conversion needs.
    pub(super) fn load(self, files: &ModelFiles) -> Result<LoadedModel> {
        let threads = self.threads.unwrap_or_else(Pool::default_threads).max(1);
        let modules = ModuleList::read(files)?;
        let of_encoder = files.below(modules.as_ref().map_or(Ok(""), ModuleList::encoder_path)?);
        let config = JsonObject::parse(&of_encoder.label(CONFIG), &of_encoder.require(CONFIG, "the architecture")?)?;
        let spec = families::encoder_spec(&config)?;
        if of_encoder.read(ADAPTER)?.is_some() {
            let expected = "none: an adapter is to be merged into its model's weights first";
            return Err(Error::config(&of_encoder.label(ADAPTER), "(the whole file)", expected, "an adapter"));
        }
        let tokenizer = Tokenizer::load(&of_encoder, &spec, self.max_length, modules.is_some())?;
        let sentence = files.json(SENTENCE_CONFIG)?;
        refuse_other_models(sentence.as_ref())?;
        // Without modules.json the reference does not look for it either.
        let sentence = sentence.filter(|_| modules.is_some());
        let similarity = Similarity::from_config(sentence.as_ref())?;
        let mut prompts = sentence.as_ref().map_or(Ok(BTreeMap::new()), |keys| keys.map_of_strings("prompts"))?;
        // As in the reference since 5.0: every model has these two.
        for name in ["query", "document"] {
            prompts.entry(name.to_owned()).or_default();
        }
        let prompt = match self.prompt {
            Some(prompt) => prompt,
            None => choose_prompt(files, sentence.as_ref(), &prompts, self.prompt_name)?,
        };
        let pool = Pool::new(threads)?;
        let checkpoint = Checkpoint::open(&of_encoder)?;
        let how = match checkpoint.converted_format() {
            Some(format) => as_packed(format, checkpoint.label(), self.level, self.precision)?,
            None => ComputeConfig {
                level: self.level.unwrap_or_else(Level::best),
                precision: self.precision.unwrap_or_default(),
            },
        };
        if how.precision == Precision::Int8 && spec.max_inputs() > MOST_INT8_INPUTS {
            return Err(config.wrong("intermediate_size", format!("at most {MOST_INT8_INPUTS} with precision int8")));
        }
        let head = PoolingHead::load(files, modules.as_ref(), how.level, spec.hidden_size)?;
        let ending = OutputOptions {
            dimensions: dimensions(self.truncate_dim, sentence.as_ref(), head.width())?,
            normalize: self.normalize.then_some(true),
        };
        let (encoder, LoadReport { stats, unpacked }) = Encoder::load(&checkpoint, spec, how, &pool)?;
        let ComputeConfig { level, precision } = how;
        let (name, truncation, buffers) = (files.name(), self.truncation, Mutex::default());
        let embedder = Embedder {
            level,
            precision,
            pool,
            tokenizer,
            encoder,
            load_stats: stats,
            head,
            ending,
            similarity,
            prompt,
            prompts,
            truncation,
            name,
            buffers,
        };
        Ok(LoadedModel { embedder, checkpoint, unpacked })
    }
}

/// How a converted model computes: as it was packed.
///
/// # Errors
/// If another level or precision is asked for.
fn as_packed(
    packing: ConvertedFormat,
    file: &str,
    level: Option<Level>,
    precision: Option<Precision>,
) -> Result<ComputeConfig> {
    let agree = |key: &str, asked: Option<&'static str>, found: &'static str| match asked {
        Some(asked) if asked != found => Err(Error::Converted {
            file: file.to_owned(),
            key: key.to_owned(),
            expected: format!("{asked}, which was asked for"),
            found: found.to_owned(),
        }),
        _ => Ok(()),
    };
    agree("level", level.map(Level::name), packing.level.name())?;
    agree("precision", precision.map(Precision::name), packing.precision.name())?;
    // The level that was asked for, if it was: it may be without instructions that the CPU has.
    Ok(ComputeConfig { level: level.unwrap_or(packing.level), precision: packing.precision })
}

/// Refuses what config_sentence_transformers.json may ask for and is not built.
fn refuse_other_models(config: Option<&JsonObject>) -> Result<()> {
    let Some(config) = config else { return Ok(()) };
    let other = config.text("model_type")?.is_some_and(|kind| kind != "SentenceTransformer");
    if other || config.is_null("model_type") {
        return Err(config.wrong("model_type", "SentenceTransformer"));
    }
    Ok(())
}

/// How many numbers of a vector are kept: what was asked for, or else what config_sentence_transformers.json says, which may be
/// more than there are.
fn dimensions(asked: Option<usize>, config: Option<&JsonObject>, width: usize) -> Result<Option<usize>> {
    match asked {
        Some(asked) if !(1..=width).contains(&asked) => Err(Error::Dimensions { asked, most: width }),
        Some(asked) => Ok(Some(asked)),
        None => Ok(config.map_or(Ok(None), |keys| keys.size("truncate_dim"))?.map(|stated| stated.min(width))),
    }
}

/// The text of the prompt that was asked for, or of the model's default one.
fn choose_prompt(
    files: &ModelFiles,
    config: Option<&JsonObject>,
    prompts: &BTreeMap<String, String>,
    asked: Option<String>,
) -> Result<String> {
    let default = config.map_or(Ok(None), |keys| keys.text("default_prompt_name"))?;
    let Some(name) = asked.or_else(|| default.map(str::to_owned)) else { return Ok(String::new()) };
    prompts.get(&name).cloned().ok_or_else(|| Error::Prompt {
        name,
        origin: files.label(SENTENCE_CONFIG),
        known: prompts.keys().cloned().collect(),
    })
}
