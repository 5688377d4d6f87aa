//! Smaller numbers: f32 to bf16 and to bytes, and how they lie in words of 32 bits.
//!
//! * **bf16** is the upper half of an f32: its exponent, and 8 bits of precision instead of 24. Two in a word, the first in
//!   the low half. Both sides of a product are rounded once, to the nearest, to even between two.
//! * **int8**. Weights are i8, with a scale for each output feature: the largest weight of the row is ±127. Activations are
//!   u8, with a step and a zero point for **each token**, found when it is computed: x ≈ step · (q − zero), with the least of
//!   the token's numbers at 0 and the largest at 255 (zero is taken among them, so that the zero point is a byte). Four in a
//!   word, the first in the low byte.
//!
//! **Rotated first.** A few of a transformer's channels are far larger than the rest, and steps that reach them are too wide for
//! the others. So each eight numbers that stand sixteen apart are replaced by their sums and differences (the Walsh-Hadamard
//! transform of eight), which spreads a large one over all eight. The rows of the weights are treated alike, so the product
//! is the same: the transform is its own inverse but for a factor of eight. (Ashkboos et al. 2024, QuaRot,
//! <https://arxiv.org/abs/2404.00456>, rotate like this and farther.) Sixteen apart, because these are the same lane of eight
//! vectors: three additions a vector, and no lane moves. Of all-MiniLM-L6-v2's vectors the mean cosine to those of f32 rises
//! from 0.9988 to 0.9994.
//!
//! A token's step depends on the token alone. One step for a whole tensor, which is what others take, is faster by a hair
//! and lets a text's vector depend on the texts around it.

use crate::level::{Level, Operator};
use crate::simd::{LANES, Simd, to_u8};
use crate::view::{MatMut, MatRef};

/// The type of the numbers that a matrix product multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16, summed in f32.
    Bf16,
    /// Bytes, summed in i32.
    Int8,
}

/// The most inputs of a linear layer in int8: with more, the largest sums of their products would not be i32.
///
/// A sum begins at −zero · Σ w and each step adds q · w, so on the way it is Σ (q − zero) w over the steps that are done, less
/// zero · Σ w over the rest: 255 · 127 a number at most, whatever is done.
pub const MAX_INT8_K: usize = i32::MAX as usize / (255 * 127) / 4 * 4;

/// Words at the end of a row of bytes: its step, as the bits of an f32, and its zero point.
const ROW_METADATA_WORDS: usize = 2;

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// "f32", "bf16" or "int8".
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Numbers in a word.
    pub fn elements_per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 4,
        }
    }

    /// Words that hold k numbers.
    pub fn packed_len(self, k: usize) -> usize {
        k.div_ceil(self.elements_per_word())
    }

    /// Words of a token's k activations, with what belongs to them.
    pub fn packed_row_len(self, k: usize) -> usize {
        self.packed_len(k) + if self == Self::Int8 { ROW_METADATA_WORDS } else { 0 }
    }
}

/// The nearest bf16, as the upper half of the bits of an f32; to even between two. NaN stays NaN.
#[inline(always)]
fn to_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    // Adds half of the last place, or just less if that is even already: what is carried over is the rounding.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    if x.is_nan() { bits & 0xffff_0000 | 0x0040_0000 } else { rounded }
}

/// Numbers as words of bf16. One that is missing for the last word is zero.
#[inline(always)]
pub(crate) fn pack_bf16(x: &[f32], words: &mut [u32]) {
    let (pairs, rest) = x.as_chunks::<2>();
    for (word, &[low, high]) in words.iter_mut().zip(pairs) {
        *word = to_bf16(low) >> 16 | to_bf16(high);
    }
    if let (&[low], Some(word)) = (rest, words.get_mut(pairs.len())) {
        *word = to_bf16(low) >> 16;
    }
}

/// Activations `[T, K]` as words `[T, packed_row_len(K)]`.
///
/// # Panics
/// If `words` has another shape, or the precision is f32, which has no words.
pub fn quantize(level: Level, precision: Precision, x: MatRef<'_>, words: MatMut<'_, u32>) {
    assert_eq!((x.rows(), precision.packed_row_len(x.cols())), (words.rows(), words.cols()), "shape of the words");
    match precision {
        Precision::F32 => panic!("f32 is not quantized"),
        Precision::Bf16 => level.enter(RoundRows { x, words }),
        Precision::Int8 => level.enter(QuantizeRows { x, words }),
    }
}

struct RoundRows<'a> {
    x: MatRef<'a>,
    words: MatMut<'a, u32>,
}

