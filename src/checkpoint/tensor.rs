//! A tensor that lies in a checkpoint, and its numbers as f32.

use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;

use super::Shard;
use crate::error::{Error, Result};

/// The types of numbers that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float {
    F32,
    F16,
    Bf16,
}

impl Float {
    pub(super) fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A tensor of f32, f16 or bf16 that lies in a checkpoint.
#[derive(Clone)]
pub struct Tensor {
    pub(super) name: String,
    pub(super) shard: Arc<Shard>,
    pub(super) range: Range<usize>,
    pub(super) dtype: Float,
    pub(super) shape: Vec<usize>,
}

impl Tensor {
    /// Its size along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// "F32", "F16" or "BF16".
    pub fn dtype(&self) -> &'static str {
        match self.dtype {
            Float::F32 => "F32",
            Float::F16 => "F16",
            Float::Bf16 => "BF16",
        }
    }

    /// As the file calls the type of its numbers.
    pub(crate) fn file_dtype(&self) -> Dtype {
        self.dtype.dtype()
    }

    /// Numbers in one row: the product of all axes but the first.
    pub(crate) fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Writes row i, widened to f32. Widening is exact.
    ///
    /// # Panics
    /// If there is no such row or `out` has not its length.
    pub fn row(&self, i: usize, out: &mut [f32]) {
        let width = self.width();
        assert!(i < self.shape[0] && out.len() == width, "row {i} of {:?}, to {} numbers", self.shape, out.len());
        let size = width * self.dtype.bytes();
        widen(self.dtype, &self.as_bytes()[i * size..][..size], out);
    }

    /// All numbers, widened to f32, which must be finite.
    ///
    /// # Errors
    /// If one is not.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.shape.iter().product()];
        widen(self.dtype, self.as_bytes(), &mut out);
        let width = self.width().max(1);
        match out.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(self.not_finite(at / width, out[at])),
            None => Ok(out),
        }
    }

    /// The error that row `row` has a value which is not finite.
    pub(crate) fn not_finite(&self, row: usize, value: f32) -> Error {
        Error::TensorNotFinite { file: self.shard.label.clone(), name: self.name.clone(), row, value }
    }

    /// Bytes that it takes in the file.
    pub(crate) fn bytes(&self) -> usize {
        self.range.len()
    }

    /// Its numbers as they lie in the file.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.shard.bytes.as_slice()[self.range.clone()]
    }

    /// Lets the operating system take back the tensor's pages, because its numbers have been copied elsewhere.
    pub(crate) fn release(&self) {
        self.shard.bytes.release(self.range.clone());
    }
}

/// Little-endian numbers to f32. The bytes of a safetensors file are aligned to eight at best, so none is cast.
fn widen(dtype: Float, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Float::F32 => {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(*bytes);
            }
        }
        Float::F16 => {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = half::f16::from_le_bytes(*bytes).to_f32();
            }
        }
        Float::Bf16 => {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = half::bf16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
}
