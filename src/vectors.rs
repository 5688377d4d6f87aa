//! Files of vectors: NumPy's `.npy`, and safetensors.

use std::path::Path;

use half::f16;
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::files::read_up_to;

/// Vectors of one width, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    width: usize,
    data: Vec<f32>,
}

/// Bytes of a file of vectors that are read at most: for ranges or a comparison a few thousand vectors are plenty.
const MOST: u64 = 1 << 30;
/// How a file of NumPy begins.
const MAGIC: &[u8] = b"\x93NUMPY";

impl Vectors {
    /// Reads a file of up to 1 GiB; see [`Self::read`].
    ///
    /// # Errors
    /// If there is no such file, it has more bytes (of these none is read), and as of [`Self::read`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let missing =
            || Error::Io { path: path.to_owned(), action: "read", source: std::io::ErrorKind::NotFound.into() };
        let bytes = read_up_to(path, MOST)?.ok_or_else(missing)?;
        Self::read(&path.display().to_string(), &bytes)
    }

    /// Reads a file's bytes: an array `[n, width]` of floats in NumPy's format, or a safetensors file with such a tensor
    /// `embeddings`. `file` is its name in messages.
    ///
    /// # Errors
    /// If it is neither, has no rows or no columns, or numbers that are not finite.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self> {
        let (rows, width, data) = if bytes.starts_with(MAGIC) { npy(file, bytes)? } else { tensor(file, bytes)? };
        let wrong = |found: String| Error::Vectors { file: file.to_owned(), expected: "finite numbers", found };
        if rows == 0 || width == 0 {
            return Err(wrong(format!("shape [{rows}, {width}]")));
        }
        match data.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(wrong(format!("{} in row {}", data[at], at / width))),
            None => Ok(Self { width, data }),
        }
    }

    /// Numbers in a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The vectors.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.width)
    }
}

/// NumPy's format (numpy.lib.format): magic, version, the length of the header, a Python dict, the numbers.
fn npy(file: &str, bytes: &[u8]) -> Result<(usize, usize, Vec<f32>)> {
    let wrong = |expected, found: &str| {
        let found = found.chars().take(80).collect();
        Error::Vectors { file: file.to_owned(), expected, found }
    };
    const BEGINNING: &str = "the beginning of a NumPy file";
    let (length, start) = match bytes[MAGIC.len()..] {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), MAGIC.len() + 4),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, MAGIC.len() + 6),
        _ => return Err(wrong(BEGINNING, "another version, or the end")),
    };
    let header = start.checked_add(length).and_then(|end| bytes.get(start..end));
    let header = header.and_then(|header| std::str::from_utf8(header).ok()).ok_or_else(|| wrong(BEGINNING, "less"))?;
    let value = |key: &str| header.split_once(&format!("'{key}':")).map_or("", |(_, rest)| rest.trim_start());
    if !value("fortran_order").starts_with("False") {
        return Err(wrong("an array in C order", header));
    }
    let shape = value("shape").strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or("", |(shape, _)| shape);
    let sizes: Option<Vec<usize>> = shape.split(',').map(|size| size.trim().parse().ok()).collect();
    let Some(&[rows, width]) = sizes.as_deref() else { return Err(wrong("an array of two dimensions", header)) };
    let data = &bytes[start + length..];
    let size = match value("descr").get(..5) {
        Some("'<f2'") => 2,
        Some("'<f4'") => 4,
        Some("'<f8'") => 8,
        _ => return Err(wrong("floats in little-endian order: <f2, <f4 or <f8", header)),
    };
    if rows.checked_mul(width).and_then(|count| count.checked_mul(size)) != Some(data.len()) {
        return Err(wrong("as many bytes as the shape says", &format!("{} for {shape}", data.len())));
    }
    Ok((rows, width, numbers(size, data)))
}

fn tensor(file: &str, bytes: &[u8]) -> Result<(usize, usize, Vec<f32>)> {
    const NAME: &str = "embeddings";
    let wrong = |expected, found| Error::Vectors { file: file.to_owned(), expected, found };
    let tensors = SafeTensors::deserialize(bytes).map_err(|source| Error::Safetensors {
        file: file.to_owned(),
        bytes: bytes.len(),
        source,
    })?;
    let found = tensors.tensor(NAME).ok().ok_or_else(|| wrong("a tensor `embeddings`", tensors.names().join(", ")))?;
    let &[rows, width] = found.shape() else {
        return Err(wrong("a tensor of two dimensions", format!("shape {:?}", found.shape())));
    };
    let size = match found.dtype() {
        Dtype::F16 => 2,
        Dtype::F32 => 4,
        Dtype::F64 => 8,
        other => return Err(wrong("F16, F32 or F64", format!("{other:?}"))),
    };
    Ok((rows, width, numbers(size, found.data())))
}

/// Floats of so many bytes, in little-endian order.
fn numbers(size: usize, data: &[u8]) -> Vec<f32> {
    match size {
        2 => data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        4 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        _ => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
    }
}
