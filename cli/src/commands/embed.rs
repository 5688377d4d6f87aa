//! `likewise embed`: the vectors of texts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use likewise::{
    Embedder, Embeddings, Error, OutputFile, Quantization, Ranges, TokenUsage, VectorElements, VectorFormat,
    VectorRows, Vectors, quantize,
};

use super::{hybrid, sparse, token_vectors};
use crate::arguments::{KindArgs, ModelArgs};
use crate::command_line::TEXT_RULE;
use crate::model::VectorModel;
use crate::outcome::{Outcome, UsageError};
use crate::{input, output, progress, stdout};

/// Embed texts as vectors.
#[derive(clap::Args)]
#[command(after_help = format!("Examples:\n  \
    likewise embed --model all-MiniLM-L6-v2 \"That is a happy person\"\n  \
    likewise embed --model all-MiniLM-L6-v2 --input in.txt --output out.npy\n  \
    likewise embed --model all-MiniLM-L6-v2 --output out.npy --input - < in.txt\n\n\
    A .npy file contains a float32 array [texts, width] for numpy.load.\n\
    Vectors of sparse models: JSON lines with indices and values, or .safetensors in CSR\n\
    (indptr, indices, values; the shape is in the metadata).\n\
    Late-interaction models compute vectors of tokens: .safetensors has all of them (vectors) and the\n\
    index of each text's first one (offsets), and JSON lines have a list for each text.\n\
    --hybrid writes all three kinds of bge-m3 from one pass: dense, CSR, and vectors with offsets.\n\
    An existing file keeps its mode, owner and links, and is replaced only by a complete one.\n\n{TEXT_RULE}"))]
pub(crate) struct Args {
    /// Texts to embed; '-' for the lines of stdin
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    /// File of more texts, one per line; '-' for stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Output file: .npy, .safetensors or .jsonl; '-' or none for JSON lines on stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Quantize vectors: one byte per dimension, or one bit (binary, ubinary)
    #[arg(long, value_name = "int8|uint8|binary|ubinary")]
    quantize: Option<Quantization>,

    /// Calibration vectors (.npy, .safetensors) for int8 and uint8 [default: outputs]
    #[arg(long, value_name = "FILE", requires = "quantize")]
    calibration: Option<PathBuf>,

    /// Texts are queries, for late-interaction models
    #[arg(long, conflicts_with = "document")]
    query: bool,

    /// Texts are documents, for late-interaction models [default]
    #[arg(long)]
    document: bool,

    /// Write the dense, sparse and token vectors of a model as bge-m3
    #[arg(long, conflicts_with_all = ["quantize", "query", "document"])]
    hybrid: bool,

    #[command(flatten)]
    kind: KindArgs,

    #[command(flatten)]
    model: ModelArgs,
}

/// The vectors of this many texts are printed together, so that the reader of a pipe gets the first
/// ones early.
const TEXTS_PER_PART: usize = 4096;

/// With fewer vectors than these, their ranges say little about other vectors.
const MIN_CALIBRATION_VECTORS: usize = 100;

