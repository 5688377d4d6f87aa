//! The options that choose a model and how it is run.

use std::io::Write;
use std::path::Path;

use clap::ValueEnum;
use likewise::{Builder, Embedder, Error, Level, ModelFiles, Precision, TokenUsage, TruncationPolicy};

use super::{Outcome, UsageError, hub};

/// The model, and how it is run.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// A model folder, or a hub id (organisation/name), which comes from the Hugging Face cache or is downloaded to it
    /// [default: quickstart, the small one that is part of the program]
    #[arg(long, env = "LIKEWISE_MODEL", value_name = "FOLDER|ID")]
    model: Option<String>,

    #[command(flatten)]
    how: RunArgs,
}

/// How a model is run.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    compute: ComputeArgs,

    #[command(flatten)]
    texts: TextArgs,
}

/// The branch that is meant if none is named.
const MAIN: &str = "main";

/// Where a model is, and how many threads open and run it.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct SourceArgs {
    /// The branch, tag or commit of a hub id
    #[arg(long, default_value = MAIN)]
    revision: String,

    /// Read weights into memory and do not map them: for folders whose files may be changed while the model is open
    #[arg(long)]
    no_map: bool,

    /// Threads [default: the CPUs that this process may use, by affinity and cgroup]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// With what a model is computed.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ComputeArgs {
    /// The type of weights and activations in the linear layers [default: f32, or what the model was converted to]
    #[arg(long, value_enum)]
    precision: Option<PrecisionArg>,

    /// Instructions: reference, portable, avx2, avx512, neon [default: the fastest that the CPU has, or what the model was
    /// converted for]
    #[arg(long, value_name = "LEVEL")]
    level: Option<Level>,
}

/// How texts are read.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct TextArgs {
    /// The most tokens of a text that are read [default: the model's]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,

    /// What to do with longer texts
    #[arg(long, value_enum, default_value_t = LongText::Truncate)]
    truncation: LongText,

    /// Put this prompt of the model's before every text [default: the model's default_prompt_name]
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,

    /// Put this before every text
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_name")]
    prompt: Option<String>,

    /// Keep the first N numbers of each vector [default: the model's truncate_dim]
    #[arg(long, value_name = "N")]
    truncate_dim: Option<usize>,

    /// Bring vectors to length 1, after --truncate-dim
    #[arg(long)]
    normalize: bool,
}

/// A type of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionArg {
    /// 32-bit floats
    F32,
    /// 16-bit floats
    Bf16,
    /// Bytes, with a scale for each row of weights and each token
    Int8,
}

