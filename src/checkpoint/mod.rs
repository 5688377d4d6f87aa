//! Weights: bytes to named tensors.
//!
//! A checkpoint is one file, or several with an index: safetensors, or without them the zip
//! archives of PyTorch. It is mapped into memory, not read: a tensor is a name and a range of
//! bytes, and its elements are widened to f32 when they are used.

mod converted;
mod debug;
mod format;
mod number_tensor;
mod open;
mod pytorch;
mod reader;
mod shard;
mod stored_tensor;
mod tensor;

pub(crate) use converted::{ConvertedFormat, VERSION as CONVERTED_VERSION};
pub(crate) use number_tensor::{AllowedTypes, NumberTensor};
pub use open::Checkpoint;
pub(crate) use open::edit_distance;
pub(crate) use reader::TensorReader;
pub use tensor::Tensor;
