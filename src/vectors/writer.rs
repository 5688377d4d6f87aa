//! Writers of vectors.

use std::io::{Error, ErrorKind, Result, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Serialize;

use super::npy;
use crate::quantize::Quantization;
use crate::tokenizer::TokenUsage;

/// The tensor that contains the vectors in a safetensors file.
pub(super) const EMBEDDINGS: &str = "embeddings";

/// A file format for vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VectorFormat {
    /// NumPy's format: an array `[n, width]`.
    Npy,
    /// Safetensors: `embeddings` `[n, width]`, and `tokens` and `used`, U32 `[n]`.
    Safetensors,
    /// A JSON object a line: `text`, `embedding`, `tokens`, `used`, `truncated`.
    Jsonl,
}

impl VectorFormat {
    /// Returns the format for a file name that ends in `.npy`, `.safetensors` or `.jsonl`.
    pub fn from_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "npy" => Some(Self::Npy),
            "safetensors" => Some(Self::Safetensors),
            "jsonl" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

/// The elements of vectors `[n, width]`, row after row.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum VectorElements<'a> {
    /// Floats: `<f4` in `.npy`, F32 in safetensors.
    Float32(&'a [f32]),
    /// The bytes that [`quantize`](crate::quantize()) returns. They are written as I8 if the
    /// quantization is signed, otherwise as U8.
    Quantized(Quantization, &'a [u8]),
}

impl VectorElements<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Float32(floats) => floats.len(),
            Self::Quantized(_, bytes) => bytes.len(),
        }
    }

    /// Returns the names of the element type in NumPy and in safetensors.
    fn dtype(&self) -> (&'static str, Dtype) {
        match self {
            Self::Float32(_) => ("<f4", Dtype::F32),
            Self::Quantized(quantization, _) if quantization.is_signed() => ("|i1", Dtype::I8),
            Self::Quantized(..) => ("|u1", Dtype::U8),
        }
    }

    fn to_le_bytes(self) -> Vec<u8> {
        match self {
            Self::Float32(floats) => floats.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Quantized(_, bytes) => bytes.to_vec(),
        }
    }
}

/// Vectors `[n, width]` to write to a file.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use likewise::{Embedder, VectorElements, VectorRows};
///
/// let texts = ["That is a happy person", "Today is a sunny day"];
/// let embeddings = Embedder::open("path/to/all-mpnet-base-v2")?.embed(&texts)?;
/// let rows = VectorRows::new(VectorElements::Float32(embeddings.as_slice()), texts.len())?;
/// rows.write_npy(std::fs::File::create("vectors.npy")?)?;
/// rows.write_jsonl(&texts, embeddings.usage(), std::io::stdout().lock())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct VectorRows<'a> {
    elements: VectorElements<'a>,
    rows: usize,
    width: usize,
}

/// A line of a JSON lines file.
#[derive(Serialize)]
struct JsonLine<'a, T> {
    text: &'a str,
    embedding: &'a [T],
    tokens: usize,
    used: usize,
    truncated: bool,
}

impl<'a> VectorRows<'a> {
    /// Divides the elements into `rows` vectors of the same width.
    ///
    /// # Errors
    /// If `rows` is 0 or does not divide the number of elements.
    pub fn new(elements: VectorElements<'a>, rows: usize) -> Result<Self> {
        let length = elements.len();
        if !length.is_multiple_of(rows) || rows == 0 {
            let what = format!("vectors: expected elements for {rows} rows of one width, found {length}");
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        Ok(Self { elements, rows, width: length / rows })
    }

    /// Writes a file of any format.
    ///
    /// # Errors
    /// As the method of the format.
    pub fn write<T: AsRef<str>>(
        &self,
        format: VectorFormat,
        texts: &[T],
        usage: &[TokenUsage],
        out: impl Write,
    ) -> Result<()> {
        match format {
            VectorFormat::Npy => self.write_npy(out),
            VectorFormat::Safetensors => self.write_safetensors(usage, out),
            VectorFormat::Jsonl => self.write_jsonl(texts, usage, out),
        }
    }

    /// Writes an array `[n, width]` in NumPy's format, version 1.0.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn write_npy(&self, mut out: impl Write) -> Result<()> {
        out.write_all(&npy::header(self.elements.dtype().0, self.rows, self.width))?;
        out.write_all(&self.elements.to_le_bytes())
    }

    /// Writes a safetensors file: the tensors `embeddings` `[n, width]`, and `tokens` and `used`,
    /// U32 `[n]`.
    ///
    /// # Errors
    /// If `out` fails, or `usage` does not have one entry for each vector.
    pub fn write_safetensors(&self, usage: &[TokenUsage], mut out: impl Write) -> Result<()> {
        self.check_count("token counts", usage.len())?;
        let embeddings = self.elements.to_le_bytes();
        let tokens = u32_bytes(usage.iter().map(|usage| usage.total));
        let used = u32_bytes(usage.iter().map(|usage| usage.used));
        let view = |dtype, shape, data| TensorView::new(dtype, shape, data).map_err(Error::other);
        let tensors = [
            (EMBEDDINGS, view(self.elements.dtype().1, vec![self.rows, self.width], &embeddings)?),
            ("tokens", view(Dtype::U32, vec![self.rows], &tokens)?),
            ("used", view(Dtype::U32, vec![self.rows], &used)?),
        ];
        out.write_all(&safetensors::serialize(tensors, None).map_err(Error::other)?)
    }