impl Operator for RoundRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        for i in 0..self.x.rows() {
            pack_bf16(self.x.row(i), self.words.row_mut(i));
        }
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            pack_bf16(self.x.row(i), self.words.row_mut(i));
        }
    }
}

struct QuantizeRows<'a> {
    x: MatRef<'a>,
    words: MatMut<'a, u32>,
}

impl Operator for QuantizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for i in 0..self.x.rows() {
            let x = self.x.row(i);
            let scale = Scale::of(extremes(s, x));
            let (bytes, tail) = split_tail(self.words.row_mut(i));
            let (per_step, zero) = (s.splat(scale.per_step), s.splat(scale.zero));
            let (blocks, rest) = x.as_chunks::<HADAMARD_BLOCK>();
            let (of_blocks, of_rest) = bytes.split_at_mut(blocks.len() * HADAMARD_BLOCK / 4);
            for (block, words) in blocks.iter().zip(of_blocks.chunks_exact_mut(HADAMARD_BLOCK / 4)) {
                let rotated = hadamard(s, block);
                // By number: iterators over vectors are not always inlined, and then go through memory.
                for (i, words) in words.as_chunks_mut().0.iter_mut().enumerate() {
                    *words = words_of(s.to_u8_lanes(s.add(s.mul(rotated[i], per_step), zero)));
                }
            }
            scale.quantize_rest(rest, of_rest);
            *tail = scale.tail();
        }
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            let x = self.x.row(i);
            let mut rotated = x.to_vec();
            let (blocks, rest) = rotated.as_chunks_mut();
            blocks.iter_mut().for_each(hadamard_scalar);
            rest.iter_mut().for_each(|x| *x *= REMAINDER_GAIN);
            let (least, largest) = rotated.iter().fold((0.0_f32, 0.0_f32), |(a, b), &x| (a.min(x), b.max(x)));
            let poison = rotated.iter().map(|x| x * 0.0).sum::<f32>();
            let scale = Scale::of((least + poison, largest));
            let (bytes, tail) = split_tail(self.words.row_mut(i));
            rotated.iter_mut().for_each(|x| *x = *x * scale.per_step + scale.zero);
            for (word, four) in bytes.iter_mut().zip(rotated.chunks(4)) {
                *word = four.iter().rev().fold(0, |word, &x| word << 8 | u32::from(to_u8(x)));
            }
            *tail = scale.tail();
        }
    }
}

