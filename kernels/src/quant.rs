//! Quantization: f32 to bf16 and int8, and how both are packed into 32-bit elements.
//!
//! * **bf16** is the upper half of an f32: its exponent, and 8 bits of precision instead of 24. Two
//!   are packed in a `u32`, the first in the low half. Both sides of a product are rounded once, to
//!   the nearest (ties to even).
//! * **int8**. Weights are i8, with a scale for each output feature: the largest weight of the row
//!   is ±127. Activations are u8, with a scale and a zero point for **each token**, computed with
//!   the token: x ≈ scale · (q − zero_point). The smallest element of the token becomes 0 and the
//!   largest 255. (Zero counts as an element, so that the zero point is a byte.) Four are packed in
//!   a `u32`, the first in the low byte.
//!
//! **Rotation.** A few channels of a transformer are far larger than the rest, and a scale that
//! covers them is too coarse for the others. So each eight elements that are sixteen apart are
//! replaced by their sums and differences (the Walsh-Hadamard transform of eight), which spreads a
//! large one over all eight. The rows of the weights are rotated in the same way, so the product is
//! the same: the transform is its own inverse except for a factor of eight. (Ashkboos et al. 2024,
//! QuaRot, <https://arxiv.org/abs/2404.00456>, rotate like this and further.) Sixteen apart,
//! because these are the same lane of eight vectors: three additions per vector, and no lane moves.
//! For all-MiniLM-L6-v2 the mean cosine between int8 and f32 embeddings rises from 0.9988 to
//! 0.9994.
//!
//! A token's scale depends on the token alone. One scale for a whole tensor, as other
//! implementations use, is slightly faster and makes a text's embedding depend on the texts around
//! it.

pub use crate::precision::{MAX_INT8_K, Precision};

use crate::dot_kernel::DotKernels;
use crate::level::{Level, Operator};
use crate::precision::ROW_METADATA_WORDS;
use crate::simd::{LANES, NanPoison, ROUND_TO_INTEGER, Simd, to_u8};
use crate::view::{MatMut, MatRef};

/// Rounds to the nearest bf16 (ties to even), as the upper half of the bits of an f32. NaN stays
/// NaN.
#[inline(always)]
fn to_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    // Adds half an ulp, or just less if the last bit is even already: the carry is the rounding.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    if x.is_nan() { bits & 0xffff_0000 | 0x0040_0000 } else { rounded }
}

/// Packs numbers as bf16. If their count is odd, the last high half is zero.
#[inline(always)]
pub(crate) fn pack_bf16(x: &[f32], packed: &mut [u32]) {
    let (pairs, rest) = x.as_chunks::<2>();
    for (packed, &[low, high]) in packed.iter_mut().zip(pairs) {
        *packed = to_bf16(low) >> 16 | to_bf16(high);
    }
    if let (&[low], Some(packed)) = (rest, packed.get_mut(pairs.len())) {
        *packed = to_bf16(low) >> 16;
    }
}

/// Quantizes activations `[T, K]` to packed rows `[T, packed_row_len(K)]`.
///
/// # Panics
/// If `packed` has another shape, or the precision is f32.
pub fn quantize(level: Level, precision: Precision, x: MatRef<'_>, packed: MatMut<'_, u32>) {
    let expected = (x.rows(), precision.packed_row_len(x.cols()));
    assert_eq!((packed.rows(), packed.cols()), expected, "quantize: packed shape (left), expected (right)");
    match precision {
        Precision::F32 => panic!("quantize: precision: expected bf16 or int8, found f32"),
        Precision::Bf16 => level.call(Bf16Rows { x, packed }),
        Precision::Int8 => level.call(Int8Rows { x, packed }),
    }
}

/// Rounds rows to bf16.
struct Bf16Rows<'a> {
    x: MatRef<'a>,
    packed: MatMut<'a, u32>,
}

