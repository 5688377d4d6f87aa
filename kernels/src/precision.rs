//! The precisions of a matrix product.

/// The element type that a matrix product multiplies.
///
/// Not `#[non_exhaustive]`: code that matches on the precision computes something different for
/// each, so a new precision must be a compile error there and not fall into a wildcard arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16, accumulated in f32.
    Bf16,
    /// 8-bit integers, accumulated in i32.
    Int8,
}

/// The largest input size K of a linear layer in int8. With a larger K, sums of products could
/// overflow an i32.
///
/// A sum starts at −zero_point · Σ w and each step adds q · w. After some steps it is Σ (q −
/// zero_point) w over these steps, minus zero_point · Σ w over the rest: at most 255 · 127 per
/// element, whatever the number of steps.
pub const MAX_INT8_K: usize = i32::MAX as usize / (255 * 127) / 4 * 4;

/// 32-bit elements at the end of a packed int8 row: its scale, as the bits of an f32, and its zero
/// point.
pub(crate) const ROW_METADATA_WORDS: usize = 2;

impl Precision {
    /// All precisions, the most exact first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// Returns "f32", "bf16" or "int8".
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Returns the number of elements that are packed in 32 bits.
    pub fn elements_per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 4,
        }
    }

    /// Returns the packed length of k elements, in 32-bit elements.
    pub fn packed_len(self, k: usize) -> usize {
        k.div_ceil(self.elements_per_word())
    }

    /// Returns the packed length of a token's k activations with their scale and zero point, in
    /// 32-bit elements.
    pub fn packed_row_len(self, k: usize) -> usize {
        self.packed_len(k) + if self == Self::Int8 { ROW_METADATA_WORDS } else { 0 }
    }
}
