//! The arguments that choose a model and how to run it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::ValueEnum;
use clap::builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser};
use likewise::hub::DEFAULT_REVISION;
use likewise::{BgeM3, Builder, Embedder, Error, Level, ModelFiles, Precision, TruncationPolicy};

use crate::model::{self, Model, Ranker, VectorModel};
use crate::outcome::{Outcome, UsageError};
use crate::{hub, output};

/// The model, and how to run it.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    name: NameArgs,

    #[command(flatten)]
    run: RunArgs,
}

/// Which of its kinds a model is opened as.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct KindArgs {
    /// Open a model for masked language without modules.json as SPLADE
    #[arg(long)]
    sparse: bool,
}

impl KindArgs {
    /// Rejects `--sparse` beside `--hybrid`, which computes sparse vectors too.
    pub(crate) fn reject_sparse(&self) -> Result<(), UsageError> {
        match self.sparse {
            true => {
                Err(UsageError("--sparse: expected none with --hybrid, which opens the model as bge-m3".to_owned()))
            }
            false => Ok(()),
        }
    }
}

/// The name of one model.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct NameArgs {
    /// Model folder or hub id [env: LIKEWISE_MODEL] [default: the built-in model]
    #[arg(long, value_name = "FOLDER|ID", value_parser = non_empty())]
    model: Option<OsString>,
}

/// The environment variable that names the default model.
const MODEL_VARIABLE: &str = "LIKEWISE_MODEL";

/// Returns the model that the environment names. An empty variable counts as unset, as in a service
/// file whose value was left empty. (clap would take the empty text as an argument.)
pub(crate) fn model_of_environment() -> Option<OsString> {
    std::env::var_os(MODEL_VARIABLE).filter(|value| !value.is_empty())
}

/// Parses a text that is not empty, and need not be UTF-8.
pub(crate) fn non_empty() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new().try_map(|value| if value.is_empty() { Err("expected a value") } else { Ok(value) })
}

/// Options for running a model.
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

/// Options for finding and opening a model.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct SourceArgs {
    /// Branch, tag or commit of a hub id [default: main]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    revision: Option<String>,

    /// Read weights into memory; safe if files change while the model is open
    #[arg(long)]
    no_mmap: bool,

    /// Number of threads [default: the CPUs allowed by affinity and cgroup]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// The number format and the SIMD level of a model.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ComputeArgs {
    /// Type of linear-layer weights and activations [default: f32 or as converted]
    #[arg(long, value_enum)]
    precision: Option<PrecisionArg>,

    /// SIMD level [default: the fastest of this CPU, or as converted]
    #[arg(long, value_name = SIMD_LEVELS)]
    simd: Option<Level>,
}

/// The SIMD levels, as the help shows them.
pub(crate) const SIMD_LEVELS: &str = "reference|portable|avx2|avx512|neon";

/// Options for tokenizing texts and for the modules after pooling.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct TextArgs {
    /// Maximum number of tokens per text [default: the model's]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,

    /// Handling of texts longer than --max-length
    #[arg(long, value_enum, default_value_t = TruncationArg::Allow)]
    truncation: TruncationArg,

    /// Model prompt to prepend, by name [default: the model's default_prompt_name]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    prompt_name: Option<String>,

    /// Prompt to prepend to every text
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_name")]
    prompt: Option<String>,

    /// Number of leading dimensions to keep [default: the model's truncate_dim]
    #[arg(long, value_name = "N")]
    truncate_dim: Option<usize>,

    /// Scale vectors to unit length, after --truncate-dim
    #[arg(long)]
    normalize: bool,
}

/// The type of the weights and activations in linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionArg {
    /// 32-bit floats
    F32,
    /// 16-bit floats (bfloat16)
    Bf16,
    /// 8-bit integers, with a scale per weight row and per token
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
enum TruncationArg {
    /// Truncate, and report it on stderr
    Allow,
    /// Fail
    Error,
}

impl From<TruncationArg> for TruncationPolicy {
    fn from(argument: TruncationArg) -> Self {
        match argument {
            TruncationArg::Allow => Self::Allow,
            TruncationArg::Error => Self::Error,
        }
    }
}

/// The name of the built-in model.
const QUICKSTART: &str = "quickstart";

/// The note for runs without a model name. Scores of the built-in model are worse than those of a
/// full-size model, so the user must know which one computed them.
pub(crate) const QUICKSTART_NOTE: &str = "no --model: using the small built-in model; --model FOLDER selects another";

/// Returns the built-in model.
#[cfg(feature = "quickstart")]
fn built_in() -> Option<ModelFiles> {
    Some(ModelFiles::quickstart())
}

/// Returns None: this program has no built-in model.
#[cfg(not(feature = "quickstart"))]
fn built_in() -> Option<ModelFiles> {
    None
}

/// Returns the built-in model.
///
/// # Errors
/// If the program was built without a model.
fn default_model() -> Result<ModelFiles, UsageError> {
    let what = "no model: pass --model FOLDER (or a hub id), or set LIKEWISE_MODEL";
    built_in().ok_or_else(|| UsageError(what.to_owned()))
}

impl ModelArgs {
    /// Opens the model, which must rank texts.
    pub(crate) fn open_ranker(&self) -> Outcome<Ranker> {
        const WHAT: &str = "no model: `likewise rerank` needs --model with a cross-encoder or a late-interaction model, \
                            such as --model cross-encoder/ms-marco-MiniLM-L6-v2; the built-in model cannot rank";
        self.require_name(WHAT)?;
        Ranker::open(&self.files()?, self.run.builder())
    }

