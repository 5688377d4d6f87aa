//! `likewise embed`: texts to vectors.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use likewise::{Embeddings, Error, Quantization, Ranges, TokenUsage, Vectors, quantize};

use super::model::{ModelArgs, report_truncation};
use super::vectors::{Format, NewFile, Rows};
use super::{Outcome, UsageError, input, output};

/// Turn texts into vectors.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    likewise embed --model all-MiniLM-L6-v2 \"That is a happy person\"\n  \
    likewise embed --model all-MiniLM-L6-v2 --input in.txt --output out.npy\n  \
    likewise embed --model all-MiniLM-L6-v2 --output out.npy --input - < in.txt\n\n\
    A .npy file is a float32 array [texts, width], as numpy.load reads it.")]
pub(crate) struct Args {
    /// Texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    /// More texts, a line each; '-' for stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Where to write: FILE.npy, FILE.safetensors or FILE.jsonl [default: JSON lines on stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write bytes in place of floats: int8 and uint8 have one for each number, binary and ubinary one for eight
    #[arg(long, value_name = "FORM")]
    quantize: Option<Quantization>,

    /// Vectors (.npy or .safetensors) whose least and largest numbers int8 and uint8 reach from and to [default: those that are
    /// written]
    #[arg(long, value_name = "FILE", requires = "quantize")]
    calibration: Option<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let format = Format::of(args.output.as_deref())?;
    if args.calibration.is_some() && !args.quantize.is_some_and(Quantization::needs_ranges) {
        return Err(Box::new(UsageError("--calibration is for --quantize int8 and uint8".to_owned())));
    }
    let mut texts = args.texts.clone();
    if let Some(path) = &args.input {
        texts.extend(input::lines(path)?);
    }
    if texts.is_empty() {
        let what = "no texts: give at least one, or --input FILE with at least one line".to_owned();
        return Err(if args.input.is_some() { what.into() } else { Box::new(UsageError(what)) });
    }
    let calibration = args.calibration.as_ref().map(calibration).transpose()?;
    let model = args.model.open()?;
    // Opened first: a path that cannot be written is told before the work, not after it.
    let file = args.output.as_deref().map(NewFile::create).transpose()?;
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    let mut all = Collected::default();
    embed_in_parts(&model, &texts, |texts, part| {
        if file.is_none() && args.quantize.is_none() {
            // As soon as they are there: whoever reads a pipe need not wait for the end.
            Rows::Floats(part.as_slice()).write(&mut stdout, format, texts, part.usage())?;
            return Ok(stdout.flush()?);
        }
        all.data.extend_from_slice(part.as_slice());
        all.usage.extend_from_slice(part.usage());
        Ok(())
    })?;
    if all.usage.is_empty() {
        return Ok(());
    }
    let bytes = args.quantize.map(|form| all.quantized(form, model.width(), calibration)).transpose()?;
    let rows = match (args.quantize, &bytes) {
        (Some(form), Some(bytes)) => Rows::Bytes(form, bytes),
        _ => Rows::Floats(&all.data),
    };
    match file {
        Some(file) => file.write(|out| rows.write(out, format, &texts, &all.usage)),
        None => {
            rows.write(&mut stdout, format, &texts, &all.usage)?;
            Ok(stdout.flush()?)
        }
    }
}

/// The ranges of the vectors in a file.
fn calibration(path: &PathBuf) -> Result<Ranges, Error> {
    Ranges::from_vectors(Vectors::open(path)?.rows())
}

/// Vectors of all parts.
#[derive(Default)]
struct Collected {
    data: Vec<f32>,
    usage: Vec<TokenUsage>,
}

impl Collected {
    /// The vectors as bytes; without calibration by their own ranges, and if they are few, a note says that.
    fn quantized(&self, form: Quantization, width: usize, calibration: Option<Ranges>) -> Result<Vec<u8>, Error> {
        const FEW: usize = 100;
        let rows = || self.data.chunks_exact(width);
        let ranges = match calibration {
            None if form.needs_ranges() => {
                if self.usage.len() < FEW {
                    // Not eprintln!, which panics if nobody reads stderr.
                    drop(writeln!(
                        std::io::stderr(),
                        "note: the ranges of {} vectors; --calibration FILE gives those of more",
                        self.usage.len()
                    ));
                }
                Some(Ranges::from_vectors(rows())?)
            }
            ranges => ranges,
        };
        quantize(form, rows(), ranges.as_ref())
    }
}

/// Embeds some thousand texts at a time, so that whoever reads the output has the first soon.
fn embed_in_parts(
    model: &likewise::Embedder,
    texts: &[String],
    mut take: impl FnMut(&[String], &Embeddings) -> Outcome,
) -> Outcome {
    const PART: usize = 4096;
    let bar = output::progress(texts.len());
    let mut usage = Vec::new();
    for part in texts.chunks(PART) {
        let vectors = model.embed_with_progress(part, |done| bar.inc(done as u64))?;
        usage.extend_from_slice(vectors.usage());
        take(part, &vectors)?;
    }
    bar.finish_and_clear();
    report_truncation(&usage)
}
