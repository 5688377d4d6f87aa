//! What every format of weight files says about a tensor.

use std::ops::Range;

use safetensors::Dtype;

/// Where the elements of a tensor are in a file, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredTensor {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// The bytes of the elements. If they are not contiguous, those from the first to the last.
    pub(super) range: Range<usize>,
    /// Whether the elements are in row-major order without gaps.
    pub(super) is_contiguous: bool,
}
