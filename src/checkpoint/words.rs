//! What a converted model has in place of the matrices of its linear layers.

use std::ops::Range;

use safetensors::Dtype;

use super::Checkpoint;
use crate::bytes::WeightBytes;
use crate::error::{Error, Result};

impl Checkpoint {
    /// Where a packed matrix lies in the file of a converted model: its first and last 32-bit words, counted from the file's
    /// first byte.
    ///
    /// # Errors
    /// If there is none of that name, it has another shape or type, or it does not begin at a cache line.
    pub(crate) fn words(&self, name: &str, shape: &[usize]) -> Result<Range<usize>> {
        const WORD: usize = size_of::<u32>();
        let bytes = self.typed(name, shape, Dtype::U32)?;
        if !bytes.start.is_multiple_of(64) {
            let found = format!("at byte {}", bytes.start);
            return Err(self.refused(name, "at a multiple of 64 bytes".to_owned(), found));
        }
        Ok(bytes.start / WORD..bytes.end / WORD)
    }

    /// Sums of `most` signed bytes each.
    ///
    /// # Errors
    /// If there are none of that name, they have another shape or type, or one cannot be such a sum.
    pub(crate) fn sums(&self, name: &str, n: usize, most: usize) -> Result<Vec<i32>> {
        let bytes = &self.bytes().as_slice()[self.typed(name, &[n], Dtype::I32)?];
        let sums: Vec<i32> = bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
        match sums.iter().find(|sum| sum.unsigned_abs() as usize > 127 * most) {
            Some(sum) => Err(self.refused(name, format!("sums of {most} bytes"), sum.to_string())),
            None => Ok(sums),
        }
    }

    /// The whole file of a converted model.
    pub(crate) fn bytes(&self) -> &WeightBytes {
        &self.shards[0].bytes
    }

    fn typed(&self, name: &str, shape: &[usize], dtype: Dtype) -> Result<Range<usize>> {
        let (_, entry) = self.entry(name, shape)?;
        if entry.dtype != dtype {
            return Err(self.refused(name, format!("dtype {dtype:?}"), format!("{:?}", entry.dtype)));
        }
        Ok(entry.range.clone())
    }

    fn refused(&self, name: &str, expected: String, found: String) -> Error {
        Error::Converted { file: self.label.clone(), key: name.to_owned(), expected, found }
    }
}
