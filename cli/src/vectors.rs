//! Files that vectors are written to.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use likewise::{Error, Quantization, TokenUsage};

use super::{Outcome, UsageError};

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// An array `[texts, width]` in NumPy's format.
    Npy,
    /// The tensors `embeddings` `[texts, width]`, `tokens` and `used` U32 `[texts]`.
    Safetensors,
    /// An object a line: text, embedding, tokens, used, truncated.
    Jsonl,
}

impl Format {
    /// By the end of a file's name. Without a name: JSON lines.
    pub(crate) fn of(path: Option<&Path>) -> Result<Self, UsageError> {
        let Some(path) = path else { return Ok(Self::Jsonl) };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("jsonl") => Ok(Self::Jsonl),
            _ => Err(UsageError(format!(
                "--output {}: expected a name that ends in .npy, .safetensors or .jsonl",
                path.display()
            ))),
        }
    }
}

/// Vectors as they are written, row after row.
pub(crate) enum Rows<'a> {
    Floats(&'a [f32]),
    Bytes(Quantization, &'a [u8]),
}

impl<'a> Rows<'a> {
    /// Numbers in all.
    fn len(&self) -> usize {
        match self {
            Self::Floats(numbers) => numbers.len(),
            Self::Bytes(_, bytes) => bytes.len(),
        }
    }

    /// As NumPy and safetensors call the type of the numbers.
    fn dtype(&self) -> (&'static str, safetensors::Dtype) {
        match self {
            Self::Floats(_) => ("<f4", safetensors::Dtype::F32),
            Self::Bytes(form, _) if form.is_signed() => ("|i1", safetensors::Dtype::I8),
            Self::Bytes(..) => ("|u1", safetensors::Dtype::U8),
        }
    }

    /// In little-endian order.
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Floats(numbers) => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Bytes(_, bytes) => bytes.to_vec(),
        }
    }

    /// Row i of `count` as a JSON array.
    fn json(&self, i: usize, count: usize) -> serde_json::Result<String> {
        let width = self.len() / count;
        let row = i * width..(i + 1) * width;
        match self {
            Self::Floats(numbers) => serde_json::to_string(&numbers[row]),
            Self::Bytes(form, bytes) if form.is_signed() => {
                serde_json::to_string(&bytes[row].iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>())
            }
            Self::Bytes(_, bytes) => serde_json::to_string(&bytes[row]),
        }
    }

    /// Writes the vectors of some texts.
    pub(crate) fn write(&self, out: &mut dyn Write, format: Format, texts: &[String], usage: &[TokenUsage]) -> Outcome {
        match format {
            Format::Npy => self.write_npy(out, texts.len()),
            Format::Safetensors => self.write_safetensors(out, usage),
            Format::Jsonl => self.write_jsonl(out, texts, usage),
        }
    }

    fn write_jsonl(&self, out: &mut dyn Write, texts: &[String], usage: &[TokenUsage]) -> Outcome {
        for (i, (text, usage)) in texts.iter().zip(usage).enumerate() {
            let (tokens, used, truncated) = (usage.total, usage.used, usage.truncated());
            let (text, vector) = (serde_json::to_string(text)?, self.json(i, texts.len())?);
            let counts = format!("\"tokens\":{tokens},\"used\":{used},\"truncated\":{truncated}");
            writeln!(out, "{{\"text\":{text},\"embedding\":{vector},{counts}}}")?;
        }
        Ok(())
    }

    /// NumPy's format, version 1.0: magic, version, length of the header, a Python dict padded so that data starts at a
    /// multiple of 64 (numpy.lib.format).
    fn write_npy(&self, out: &mut dyn Write, texts: usize) -> Outcome {
        let shape = format!("({texts}, {})", self.len() / texts);
        let mut header = format!("{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}", self.dtype().0);
        let before = 10 + header.len() + 1;
        header.push_str(&" ".repeat(before.next_multiple_of(64) - before));
        header.push('\n');
        out.write_all(b"\x93NUMPY\x01\x00")?;
        out.write_all(&u16::try_from(header.len())?.to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        out.write_all(&self.to_bytes())?;
        Ok(())
    }

    fn write_safetensors(&self, out: &mut dyn Write, usage: &[TokenUsage]) -> Outcome {
        use safetensors::{Dtype, tensor::TensorView};
        let texts = usage.len();
        let embeddings = self.to_bytes();
        let counts = |count: fn(&TokenUsage) -> usize| -> Vec<u8> {
            usage.iter().flat_map(|usage| (count(usage) as u32).to_le_bytes()).collect()
        };
        let (tokens, used) = (counts(|usage| usage.total), counts(|usage| usage.used));
        let tensors = [
            ("embeddings", TensorView::new(self.dtype().1, vec![texts, self.len() / texts], &embeddings)?),
            ("tokens", TensorView::new(Dtype::U32, vec![texts], &tokens)?),
            ("used", TensorView::new(Dtype::U32, vec![texts], &used)?),
        ];
        out.write_all(&safetensors::serialize(tensors, None)?)?;
        Ok(())
    }
}

/// A file that is written beside its place and put there when it is complete, so that no half-written file has its name.
pub(crate) struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    complete: bool,
}

impl NewFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        let file =
            File::create(&partial).map_err(|source| Error::Io { path: path.to_owned(), action: "write", source })?;
        Ok(Self { path: path.to_owned(), partial, file, complete: false })
    }

    pub(crate) fn write(mut self, write: impl FnOnce(&mut dyn Write) -> Outcome) -> Outcome {
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