    /// Opens the model, which must have the layers of bge-m3.
    pub(crate) fn open_hybrid(&self) -> Outcome<BgeM3> {
        const WHAT: &str = "no model: --hybrid needs --model with bge-m3 or a model of its form, such as --model \
                            BAAI/bge-m3; the built-in model computes dense vectors only";
        self.require_name(WHAT)?;
        model::hybrid(&self.files()?, self.run.builder())
    }

    /// Rejects a run for which the built-in model is no default.
    fn require_name(&self, what: &str) -> Result<(), UsageError> {
        match self.name.model.clone().or_else(model_of_environment) {
            Some(_) => Ok(()),
            None => Err(UsageError(what.to_owned())),
        }
    }

    /// Opens the model of any kind.
    pub(crate) fn open_any(&self, kind: &KindArgs) -> Outcome<Model> {
        Model::open(&self.files()?, self.run.builder(), kind.sparse)
    }

    /// Opens the model, which must compute vectors: dense, sparse, or of tokens.
    pub(crate) fn open_vectors(&self, kind: &KindArgs) -> Outcome<VectorModel> {
        VectorModel::open(&self.files()?, self.run.builder(), kind.sparse)
    }

    fn files(&self) -> Outcome<ModelFiles> {
        self.name.files(&self.run.source)
    }
}

impl NameArgs {
    /// Returns the files of the model. Without a name they are the built-in model's, and a note
    /// goes to stderr.
    pub(crate) fn files(&self, source: &SourceArgs) -> Outcome<ModelFiles> {
        if let Some(model) = self.model.clone().or_else(model_of_environment) {
            return source.files(&model);
        }
        let files = source.default_model()?;
        output::to_stderr(format_args!("note: {QUICKSTART_NOTE}"));
        Ok(files)
    }
}

impl RunArgs {
    /// Returns a builder with these settings.
    pub(crate) fn builder(&self) -> Builder {
        let TextArgs { max_length, truncation, prompt_name, prompt, truncate_dim, normalize } = &self.texts;
        let ComputeArgs { precision, simd } = self.compute;
        let mut builder = builder(precision, simd, &self.source).truncation((*truncation).into());
        if let Some(tokens) = *max_length {
            builder = builder.max_length(tokens);
        }
        if let Some(name) = prompt_name {
            builder = builder.prompt_name(name);
        }
        if let Some(prompt) = prompt {
            builder = builder.prompt(prompt);
        }
        if let Some(dimensions) = *truncate_dim {
            builder = builder.truncate_dim(dimensions);
        }
        if *normalize {
            builder = builder.normalize();
        }
        builder
    }

    /// Returns the files of a model by its name.
    #[cfg(feature = "serve")]
    pub(crate) fn files(&self, model: &OsStr) -> Outcome<ModelFiles> {
        self.source.files(model)
    }

    /// Returns the model for a run without a model name.
    #[cfg(feature = "serve")]
    pub(crate) fn default_model(&self) -> Result<ModelFiles, UsageError> {
        self.source.default_model()
    }
}

/// Returns a builder with the settings that were given.
pub(crate) fn builder(precision: Option<PrecisionArg>, simd: Option<Level>, source: &SourceArgs) -> Builder {
    let mut builder = Embedder::builder();
    if let Some(precision) = precision {
        builder = builder.precision(precision.into());
    }
    if let Some(threads) = source.threads {
        builder = builder.threads(usize::from(threads));
    }
    if let Some(level) = simd {
        builder = builder.level(level);
    }
    builder
}

impl SourceArgs {
    /// Returns the files of a folder, of a hub id, or of the built-in model.
    fn files(&self, model: &OsStr) -> Outcome<ModelFiles> {
        let files = self.find(model)?;
        Ok(if self.no_mmap { files.without_mmap() } else { files })
    }

    /// Returns the model for a run without a model name.
    ///
    /// # Errors
    /// If the program was built without a model, or the options are for another.
    fn default_model(&self) -> Result<ModelFiles, UsageError> {
        self.reject_revision("the built-in model")?;
        default_model()
    }

    fn find(&self, model: &OsStr) -> Outcome<ModelFiles> {
        let path = Path::new(model);
        // The name of a folder need not be UTF-8.
        if path.is_dir() {
            self.reject_revision(&format!("the folder {}", path.display()))?;
            return Ok(ModelFiles::folder(path));
        }
        if model == QUICKSTART
            && let Some(files) = built_in()
        {
            self.reject_revision("the built-in model")?;
            return Ok(files);
        }
        let shown = path.display().to_string();
        let model = model.to_str().ok_or_else(|| Error::ModelNotFound {
            id: shown.clone(),
            why: "there is no such folder, and hub ids are UTF-8",
            searched: vec![shown],
            similar: Vec::new(),
            source: None,
        })?;
        let Some(revision) = &self.revision else { return Ok(hub::resolve(model, DEFAULT_REVISION)?) };
        if model.contains('@') {
            let what = format!("--revision {revision}: {model:?} names a revision already; name only one");
            return Err(Box::new(UsageError(what)));
        }
        Ok(hub::resolve(model, revision)?)
    }

    /// Rejects `--revision` for a model that has no revisions.
    fn reject_revision(&self, model: &str) -> Result<(), UsageError> {
        match &self.revision {
            Some(revision) => {
                Err(UsageError(format!("--revision {revision}: only a hub id has revisions, and {model} has none")))
            }
            None => Ok(()),
        }
    }
}
