//! One safetensors file.

use safetensors::SafeTensors;
use safetensors::tensor::Metadata;

use crate::bytes::WeightBytes;
use crate::error::{Error, Result};

/// One weight file.
pub(crate) struct Shard {
    /// The name of the file, for messages.
    pub(super) label: String,
    pub(super) bytes: WeightBytes,
}

/// Reads the header of a safetensors file and its length. Offsets are in order, sizes fit shapes,
/// and the tensors fill the file to its last byte.
pub(super) fn read_header(file: &str, bytes: &[u8]) -> Result<(usize, Metadata)> {
    SafeTensors::read_metadata(bytes).map_err(|source| Error::Safetensors {
        file: file.to_owned(),
        bytes: bytes.len(),
        source,
    })
}