impl Operator for Bf16Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, _: S, _: D) {
        self.pack();
    }

    fn reference(self) {
        self.pack();
    }
}

impl Bf16Rows<'_> {
    #[inline(always)]
    fn pack(mut self) {
        for i in 0..self.x.rows() {
            pack_bf16(self.x.row(i), self.packed.row_mut(i));
        }
    }
}

/// Quantizes rows to int8.
struct Int8Rows<'a> {
    x: MatRef<'a>,
    packed: MatMut<'a, u32>,
}

impl Operator for Int8Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(mut self, s: S, _: D) {
        for i in 0..self.x.rows() {
            let x = self.x.row(i);
            let scale = RowScale::of(extremes(s, x));
            let (bytes, metadata) = split_metadata(self.packed.row_mut(i));
            let inverse = s.splat(scale.inverse);
            let zero_point = s.splat(scale.zero_point);
            let (blocks, rest) = x.as_chunks::<HADAMARD_BLOCK>();
            let (block_bytes, rest_bytes) = bytes.split_at_mut(blocks.len() * HADAMARD_BLOCK / 4);
            for (block, packed) in blocks.iter().zip(block_bytes.chunks_exact_mut(HADAMARD_BLOCK / 4)) {
                let rotated = hadamard(s, block);
                // By index: iterators over vectors are not always inlined, and then go through
                // memory.
                for (i, packed) in packed.as_chunks_mut().0.iter_mut().enumerate() {
                    *packed = pack_bytes(s.to_u8_lanes(s.add(s.mul(rotated[i], inverse), zero_point)));
                }
            }
            scale.quantize_remainder(rest, rest_bytes);
            *metadata = scale.metadata();
        }
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            let x = self.x.row(i);
            let mut rotated = x.to_vec();
            let (blocks, rest) = rotated.as_chunks_mut();
            blocks.iter_mut().for_each(hadamard_scalar);
            rest.iter_mut().for_each(|x| *x *= REMAINDER_GAIN);
            let (min, max) = rotated.iter().fold((0.0_f32, 0.0_f32), |(min, max), &x| (min.min(x), max.max(x)));
            let poison = rotated.iter().map(|x| x * 0.0).sum::<f32>();
            let scale = RowScale::of((min + poison, max));
            let (bytes, metadata) = split_metadata(self.packed.row_mut(i));
            rotated.iter_mut().for_each(|x| *x = *x * scale.inverse + scale.zero_point);
            for (packed, four) in bytes.iter_mut().zip(rotated.chunks(4)) {
                *packed = four.iter().rev().fold(0, |packed, &x| packed << 8 | u32::from(to_u8(x)));
            }
            *metadata = scale.metadata();
        }
    }
}

/// Packs sixteen bytes, the first in the low byte.
#[inline(always)]
fn pack_bytes(bytes: [u8; LANES]) -> [u32; LANES / 4] {
    let mut packed = [0; LANES / 4];
    for (packed, bytes) in packed.iter_mut().zip(bytes.as_chunks().0) {
        *packed = u32::from_le_bytes(*bytes);
    }
    packed
}

/// The quantization of a row: x ≈ scale · (q − zero_point), where q = 0 is the smallest element and
/// 255 the largest.
#[derive(Clone, Copy)]
struct RowScale {
    scale: f32,
    /// 1/scale, or 0 if the scale is 0.
    inverse: f32,
    /// An integer.
    zero_point: f32,
}

impl RowScale {
    /// Returns the quantization of elements between `min` and `max`, zero among them. If these are
    /// NaN, so are the scale and the product.
    #[inline(always)]
    fn of((min, max): (f32, f32)) -> Self {
        let range = max - min;
        let (scale, inverse) = if range == 0.0 { (0.0, 0.0) } else { (range / 255.0, 255.0 / range) };
        // A range below 10⁻³⁶ has no inverse in f32. Such a row is rounded to zero.
        let (scale, inverse) = if inverse.is_infinite() { (0.0, 0.0) } else { (scale, inverse) };
        Self { scale, inverse, zero_point: (-min * inverse + ROUND_TO_INTEGER) - ROUND_TO_INTEGER }
    }

