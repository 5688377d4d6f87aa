//! Converted models: matrices packed once, in a file that is mapped and multiplied with as it lies.
//!
//! To open a model is otherwise to pack it: every weight is read, rounded and moved to where the matmul wants it. In the
//! folder that [`crate::Builder::convert`] writes this has been done. `likewise.safetensors` has, in this order,
//!
//! * `{modules}.words` U32 `[panels, words, columns]`: the weights of a linear layer (of several that read the same input, with
//!   `+` between their names), as `docs/gemm.md` describes panels. A word is an f32, two bf16 or four bytes. Each begins at a
//!   cache line.
//! * `{modules}.scales` F32 `[N]` and `{modules}.sums` I32 `[N]` with int8: the scale of each output's weights, and their sum.
//! * all other tensors under their own names and in their own types: biases, layer norms, embedding tables.
//!
//! Its metadata says what it was packed for: level, precision, and the version of all this. Beside it are the files that
//! opening the model reads, and those that say whose it is (LICENSE, README).

use std::str::FromStr;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::read_header;
use crate::bytes::WeightBytes;
use crate::error::{Error, Result};

/// What matrices look like. To be raised whenever the words of a matrix become others: their order in a panel, how they are
/// rounded, how they are rotated. (The test `packed_layout_changed_requires_new_version` notices.)
pub(crate) const VERSION: &str = "1";

/// What the matrices of a converted model were packed for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvertedFormat {
    pub(crate) level: Level,
    pub(crate) precision: Precision,
}

impl ConvertedFormat {
    /// From a file's metadata.
    ///
    /// # Errors
    /// If it is not of this version, or this CPU has not its level.
    pub(crate) fn read(file: &str, bytes: &WeightBytes) -> Result<Self> {
        let (_, header) = read_header(file, bytes.as_slice())?;
        let metadata = header.metadata().as_ref();
        let refused = |key: &str, expected: String| {
            let found = metadata.and_then(|metadata| metadata.get(key)).map_or("nothing", String::as_str).to_owned();
            Error::Converted { file: file.to_owned(), key: key.to_owned(), expected, found }
        };
        let value = |key: &str| metadata.and_then(|metadata| metadata.get(key)).map_or("", String::as_str);
        if value("version") != VERSION {
            return Err(refused("version", VERSION.to_owned()));
        }
        if cfg!(target_endian = "big") {
            return Err(refused("byte order", "big, as this CPU's".to_owned()));
        }
        let level = Level::from_str(value("level"))
            .map_err(|known| refused("level", format!("one that this CPU has ({})", known.available.join(", "))))?;
        let precision = Precision::ALL.into_iter().find(|precision| precision.name() == value("precision"));
        let precision = precision.ok_or_else(|| refused("precision", "f32, bf16 or int8".to_owned()))?;
        Ok(Self { level, precision })
    }
}
