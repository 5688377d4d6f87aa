//! Converted models: matrices packed once, in a file that is mapped and multiplied with in place.
//!
//! Opening a model usually means packing it: every weight is read, rounded and moved to where the
//! matrix product needs it. In the folder that [`crate::Builder::convert`] writes this has
//! been done. `likewise.safetensors` contains, in this order,
//!
//! * `{modules}.words` U32 `[panels, words, columns]`: the weights of a linear layer (of several
//!   that read the same input, with `+` between their names), as `docs/gemm.md` describes panels. A
//!   32-bit word is an f32, two bf16 or four bytes. Each matrix starts at a cache line.
//! * `{modules}.scales` F32 `[N]` and `{modules}.sums` I32 `[N]` with int8: the scale of each
//!   output's weights, and their sum.
//! * all other tensors under their own names and in their own types: biases, layer norms, embedding
//!   tables.
//!
//! The metadata specifies SIMD level, precision, and the version of this format. The folder also
//! contains the files that opening the model reads, and its LICENSE and README.

use std::str::FromStr;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::shard::read_header;
use crate::bytes::WeightBytes;
use crate::error::{Error, Result};

/// The version of the packed matrices. Raise it whenever packing changes: the order of elements in
/// a panel, how they are rounded, how they are rotated. (The test
/// `packed_layout_changed_requires_new_version` notices.)
pub(crate) const VERSION: &str = "1";

/// The SIMD level and precision that the matrices of a converted model were packed for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvertedFormat {
    pub(crate) level: Level,
    pub(crate) precision: Precision,
}

impl ConvertedFormat {
    /// Reads it from a file's metadata.
    ///
    /// # Errors
    /// If the file has another version, or this CPU lacks its level.
    pub(super) fn read(file: &str, bytes: &WeightBytes) -> Result<Self> {
        let (_, header) = read_header(file, bytes.as_slice())?;
        let value = |key: &str| header.metadata().as_ref().and_then(|metadata| metadata.get(key)).map(String::as_str);
        let error = |key: &str, expected: String| {
            let found = value(key).unwrap_or("nothing").to_owned();
            Error::Converted { file: file.to_owned(), key: key.to_owned(), expected, found }
        };
        if value("version") != Some(VERSION) {
            return Err(error("version", VERSION.to_owned()));
        }
        if cfg!(target_endian = "big") {
            let expected = "a little-endian CPU; open the original model on this one".to_owned();
            let found = "a big-endian CPU".to_owned();
            return Err(Error::Converted { file: file.to_owned(), key: "byte order".to_owned(), expected, found });
        }
        let level = Level::from_str(value("level").unwrap_or_default())
            .map_err(|known| error("level", format!("one that this CPU has ({})", known.available.join(", "))))?;
        let precision = Precision::ALL.into_iter().find(|precision| Some(precision.name()) == value("precision"));
        let precision = precision.ok_or_else(|| error("precision", "f32, bf16 or int8".to_owned()))?;
        Ok(Self { level, precision })
    }
}