/// Sixteen bytes as words, the first in the low byte.
#[inline(always)]
fn words_of(bytes: [u8; LANES]) -> [u32; LANES / 4] {
    let mut words = [0; LANES / 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// Bytes q of a row: x ≈ step · (q − zero), where 0 stands for the least number and 255 for the largest.
#[derive(Clone, Copy)]
struct Scale {
    step: f32,
    per_step: f32,
    /// A whole number.
    zero: f32,
}

impl Scale {
    /// For numbers between the least and the largest, zero among them. If these are none, the step is none, and so is the
    /// product.
    #[inline(always)]
    fn of((least, largest): (f32, f32)) -> Self {
        // Adding it makes an integer of a number between −2²² and 2²², in the low bits, rounded to even between two.
        const TO_INTEGER: f32 = 12_582_912.0;
        let range = largest - least;
        let (step, per_step) = if range == 0.0 { (0.0, 0.0) } else { (range / 255.0, 255.0 / range) };
        // A range below 10⁻³⁶ has no inverse in f32. Such a row is taken for zero.
        let (step, per_step) = if per_step.is_infinite() { (0.0, 0.0) } else { (step, per_step) };
        Self { step, per_step, zero: (-least * per_step + TO_INTEGER) - TO_INTEGER }
    }

    /// What is left at the end of a row and is not rotated.
    #[inline(always)]
    fn quantize_rest(self, rest: &[f32], words: &mut [u32]) {
        for (word, four) in words.iter_mut().zip(rest.chunks(4)) {
            let byte = |x: f32| u32::from(to_u8(x * REMAINDER_GAIN * self.per_step + self.zero));
            *word = four.iter().rev().fold(0, |word, &x| word << 8 | byte(x));
        }
    }

    /// Step and zero point as words.
    #[inline(always)]
    fn tail(self) -> [u32; ROW_METADATA_WORDS] {
        [self.step.to_bits(), self.zero as u32]
    }
}

/// A row of words: its bytes, and the place of its step and zero point.
#[inline(always)]
fn split_tail(words: &mut [u32]) -> (&mut [u32], &mut [u32; ROW_METADATA_WORDS]) {
    match words.split_last_chunk_mut() {
        Some(parts) => parts,
        None => unreachable!("a row of bytes ends with its step and zero point"),
    }
}

/// Numbers that are rotated together: eight vectors.
const HADAMARD_BLOCK: usize = 8 * LANES;

/// What is left at the end of a row is not rotated. Its activations are doubled, because rotated ones are about √8 times as
/// large and have the same step, and its weights are halved.
const REMAINDER_GAIN: f32 = 2.0;

/// The sums and differences of eight vectors, lane by lane.
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

/// The same, one number at a time.
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

/// The least and the largest number of a row, zero among them, once it is rotated; no numbers, if one of the row's is not
/// finite.
#[inline(always)]
fn extremes<S: Simd>(s: S, x: &[f32]) -> (f32, f32) {
    let zero = s.splat(0.0);
    // `poison` is Σ v · 0: zero, or not a number. (The larger of a number and NaN may be the number.)
    let (mut least, mut largest, mut poison) = (zero, zero, zero);
    let (blocks, rest) = x.as_chunks::<HADAMARD_BLOCK>();
    for block in blocks {
        for v in hadamard(s, block) {
            least = s.max(least, s.sub(zero, v));
            largest = s.max(largest, v);
            poison = s.mul_add(v, zero, poison);
        }
    }
    for part in rest.chunks(LANES) {
        let v = s.mul(s.load_partial(part, 0.0), s.splat(REMAINDER_GAIN));
        least = s.max(least, s.sub(zero, v));
        largest = s.max(largest, v);
        poison = s.mul_add(v, zero, poison);
    }
    (s.sum(poison) - s.max_lane(least), s.max_lane(largest))
}

/// A row of words: its step and its zero point.
#[inline(always)]
pub(crate) fn scale_and_zero_point(words: &[u32]) -> (f32, i32) {
    match words {
        [.., step, zero] => (f32::from_bits(*step), zero.cast_signed()),
        _ => unreachable!("a row of bytes ends with its step and zero point"),
    }
}

/// A row of weights as words, which are moved about as f32 (see [`crate::gemm::PackedLayout::quantized_panels`]). With bytes: their scale, which
/// makes the largest of them ±127, and their sum.
pub fn quantize_weights(level: Level, precision: Precision, weights: &[f32], words: &mut [f32]) -> (f32, i32) {
    let words: &mut [u32] = wide::bytemuck::cast_slice_mut(words);
    assert_eq!(words.len(), precision.packed_len(weights.len()), "words of a row of weights");
    level.enter(QuantizeWeights { precision, weights, words })
}

struct QuantizeWeights<'a> {
    precision: Precision,
    weights: &'a [f32],
    words: &'a mut [u32],
}

impl Operator for QuantizeWeights<'_> {
    type Output = (f32, i32);

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> (f32, i32) {
        quantize_weights_scalar(self.precision, self.weights, self.words)
    }

    fn reference(self) -> (f32, i32) {
        quantize_weights_scalar(self.precision, self.weights, self.words)
    }
}

/// Loops that the compiler turns to whatever vectors the level has.
#[inline(always)]
fn quantize_weights_scalar(precision: Precision, weights: &[f32], words: &mut [u32]) -> (f32, i32) {
    match precision {
        Precision::F32 => words.iter_mut().zip(weights).for_each(|(word, x)| *word = x.to_bits()),
        Precision::Bf16 => pack_bf16(weights, words),
        Precision::Int8 => {
            let mut weights = weights.to_vec();
            let (blocks, rest) = weights.as_chunks_mut();
            for block in blocks {
                hadamard_scalar(block);
                // The activations are rotated too, and both together make all products eight times as large.
                block.iter_mut().for_each(|x| *x *= 0.125);
            }
            rest.iter_mut().for_each(|x| *x /= REMAINDER_GAIN);
            let largest = weights.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            let per_step = 127.0 / largest;
            // Weights below 10⁻³⁶ have no inverse in f32. Such a row is taken for zero.
            let (scale, per_step) = if per_step.is_finite() { (largest / 127.0, per_step) } else { (0.0, 0.0) };
            weights.resize(weights.len().next_multiple_of(4), 0.0);
            // Adding this makes an integer of a number between −2²² and 2²², in the low bits.
            const TO_INTEGER: f32 = 12_582_912.0;
            let byte = |x: f32| (x * per_step + TO_INTEGER).to_bits() & 0xff;
            for (word, &[a, b, c, d]) in words.iter_mut().zip(weights.as_chunks::<4>().0) {
                *word = byte(a) | byte(b) << 8 | byte(c) << 16 | byte(d) << 24;
            }
            let sum = words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| i32::from(byte.cast_signed())).sum();
            return (scale, sum);
        }
    }
    (1.0, 0)
}