    /// Quantizes the elements at the end of a row that are not rotated.
    #[inline(always)]
    fn quantize_remainder(self, rest: &[f32], packed: &mut [u32]) {
        for (packed, four) in packed.iter_mut().zip(rest.chunks(4)) {
            let byte = |x: f32| u32::from(to_u8(x * REMAINDER_GAIN * self.inverse + self.zero_point));
            *packed = four.iter().rev().fold(0, |packed, &x| packed << 8 | byte(x));
        }
    }

    /// Returns the scale and the zero point as the end of a packed row stores them.
    #[inline(always)]
    fn metadata(self) -> [u32; ROW_METADATA_WORDS] {
        [self.scale.to_bits(), self.zero_point as u32]
    }
}

/// Splits a packed row into its bytes and the slots of its scale and zero point.
#[inline(always)]
fn split_metadata(packed: &mut [u32]) -> (&mut [u32], &mut [u32; ROW_METADATA_WORDS]) {
    match packed.split_last_chunk_mut() {
        Some(parts) => parts,
        None => unreachable!("a packed int8 row ends with its scale and zero point"),
    }
}

/// Elements that are rotated together: eight vectors.
const HADAMARD_BLOCK: usize = 8 * LANES;

/// The gain of the elements at the end of a row that are not rotated. Their activations are
/// doubled, because rotated ones are about √8 times as large and share the scale, and their weights
/// are halved.
const REMAINDER_GAIN: f32 = 2.0;

/// Returns the sums and differences of eight vectors, lane by lane: their Walsh-Hadamard transform.
#[inline(always)]
fn hadamard<S: Simd>(s: S, block: &[f32; HADAMARD_BLOCK]) -> [S::F; 8] {
    let mut v = [s.splat(0.0); 8];
    for (i, v) in v.iter_mut().enumerate() {
        *v = s.load(&block[i * LANES..]);
    }
    // Vectors 1 apart, then 2, then 4.
    let pair = |a, b| (s.add(a, b), s.sub(a, b));
    let ((a, b), (c, d), (e, f), (g, h)) = (pair(v[0], v[1]), pair(v[2], v[3]), pair(v[4], v[5]), pair(v[6], v[7]));
    let ((a, c), (b, d), (e, g), (f, h)) = (pair(a, c), pair(b, d), pair(e, g), pair(f, h));
    let ((a, e), (b, f), (c, g), (d, h)) = (pair(a, e), pair(b, f), pair(c, g), pair(d, h));
    [a, b, c, d, e, f, g, h]
}