impl From<PrecisionArg> for Precision {
    fn from(argument: PrecisionArg) -> Self {
        match argument {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Bf16 => Self::Bf16,
            PrecisionArg::Int8 => Self::Int8,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LongText {
    /// Read their beginning, and say so
    Truncate,
    /// Fail
    Error,
}

/// The name of the model that is part of the program.
const QUICKSTART: &str = "quickstart";

/// What is said when it is used because no other was named: nobody should take its scores for those of a full model.
pub(crate) const QUICKSTART_USED: &str =
    "no model is named, so the small built-in one answers; --model FOLDER names another";

/// The model that is part of the program.
#[cfg(feature = "quickstart")]
fn built_in() -> Option<ModelFiles> {
    Some(ModelFiles::quickstart())
}

/// There is no model in this program.
#[cfg(not(feature = "quickstart"))]
fn built_in() -> Option<ModelFiles> {
    None
}

/// The model to use when none is named.
pub(crate) fn default_model() -> Result<ModelFiles, UsageError> {
    let what = "no model: give --model FOLDER (or a hub id), or set LIKEWISE_MODEL";
    built_in().ok_or_else(|| UsageError(what.to_owned()))
}

impl ModelArgs {
    /// Opens the model.
    pub(crate) fn open(&self) -> Result<Embedder, Box<dyn std::error::Error>> {
        let files = self.how.source.files_or_default(self.model.as_deref())?;
        Ok(self.how.builder().open_files(&files)?)
    }
}

impl RunArgs {
    /// These settings.
    pub(crate) fn builder(&self) -> Builder {
        let TextArgs { max_length, truncation, prompt_name, prompt, truncate_dim, normalize } = &self.texts;
        let ComputeArgs { precision, level } = self.compute;
        let mut builder = builder(precision, level, self.source.threads()).truncation(match truncation {
            LongText::Truncate => TruncationPolicy::Allow,
            LongText::Error => TruncationPolicy::Error,
        });
        if let Some(tokens) = *max_length {
            builder = builder.max_length(tokens);
        }
        if let Some(name) = prompt_name {
            builder = builder.prompt_name(name);
        }
        if let Some(prompt) = prompt {
            builder = builder.prompt(prompt);
        }
        if let Some(numbers) = *truncate_dim {
            builder = builder.truncate_dim(numbers);
        }
        if *normalize {
            builder = builder.normalize();
        }
        builder
    }

    /// The files of a model.
    #[cfg(feature = "serve")]
    pub(crate) fn files(&self, model: &str) -> likewise::Result<ModelFiles> {
        self.source.files(model)
    }
}

/// These settings, where there are any.
pub(crate) fn builder(precision: Option<PrecisionArg>, level: Option<Level>, threads: Option<usize>) -> Builder {
    let mut builder = Embedder::builder();
    if let Some(precision) = precision {
        builder = builder.precision(precision.into());
    }
    if let Some(threads) = threads {
        builder = builder.threads(threads);
    }
    if let Some(level) = level {
        builder = builder.level(level);
    }
    builder
}

impl SourceArgs {
    /// The number of threads, if it was given.
    pub(crate) fn threads(&self) -> Option<usize> {
        self.threads.map(usize::from)
    }

    /// The files of the model that is named; if none is, of the one that is part of the program, and a note says so.
    pub(crate) fn files_or_default(&self, model: Option<&str>) -> Result<ModelFiles, Box<dyn std::error::Error>> {
        if let Some(model) = model.filter(|model| !model.is_empty()) {
            return Ok(self.files(model)?);
        }
        let files = default_model()?;
        // Not eprintln!, which panics if nobody reads stderr.
        drop(writeln!(std::io::stderr(), "note: {QUICKSTART_USED}"));
        Ok(files)
    }

    /// The files of a model: a folder's, that of a hub id, or those of the one that is part of the program.
    pub(crate) fn files(&self, model: &str) -> likewise::Result<ModelFiles> {
        let files = self.find(model)?;
        Ok(if self.no_map { files.without_mmap() } else { files })
    }

    fn find(&self, model: &str) -> likewise::Result<ModelFiles> {
        if Path::new(model).is_dir() {
            return Ok(ModelFiles::folder(model));
        }
        if model == QUICKSTART
            && let Some(files) = built_in()
        {
            return Ok(files);
        }
        // What is there is not looked for elsewhere.
        if Path::new(model).exists() {
            let (id, looked) = (model.to_owned(), vec![model.to_owned()]);
            return Err(Error::ModelNotFound { id, why: "it is a file, and a model is a folder", looked });
        }
        let (id, revision) = match model.split_once('@') {
            Some(both) if self.revision == MAIN => both,
            _ => (model, self.revision.as_str()),
        };
        Ok(ModelFiles::folder(hub::snapshot(id, revision)?).named(id))
    }
}

/// Says on stderr how many texts were longer than the model reads.
pub(crate) fn report_truncation(usage: &[TokenUsage]) -> Outcome {
    let cut: Vec<&TokenUsage> = usage.iter().filter(|usage| usage.truncated()).collect();
    if let Some(longest) = cut.iter().max_by_key(|usage| usage.total) {
        let texts = if usage.len() == 1 { "text" } else { "texts" };
        let are = if cut.len() == 1 { "was" } else { "were" };
        // Not eprintln!, which panics if nobody reads stderr.
        drop(writeln!(
            std::io::stderr(),
            "note: {} of {} {texts} {are} cut to {} tokens (the longest has {}); --on-long error refuses them instead",
            cut.len(),
            usage.len(),
            longest.used,
            longest.total
        ));
    }
    Ok(())
}