pub(crate) fn run(args: &Args) -> Outcome {
    let format = output_format(args.output.as_deref())?;
    if args.calibration.is_some() && !args.quantize.is_some_and(Quantization::needs_ranges) {
        return Err(Box::new(UsageError("--calibration: expected --quantize int8 or uint8".to_owned())));
    }
    let files = [&args.input, &args.calibration].into_iter().flatten().map(|path| path.as_os_str());
    input::reject_second_stdin(args.texts.iter().map(OsStr::new).chain(files))?;
    let texts = texts(args)?;
    let calibration = args.calibration.as_deref().map(ranges_of_file).transpose()?;
    // Created before the work, so that a path that is not writable is reported early.
    let path = args.output.as_deref().filter(|path| !stdout::is_stdout(path));
    let file = path.map(OutputFile::create).transpose()?;
    if args.hybrid {
        args.kind.reject_sparse()?;
        return hybrid::embed(&args.model.open_hybrid()?, &texts, format, file);
    }
    let is_streamed = file.is_none() && args.quantize.is_none() && format == VectorFormat::Jsonl;
    let model = match args.model.open_vectors(&args.kind)? {
        VectorModel::Dense(model) => model,
        VectorModel::Sparse(model) => return sparse::embed(&model, &texts, format, file, args.quantize.is_some()),
        VectorModel::MultiVector(model) => {
            if args.quantize.is_some() {
                return Err(Box::new(UsageError("--quantize: expected none for a late-interaction model".to_owned())));
            }
            return token_vectors::embed(&model, &texts, args.query, format, file);
        }
    };
    if args.query || args.document {
        let what = "--query and --document: only for a late-interaction model; --prompt-name chooses a prompt";
        return Err(Box::new(UsageError(what.to_owned())));
    }
    let mut all = Collected::default();
    embed_in_parts(&model, &texts, |texts, part| {
        if is_streamed {
            let rows = VectorRows::new(VectorElements::Float32(part.as_slice()), texts.len())?;
            return Ok(stdout::write(|out| rows.write(format, texts, part.usage(), out))?);
        }
        all.elements.extend_from_slice(part.as_slice());
        all.usage.extend_from_slice(part.usage());
        Ok(())
    })?;
    if all.usage.is_empty() {
        return Ok(());
    }
    let quantized = args.quantize.map(|form| all.quantized(form, model.width(), calibration)).transpose()?;
    let elements = match (args.quantize, &quantized) {
        (Some(form), Some(bytes)) => VectorElements::Quantized(form, bytes),
        _ => VectorElements::Float32(&all.elements),
    };
    let rows = VectorRows::new(elements, texts.len())?;
    let Some(mut file) = file else {
        return Ok(stdout::write(|out| rows.write(format, &texts, &all.usage, out))?);
    };
    file.write(|out| rows.write(format, &texts, &all.usage, out))?;
    Ok(file.commit()?)
}

/// Returns the format of `--output`; JSON lines without it, and for pipes and devices.
fn output_format(path: Option<&Path>) -> Result<VectorFormat, UsageError> {
    let Some(path) = path else { return Ok(VectorFormat::Jsonl) };
    let is_device = || path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir());
    let is_stream = || stdout::is_stdout(path) || is_device();
    let format = VectorFormat::from_path(path).or_else(|| is_stream().then_some(VectorFormat::Jsonl));
    format.ok_or_else(|| {
        let what = "expected a file name that ends in .npy, .safetensors or .jsonl";
        UsageError(format!("--output {}: {what}", path.display()))
    })
}

/// Returns the texts of the arguments, then those of `--input`.
fn texts(args: &Args) -> Outcome<Vec<String>> {
    let texts = input::texts(&args.texts, args.input.as_deref())?;
    if !texts.is_empty() {
        return Ok(texts);
    }
    Err(match &args.input {
        Some(path) => format!("no texts: {} is empty", input::label(path)).into(),
        None => Box::new(UsageError("no texts: pass at least one, or --input FILE".to_owned())),
    })
}

fn ranges_of_file(path: &Path) -> Result<Ranges, Error> {
    let vectors = if input::is_stdin(path) {
        Vectors::read(&input::label(path), &input::bytes(path)?)?
    } else {
        Vectors::open(path)?
    };
    Ranges::from_vectors(vectors.rows())
}

/// The vectors of all parts.
#[derive(Default)]
struct Collected {
    elements: Vec<f32>,
    usage: Vec<TokenUsage>,
}

impl Collected {
    /// Quantizes the vectors. Without calibration the ranges are their own, and a note says so if
    /// the vectors are few.
    fn quantized(&self, form: Quantization, width: usize, calibration: Option<Ranges>) -> Result<Vec<u8>, Error> {
        let rows = || self.elements.chunks_exact(width);
        let ranges = match calibration {
            None if form.needs_ranges() => {
                let count = self.usage.len();
                if count < MIN_CALIBRATION_VECTORS {
                    output::to_stderr(format_args!(
                        "note: ranges derived from only {count} vectors; --calibration FILE provides more"
                    ));
                }
                Some(Ranges::from_vectors(rows())?)
            }
            ranges => ranges,
        };
        quantize(form, rows(), ranges.as_ref())
    }
}

/// Embeds the texts in parts and passes each part's texts and vectors to `take`.
fn embed_in_parts(
    model: &Embedder,
    texts: &[String],
    mut take: impl FnMut(&[String], &Embeddings) -> Outcome,
) -> Outcome {
    let bar = progress::text_bar(texts.len());
    let mut usage = Vec::new();
    for part in texts.chunks(TEXTS_PER_PART) {
        let vectors = model.embed_with_progress(part, |done| bar.inc(done as u64))?;
        usage.extend_from_slice(vectors.usage());
        take(part, &vectors)?;
    }
    bar.finish_and_clear();
    output::note_truncation(&usage);
    Ok(())
}
