//! `likewise embed`: texts to vectors.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use likewise::{Embeddings, Error, Usage};

use super::model::{ModelArgs, report_truncation};
use super::{Misuse, Outcome, input, output};

/// Turn texts into vectors.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    likewise embed --model all-MiniLM-L6-v2 \"That is a happy person\"\n  \
    likewise embed --model all-MiniLM-L6-v2 --input in.txt --output out.npy\n  \
    likewise embed --model all-MiniLM-L6-v2 --output out.npy --input - < in.txt\n\n\
    A .npy file is a float32 array [texts, width], as numpy.load reads it.")]
pub(super) struct Args {
    /// Texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    /// More texts, a line each; '-' for stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Where to write: FILE.npy, FILE.safetensors or FILE.jsonl [default: JSON lines on stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// A float32 array `[texts, width]` in NumPy's format.
    Npy,
    /// The tensors `embeddings` F32 `[texts, width]`, `tokens` and `used` U32 `[texts]`.
    Safetensors,
    /// An object a line: text, embedding, tokens, used, truncated.
    Jsonl,
}

pub(super) fn run(args: &Args) -> Outcome {
    let format = format(args.output.as_deref())?;
    let mut texts = args.texts.clone();
    if let Some(path) = &args.input {
        texts.extend(input::lines(path)?);
    }
    if texts.is_empty() {
        let what = "no texts: give at least one, or --input FILE with at least one line".to_owned();
        return Err(if args.input.is_some() { what.into() } else { Box::new(Misuse(what)) });
    }
    let model = args.model.open()?;
    match &args.output {
        None => {
            // As soon as they are there: whoever reads a pipe need not wait for the end.
            let mut out = BufWriter::new(std::io::stdout().lock());
            embed_in_parts(&model, &texts, |texts, part| {
                write_jsonl(&mut out, texts, part)?;
                Ok(out.flush()?)
            })?;
        }
        Some(path) => {
            // Opened first: a path that cannot be written is told before the work, not after it.
            let file = NewFile::create(path)?;
            let mut all = Collected { data: Vec::new(), usage: Vec::new() };
            embed_in_parts(&model, &texts, |_, part| {
                all.data.extend_from_slice(part.as_slice());
                all.usage.extend_from_slice(part.usage());
                Ok(())
            })?;
            file.write(|out| match format {
                Format::Npy => write_npy(out, &all, model.width()),
                Format::Safetensors => write_safetensors(out, &all, model.width()),
                Format::Jsonl => all.write_jsonl(out, &texts, model.width()),
            })?;
        }
    }
    Ok(())
}

/// Vectors of all parts.
struct Collected {
    data: Vec<f32>,
    usage: Vec<Usage>,
}

impl Collected {
    fn write_jsonl(&self, out: &mut dyn Write, texts: &[String], width: usize) -> Outcome {
        for ((text, vector), usage) in texts.iter().zip(self.data.chunks_exact(width)).zip(&self.usage) {
            write_json(out, text, vector, *usage)?;
        }
        Ok(())
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
        let vectors = model.embed_with(part, |done| bar.inc(done as u64))?;
        usage.extend_from_slice(vectors.usage());
        take(part, &vectors)?;
    }
    bar.finish_and_clear();
    report_truncation(&usage)
}

fn format(path: Option<&Path>) -> Result<Format, Misuse> {
    let Some(path) = path else { return Ok(Format::Jsonl) };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => Ok(Format::Npy),
        Some("safetensors") => Ok(Format::Safetensors),
        Some("jsonl") => Ok(Format::Jsonl),
        _ => Err(Misuse(format!(
            "--output {}: expected a name that ends in .npy, .safetensors or .jsonl",
            path.display()
        ))),
    }
}

/// A file that is written beside its place and put there when it is complete, so that no half-written file has its name.
struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    complete: bool,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self, Error> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        let file =
            File::create(&partial).map_err(|source| Error::Io { path: path.to_owned(), action: "write", source })?;
        Ok(Self { path: path.to_owned(), partial, file, complete: false })
    }

    fn write(mut self, write: impl FnOnce(&mut dyn Write) -> Outcome) -> Outcome {
        let failed = |source| Error::Io { path: self.path.clone(), action: "write", source };
        let mut out = BufWriter::new(&self.file);
        write(&mut out)?;
        out.flush().map_err(failed)?;
        drop(out);
        std::fs::rename(&self.partial, &self.path).map_err(failed)?;
        self.complete = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.complete {
            // The error that ended the work is the one to report.
            drop(std::fs::remove_file(&self.partial));
        }
    }
}

fn write_jsonl(out: &mut dyn Write, texts: &[String], vectors: &Embeddings) -> Outcome {
    for ((text, vector), usage) in texts.iter().zip(vectors.rows()).zip(vectors.usage()) {
        write_json(out, text, vector, *usage)?;
    }
    Ok(())
}

fn write_json(out: &mut dyn Write, text: &str, vector: &[f32], usage: Usage) -> Outcome {
    let (tokens, used, truncated) = (usage.tokens, usage.used, usage.truncated());
    let text = serde_json::to_string(text)?;
    let vector = serde_json::to_string(vector)?;
    let counts = format!("\"tokens\":{tokens},\"used\":{used},\"truncated\":{truncated}");
    writeln!(out, "{{\"text\":{text},\"embedding\":{vector},{counts}}}")?;
    Ok(())
}

/// NumPy's format, version 1.0: magic, version, length of the header, a Python dict padded so that data starts at a
/// multiple of 64 (numpy.lib.format).
fn write_npy(out: &mut dyn Write, vectors: &Collected, width: usize) -> Outcome {
    let shape = format!("({}, {width})", vectors.usage.len());
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let before = 10 + header.len() + 1;
    header.push_str(&" ".repeat(before.next_multiple_of(64) - before));
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&u16::try_from(header.len())?.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for x in &vectors.data {
        out.write_all(&x.to_le_bytes())?;
    }
    Ok(())
}

fn write_safetensors(out: &mut dyn Write, vectors: &Collected, width: usize) -> Outcome {
    use safetensors::{Dtype, tensor::TensorView};
    let texts = vectors.usage.len();
    let embeddings: Vec<u8> = vectors.data.iter().flat_map(|x| x.to_le_bytes()).collect();
    let counts = |count: fn(&Usage) -> usize| -> Vec<u8> {
        vectors.usage.iter().flat_map(|usage| (count(usage) as u32).to_le_bytes()).collect()
    };
    let (tokens, used) = (counts(|usage| usage.tokens), counts(|usage| usage.used));
    let tensors = [
        ("embeddings", TensorView::new(Dtype::F32, vec![texts, width], &embeddings)?),
        ("tokens", TensorView::new(Dtype::U32, vec![texts], &tokens)?),
        ("used", TensorView::new(Dtype::U32, vec![texts], &used)?),
    ];
    out.write_all(&safetensors::serialize(tensors, None)?)?;
    Ok(())
}
