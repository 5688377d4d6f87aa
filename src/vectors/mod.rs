//! Files of vectors: NumPy's `.npy`, safetensors and JSON lines.
//!
//! [`Vectors`] reads a file; [`VectorRows`] writes one. JSON lines are written only.

mod npy;
mod writer;

use std::path::Path;

use half::f16;
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::files::read_up_to;

use writer::EMBEDDINGS;
pub use writer::{VectorElements, VectorFormat, VectorRows};

/// Vectors of one width, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    width: usize,
    data: Vec<f32>,
}

/// The size limit of a file of vectors. A few thousand vectors are enough for ranges or a
/// comparison.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The shape and the elements of a file, before they are checked.
struct UncheckedVectors {
    rows: usize,
    width: usize,
    data: Vec<f32>,
}

impl Vectors {
    /// Reads a file of up to 1 GiB; see [`Self::read`].
    ///
    /// # Errors
    /// If the file is missing, larger than 1 GiB (checked before reading), or malformed as
    /// [`Self::read`] defines it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let missing =
            || Error::Io { path: path.to_owned(), action: "read", source: std::io::ErrorKind::NotFound.into() };
        let bytes = read_up_to(path, MAX_FILE_BYTES)?.ok_or_else(missing)?;
        Self::read(&path.display().to_string(), &bytes)
    }

    /// Reads the bytes of a file: an array `[n, width]` of floats in NumPy's format, or a
    /// safetensors file with such a tensor `embeddings`. Error messages call the file `file`.
    ///
    /// # Errors
    /// If the bytes are in neither format, or the array is empty or has elements that are not
    /// finite.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self> {
        let UncheckedVectors { rows, width, data } =
            if bytes.starts_with(npy::MAGIC) { read_npy(file, bytes)? } else { read_tensor(file, bytes)? };
        let wrong = |found: String| Error::Vectors { file: file.to_owned(), expected: "finite numbers", found };
        if rows == 0 || width == 0 {
            return Err(wrong(format!("shape [{rows}, {width}]")));
        }
        match data.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(wrong(format!("{} in row {}", data[at], at / width))),
            None => Ok(Self { width, data }),
        }
    }

    /// Returns the number of elements in each vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Iterates over the vectors.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.width)
    }

    /// Returns all elements, row after row.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }
}

fn read_npy(file: &str, bytes: &[u8]) -> Result<UncheckedVectors> {
    let array = npy::parse(file, bytes)?;
    let data = floats_to_f32(array.element_size, &bytes[array.data]);
    Ok(UncheckedVectors { rows: array.rows, width: array.width, data })
}

fn read_tensor(file: &str, bytes: &[u8]) -> Result<UncheckedVectors> {
    let wrong = |expected, found| Error::Vectors { file: file.to_owned(), expected, found };
    let tensors = SafeTensors::deserialize(bytes).map_err(|source| Error::Safetensors {
        announced_bytes: None,
        file: file.to_owned(),
        bytes: bytes.len(),
        source,
    })?;
    let found =
        tensors.tensor(EMBEDDINGS).ok().ok_or_else(|| wrong("a tensor `embeddings`", tensors.names().join(", ")))?;
    let &[rows, width] = found.shape() else {
        return Err(wrong("a tensor of two dimensions", format!("shape {:?}", found.shape())));
    };
    let size = match found.dtype() {
        Dtype::F16 => 2,
        Dtype::F32 => 4,
        Dtype::F64 => 8,
        other => return Err(wrong("F16, F32 or F64", format!("{other:?}"))),
    };
    Ok(UncheckedVectors { rows, width, data: floats_to_f32(size, found.data()) })
}

/// Converts little-endian floats of 2, 4 or 8 bytes to f32.
fn floats_to_f32(size: usize, data: &[u8]) -> Vec<f32> {
    match size {
        2 => data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        4 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        _ => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
    }
}