    /// Writes a JSON object a line: `text`, `embedding`, `tokens`, `used`, `truncated`.
    ///
    /// # Errors
    /// If `out` fails, or `texts` or `usage` do not have one entry for each vector.
    pub fn write_jsonl<T: AsRef<str>>(&self, texts: &[T], usage: &[TokenUsage], out: impl Write) -> Result<()> {
        self.check_count("texts", texts.len())?;
        self.check_count("token counts", usage.len())?;
        match self.elements {
            VectorElements::Float32(floats) => self.write_lines(floats, texts, usage, out),
            VectorElements::Quantized(quantization, bytes) => {
                if quantization.is_signed() {
                    self.write_lines::<i8, _>(bytemuck::cast_slice(bytes), texts, usage, out)
                } else {
                    self.write_lines(bytes, texts, usage, out)
                }
            }
        }
    }

    fn write_lines<E: Serialize, T: AsRef<str>>(
        &self,
        elements: &[E],
        texts: &[T],
        usage: &[TokenUsage],
        mut out: impl Write,
    ) -> Result<()> {
        for (row, (text, usage)) in texts.iter().zip(usage).enumerate() {
            let line = JsonLine {
                text: text.as_ref(),
                embedding: &elements[row * self.width..(row + 1) * self.width],
                tokens: usage.total,
                used: usage.used,
                truncated: usage.truncated(),
            };
            let mut line = serde_json::to_vec(&line)?;
            line.push(b'\n');
            out.write_all(&line)?;
        }
        Ok(())
    }

    fn check_count(&self, what: &str, found: usize) -> Result<()> {
        if found == self.rows {
            return Ok(());
        }
        let what = format!("vectors: expected {what} for {} rows, found {found}", self.rows);
        Err(Error::new(ErrorKind::InvalidInput, what))
    }
}

/// Returns the counts as little-endian u32.
fn u32_bytes(counts: impl Iterator<Item = usize>) -> Vec<u8> {
    counts.flat_map(|count| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Vectors;
    use super::*;

    const FLOATS: [f32; 6] = [1.0, -0.5, 1e-20, 3.25, 0.1, 7.0];
    const USAGE: [TokenUsage; 2] = [TokenUsage { total: 9, used: 9 }, TokenUsage { total: 200, used: 128 }];

    fn written(write: impl FnOnce(&VectorRows<'_>, &mut Vec<u8>) -> Result<()>) -> Vec<u8> {
        let rows = VectorRows::new(VectorElements::Float32(&FLOATS), 2).expect("two rows");
        let mut bytes = Vec::new();
        write(&rows, &mut bytes).expect("written");
        bytes
    }

    #[test]
    fn written_files_are_read_back() {
        let npy = written(|rows, out| rows.write_npy(out));
        let safetensors = written(|rows, out| rows.write_safetensors(&USAGE, out));
        for bytes in [npy, safetensors] {
            let vectors = Vectors::read("file", &bytes).expect("vectors");
            assert_eq!((vectors.width(), vectors.as_slice()), (3, &FLOATS[..]));
        }
    }

    #[test]
    fn json_lines_contain_text_vector_and_usage() {
        let lines = String::from_utf8(written(|rows, out| rows.write_jsonl(&["a \"b\"", "今"], &USAGE, out)));
        let expected = "{\"text\":\"a \\\"b\\\"\",\"embedding\":[1.0,-0.5,1e-20],\"tokens\":9,\"used\":9,\"truncated\":false}\n\
             {\"text\":\"今\",\"embedding\":[3.25,0.1,7.0],\"tokens\":200,\"used\":128,\"truncated\":true}\n";
        assert_eq!(lines.expect("UTF-8"), expected);
    }

    #[test]
    fn quantized_vectors_keep_their_sign() {
        for (quantization, expected) in [(Quantization::Int8, "[-128,127]"), (Quantization::Uint8, "[128,127]")] {
            let elements = VectorElements::Quantized(quantization, &[128, 127]);
            let mut bytes = Vec::new();
            let rows = VectorRows::new(elements, 1).expect("a row");
            rows.write_jsonl(&["a"], &USAGE[..1], &mut bytes).expect("written");
            assert!(String::from_utf8_lossy(&bytes).contains(expected), "{quantization:?}");
        }
    }

    #[test]
    fn rows_of_wrong_count_are_rejected() {
        for count in [0, 4] {
            assert!(VectorRows::new(VectorElements::Float32(&FLOATS), count).is_err());
        }
        let rows = VectorRows::new(VectorElements::Float32(&FLOATS), 2).expect("two rows");
        assert!(rows.write_safetensors(&USAGE[..1], Vec::new()).is_err());
        assert!(rows.write_jsonl(&["a"], &USAGE, Vec::new()).is_err());
    }

    #[test]
    fn npy_data_is_aligned() {
        for (rows, width) in [(1, 1), (123_456_789, 1024)] {
            let header = npy::header("<f4", rows, width);
            assert!(header.len().is_multiple_of(64) && header.ends_with(b"\n"));
            assert_eq!(usize::from(u16::from_le_bytes([header[8], header[9]])), header.len() - 10);
        }
    }
}
