//! A tensor of numbers of any type, which are read where they are in the file.
//!
//! The weights of encoders are floats of at most 32 bits ([`Tensor`](super::Tensor)). The tables of
//! static embeddings may also be F64 or integers.

use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;

use super::open::Checkpoint;
use super::pytorch;
use super::shard::Shard;
use super::stored_tensor::StoredTensor;
use crate::error::{ContentError, Error, Result};

/// The types of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NumberType {
    F64,
    F32,
    F16,
    Bf16,
    I8,
    I32,
    I64,
}

/// A tensor of numbers in a checkpoint.
#[derive(Clone)]
pub(crate) struct NumberTensor {
    name: String,
    shard: Arc<Shard>,
    range: Range<usize>,
    dtype: NumberType,
    shape: Vec<usize>,
}

/// The types that a tensor may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllowedTypes {
    types: &'static [NumberType],
    names: &'static str,
}

impl AllowedTypes {
    /// Embeddings of tokens.
    pub(crate) const EMBEDDINGS: Self = Self {
        types: &[NumberType::F64, NumberType::F32, NumberType::F16, NumberType::Bf16, NumberType::I8],
        names: "F64, F32, F16, BF16 or I8",
    };
    /// Factors.
    pub(crate) const FLOATS: Self = Self {
        types: &[NumberType::F64, NumberType::F32, NumberType::F16, NumberType::Bf16],
        names: "F64, F32, F16 or BF16",
    };
    /// Indices.
    pub(crate) const INDICES: Self = Self { types: &[NumberType::I64, NumberType::I32], names: "I64 or I32" };
}

impl NumberType {
    fn of(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            Dtype::I8 => Self::I8,
            Dtype::I32 => Self::I32,
            Dtype::I64 => Self::I64,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

impl Checkpoint {
    /// Returns a tensor by its full name, or None if there is no such tensor.
    ///
    /// # Errors
    /// If its elements have another type, or are not contiguous.
    pub(crate) fn number_tensor(&self, name: &str, allowed: AllowedTypes) -> Result<Option<NumberTensor>> {
        let Some((entry, shard)) = self.find(name) else { return Ok(None) };
        let StoredTensor { dtype, shape, range, is_contiguous } = entry.tensor.clone();
        if !is_contiguous {
            return Err(pytorch::not_contiguous(&shard.label, name));
        }
        let number_type = NumberType::of(dtype).filter(|number_type| allowed.types.contains(number_type));
        let Some(dtype) = number_type else {
            let expected = format!("dtype {}", allowed.names);
            let advice = "save the model again in one of these types";
            return Err(tensor_error(&shard.label, name, expected, format!("{dtype:?}"), advice));
        };
        Ok(Some(NumberTensor { name: name.to_owned(), shard, range, dtype, shape }))
    }
}

impl NumberTensor {
    /// Returns the size along each axis.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the name of the type of the elements.
    pub(crate) fn dtype(&self) -> &'static str {
        match self.dtype {
            NumberType::F64 => "F64",
            NumberType::F32 => "F32",
            NumberType::F16 => "F16",
            NumberType::Bf16 => "BF16",
            NumberType::I8 => "I8",
            NumberType::I32 => "I32",
            NumberType::I64 => "I64",
        }
    }

    /// Returns the size in the file, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.range.len()
    }

    /// Adds row i of a matrix, times a factor, to `sums`. No bit depends on anything else.
    ///
    /// # Panics
    /// If there is no such row, or `sums` has another length.
    pub(crate) fn add_row(&self, i: usize, factor: Option<f64>, sums: &mut [f64]) {
        let width = sums.len();
        assert!(self.shape.len() == 2 && i < self.shape[0] && width == self.shape[1], "row {i} of {:?}", self.shape);
        let size = width * self.dtype.bytes();
        let row = &self.as_bytes()[i * size..][..size];
        match self.dtype {
            NumberType::F64 => add(row.as_chunks().0, f64::from_le_bytes, factor, sums),
            NumberType::F32 => add(row.as_chunks().0, |bytes| f64::from(f32::from_le_bytes(bytes)), factor, sums),
            NumberType::F16 => add(row.as_chunks().0, |bytes| f64::from(widen_f16(bytes)), factor, sums),
            NumberType::Bf16 => add(row.as_chunks().0, |bytes| f64::from(widen_bf16(bytes)), factor, sums),
            NumberType::I8 => add(row.as_chunks().0, |bytes| f64::from(i8::from_le_bytes(bytes)), factor, sums),
            NumberType::I32 => add(row.as_chunks().0, |bytes| f64::from(i32::from_le_bytes(bytes)), factor, sums),
            NumberType::I64 => add(row.as_chunks().0, |bytes| i64::from_le_bytes(bytes) as f64, factor, sums),
        }
    }

