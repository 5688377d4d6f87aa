//! The formats of weight files.

use super::pytorch;
use super::shard::read_header;
use super::stored_tensor::StoredTensor;
use crate::error::Result;
use crate::model_folder::WEIGHTS_INDEX;

/// The format of a weight file, or of the shards of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFormat {
    Safetensors,
    /// The zip archive that `torch.save` writes.
    Pytorch,
}

impl FileFormat {
    /// Returns the format of a file or of an index, by its name.
    pub(super) fn of(name: &str) -> Self {
        let is_safetensors = [".safetensors", WEIGHTS_INDEX].iter().any(|ending| name.ends_with(ending));
        if is_safetensors { Self::Safetensors } else { Self::Pytorch }
    }

    /// Says what a missing shard is needed for.
    pub(super) fn missing_shard(self) -> &'static str {
        match self {
            Self::Safetensors => "a shard that model.safetensors.index.json names",
            Self::Pytorch => "a shard that pytorch_model.bin.index.json names",
        }
    }

    /// Reads the names of the tensors of a file, and where their elements are.
    pub(super) fn read_tensors(self, file: &str, bytes: &[u8]) -> Result<Vec<(String, StoredTensor)>> {
        if self == Self::Pytorch {
            return Ok(pytorch::read_tensors(file, bytes)?.into_iter().collect());
        }
        let (header, metadata) = read_header(file, bytes)?;
        let start = header + size_of::<u64>();
        let tensors = metadata.tensors().into_iter().map(|(name, info)| {
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            let (dtype, shape) = (info.dtype, info.shape.clone());
            (name, StoredTensor { dtype, shape, range, is_contiguous: true })
        });
        Ok(tensors.collect())
    }
}