/// Replaces a block by what [`hadamard`] returns, one element at a time.
#[inline(always)]
fn hadamard_scalar(block: &mut [f32; HADAMARD_BLOCK]) {
    for apart in [LANES, 2 * LANES, 4 * LANES] {
        for pair in block.chunks_exact_mut(2 * apart) {
            let (first, second) = pair.split_at_mut(apart);
            for (a, b) in first.iter_mut().zip(second) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
    }
}

/// Returns the smallest and the largest element of a rotated row, zero among them; NaN if an
/// element is not finite.
#[inline(always)]
fn extremes<S: Simd>(s: S, x: &[f32]) -> (f32, f32) {
    let zero = s.splat(0.0);
    let mut negated_min = zero;
    let mut max = zero;
    let mut poison = NanPoison::new(s);
    let (blocks, rest) = x.as_chunks::<HADAMARD_BLOCK>();
    for block in blocks {
        for v in hadamard(s, block) {
            negated_min = s.max(negated_min, s.sub(zero, v));
            max = s.max(max, v);
            poison.accumulate(s, v);
        }
    }
    for part in rest.chunks(LANES) {
        let v = s.mul(s.load_partial(part, 0.0), s.splat(REMAINDER_GAIN));
        negated_min = s.max(negated_min, s.sub(zero, v));
        max = s.max(max, v);
        poison.accumulate(s, v);
    }
    (s.sum(poison.value()) - s.max_lane(negated_min), s.max_lane(max))
}

/// Returns the scale and the zero point of a packed int8 row.
#[inline(always)]
pub(crate) fn scale_and_zero_point(packed: &[u32]) -> (f32, i32) {
    match packed {
        [.., scale, zero_point] => (f32::from_bits(*scale), zero_point.cast_signed()),
        _ => unreachable!("a packed int8 row ends with its scale and zero point"),
    }
}

/// Quantizes a row of weights `[K]` to `[packed_len(K)]` and returns its scale and the sum of its
/// bytes, which are 1 and 0 unless the precision is int8. The scale makes the largest weight of an
/// int8 row ±127.
///
/// The packed elements are stored as f32, because packing a matrix only moves them (see
/// [`crate::gemm::PackedLayout::quantized_panels`]).
///
/// # Panics
/// If `packed` has another length.
pub fn quantize_weights(level: Level, precision: Precision, weights: &[f32], packed: &mut [f32]) -> (f32, i32) {
    let packed: &mut [u32] = wide::bytemuck::cast_slice_mut(packed);
    let expected = precision.packed_len(weights.len());
    assert_eq!(packed.len(), expected, "quantize weights: packed length (left), expected (right)");
    level.call(WeightRow { precision, weights, packed })
}

/// Quantizes a row of weights.
struct WeightRow<'a> {
    precision: Precision,
    weights: &'a [f32],
    packed: &'a mut [u32],
}

impl Operator for WeightRow<'_> {
    type Output = (f32, i32);

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, _: S, _: D) -> (f32, i32) {
        quantize_weights_scalar(self.precision, self.weights, self.packed)
    }

    fn reference(self) -> (f32, i32) {
        quantize_weights_scalar(self.precision, self.weights, self.packed)
    }
}

/// Quantizes by scalar loops, which the compiler vectorizes for the level.
#[inline(always)]
fn quantize_weights_scalar(precision: Precision, weights: &[f32], packed: &mut [u32]) -> (f32, i32) {
    match precision {
        Precision::F32 => packed.iter_mut().zip(weights).for_each(|(packed, x)| *packed = x.to_bits()),
        Precision::Bf16 => pack_bf16(weights, packed),
        Precision::Int8 => {
            let mut weights = weights.to_vec();
            let (blocks, rest) = weights.as_chunks_mut();
            for block in blocks {
                hadamard_scalar(block);
                // The activations are rotated too, and both together multiply all products by
                // eight.
                block.iter_mut().for_each(|x| *x *= 0.125);
            }
            rest.iter_mut().for_each(|x| *x /= REMAINDER_GAIN);
            let max = weights.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
            let inverse = 127.0 / max;
            // Weights below 10⁻³⁶ have no inverse in f32. Such a row is rounded to zero.
            let (scale, inverse) = if inverse.is_finite() { (max / 127.0, inverse) } else { (0.0, 0.0) };
            weights.resize(weights.len().next_multiple_of(4), 0.0);
            let byte = |x: f32| (x * inverse + ROUND_TO_INTEGER).to_bits() & 0xff;
            for (packed, &[a, b, c, d]) in packed.iter_mut().zip(weights.as_chunks::<4>().0) {
                *packed = byte(a) | byte(b) << 8 | byte(c) << 16 | byte(d) << 24;
            }
            let bytes = packed.iter().flat_map(|packed| packed.to_le_bytes());
            let sum = bytes.map(|byte| i32::from(byte.cast_signed())).sum();
            return (scale, sum);
        }
    }
    (1.0, 0)
}
