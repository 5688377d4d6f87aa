//! One weight file, and the header of a safetensors file.

use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use serde_json::Value;

use crate::bytes::WeightBytes;
use crate::error::{Error, Result};
use crate::files::explain_weights;

/// One weight file.
pub(crate) struct Shard {
    /// The name of the file, for messages.
    pub(super) label: String,
    pub(super) bytes: WeightBytes,
}

/// Reads the header of a safetensors file and its length. Offsets are in order, sizes fit shapes,
/// and the tensors fill the file to its last byte.
pub(super) fn read_header(file: &str, bytes: &[u8]) -> Result<(usize, Metadata)> {
    SafeTensors::read_metadata(bytes).map_err(|source| {
        explain_weights(file, bytes).unwrap_or_else(|| Error::Safetensors {
            file: file.to_owned(),
            bytes: bytes.len(),
            announced_bytes: announced_size(bytes),
            source,
        })
    })
}

/// Returns the size that the header of a safetensors file implies. Returns None if the file does
/// not start like one.
fn announced_size(bytes: &[u8]) -> Option<u64> {
    const LENGTH_BYTES: u64 = size_of::<u64>() as u64;
    let (length, rest) = bytes.split_first_chunk()?;
    let header_end = u64::from_le_bytes(*length).checked_add(LENGTH_BYTES)?;
    if rest.first().is_some_and(|first| *first != b'{') {
        return None;
    }
    let header = bytes.get(LENGTH_BYTES as usize..usize::try_from(header_end).ok()?);
    // Without the whole header, only its own end is known.
    let Some(header) = header else { return Some(header_end) };
    let tensors: Value = serde_json::from_slice(header).ok()?;
    let end = |tensor: &Value| tensor["data_offsets"][1].as_u64();
    let data = tensors.as_object()?.values().filter_map(end).max().unwrap_or(0);
    header_end.checked_add(data)
}