    /// Returns element i of a vector of floats or small integers.
    ///
    /// # Panics
    /// If there is no such element.
    pub(crate) fn float(&self, i: usize) -> f64 {
        match self.dtype {
            NumberType::F64 => f64::from_le_bytes(self.element(i)),
            NumberType::F32 => f64::from(f32::from_le_bytes(self.element(i))),
            NumberType::F16 => f64::from(widen_f16(self.element(i))),
            NumberType::Bf16 => f64::from(widen_bf16(self.element(i))),
            NumberType::I8 | NumberType::I32 | NumberType::I64 => self.integer(i) as f64,
        }
    }

    /// Returns element i of a vector of integers. Floats have none: it is then −1.
    ///
    /// # Panics
    /// If there is no such element.
    pub(crate) fn integer(&self, i: usize) -> i64 {
        match self.dtype {
            NumberType::I64 => i64::from_le_bytes(self.element(i)),
            NumberType::I32 => i64::from(i32::from_le_bytes(self.element(i))),
            NumberType::I8 => i64::from(i8::from_le_bytes(self.element(i))),
            NumberType::F64 | NumberType::F32 | NumberType::F16 | NumberType::Bf16 => -1,
        }
    }

    /// Makes the error that the tensor does not suit the model.
    pub(crate) fn unsuitable(&self, expected: String, found: String, advice: &'static str) -> Error {
        tensor_error(&self.shard.label, &self.name, expected, found, advice)
    }

    /// Makes the error that row `row` has an element that is not finite.
    pub(crate) fn not_finite(&self, row: usize, value: f32) -> Error {
        Error::TensorNotFinite { file: self.shard.label.clone(), name: self.name.clone(), row, value }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.shard.bytes.as_slice()[self.range.clone()]
    }

    /// Returns the bytes of element i.
    fn element<const N: usize>(&self, i: usize) -> [u8; N] {
        self.as_bytes().as_chunks::<N>().0[i]
    }
}

/// Adds the numbers, times a factor, to `sums`.
#[inline(always)]
fn add<const N: usize>(row: &[[u8; N]], widen: impl Fn([u8; N]) -> f64, factor: Option<f64>, sums: &mut [f64]) {
    match factor {
        None => sums.iter_mut().zip(row).for_each(|(sum, bytes)| *sum += widen(*bytes)),
        Some(factor) => sums.iter_mut().zip(row).for_each(|(sum, bytes)| *sum += factor * widen(*bytes)),
    }
}

/// Widens an f16 without a branch, so that the compiler does several at once.
#[inline(always)]
fn widen_f16(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    // Exponents of f32 have a bias of 127, those of f16 one of 15. A multiplication by the
    // difference also normalizes small numbers.
    const SCALE: f32 = f32::from_bits((127 + 127 - 15) << 23);
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * SCALE;
    let infinite = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | infinite | (bits & 0x8000) << 16)
}

#[inline(always)]
fn widen_bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

fn tensor_error(file: &str, name: &str, expected: String, found: String, advice: &'static str) -> Error {
    let place = Some(format!("tensor `{name}`"));
    Error::Content(Box::new(ContentError { file: file.to_owned(), place, expected, found, advice }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_floats_are_widened_exactly() {
        for bits in 0..=u16::MAX {
            let bytes = bits.to_le_bytes();
            for (found, expected) in [
                (widen_f16(bytes), half::f16::from_bits(bits).to_f32()),
                (widen_bf16(bytes), half::bf16::from_bits(bits).to_f32()),
            ] {
                assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "{bits:#x}");
            }
        }
    }
}
