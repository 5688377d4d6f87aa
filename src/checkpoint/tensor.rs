//! A tensor of a checkpoint, and its elements as f32.

use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;

use super::shard::Shard;
use crate::error::{Error, Result};

/// The element types that are supported.
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

/// A tensor of f32, f16 or bf16 in a checkpoint.
#[derive(Clone)]
pub struct Tensor {
    pub(super) name: String,
    pub(super) shard: Arc<Shard>,
    pub(super) range: Range<usize>,
    pub(super) dtype: Float,
    pub(super) shape: Vec<usize>,
}

impl Tensor {
    /// Returns the size along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the element type: "F32", "F16" or "BF16".
    pub fn dtype(&self) -> &'static str {
        match self.dtype {
            Float::F32 => "F32",
            Float::F16 => "F16",
            Float::Bf16 => "BF16",
        }
    }

    /// Returns the element type, as safetensors defines it.
    pub(crate) fn file_dtype(&self) -> Dtype {
        self.dtype.dtype()
    }

    /// Returns the elements of one row: the product of all axes but the first.
    pub(crate) fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Writes row i, widened to f32. Widening is exact.
    ///
    /// # Panics
    /// If there is no such row, or `out` has another length.
    pub fn row(&self, i: usize, out: &mut [f32]) {
        let width = self.width();
        assert!(i < self.shape[0] && out.len() == width, "row {i} of {:?}, to {} elements", self.shape, out.len());
        let size = width * self.dtype.bytes();
        widen(self.dtype, &self.as_bytes()[i * size..][..size], out);
    }

    /// Returns all elements, widened to f32.
    ///
    /// # Errors
    /// If an element is not finite.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.shape.iter().product()];
        widen(self.dtype, self.as_bytes(), &mut out);
        let width = self.width().max(1);
        match out.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(self.not_finite(at / width, out[at])),
            None => Ok(out),
        }
    }

    /// Makes the error that row `row` has an element that is not finite.
    pub(crate) fn not_finite(&self, row: usize, value: f32) -> Error {
        Error::TensorNotFinite { file: self.shard.label.clone(), name: self.name.clone(), row, value }
    }

    /// Returns the size in the file, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.range.len()
    }

    /// Returns the bytes, as the file contains them.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.shard.bytes.as_slice()[self.range.clone()]
    }

    /// Lets the operating system take back the tensor's pages, because its elements have been
    /// copied elsewhere.
    pub(crate) fn evict_pages(&self) {
        self.shard.bytes.evict_pages(self.range.clone());
    }
}

/// Widens little-endian floats to f32. The bytes of a safetensors file are aligned to eight at
/// best, so none is cast.
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
