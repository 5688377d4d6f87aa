//! Softmax over rows of attention scores.

use crate::dot_kernel::DotKernels;
use crate::level::{Level, Operator};
use crate::simd::{LANES, Simd};
use crate::view::MatMut;

/// How raw scores x are changed before the softmax: s = scale · x + bias.
#[derive(Clone, Copy, Debug)]
pub struct ScoreTransform<'a> {
    /// The factor of every score: 1/√d in attention.
    pub scale: f32,
    /// The bias that is added after scaling; empty for none. Element j of row i is
    /// `bias[start - i + j]`, so a bias that depends on j − i alone needs one vector.
    pub bias: &'a [f32],
    /// The offset in `bias` of element 0 of row 0.
    pub start: usize,
}

/// Turns each row of scores x `[rows, columns]` into probabilities: p_j = exp(s_j − max s) /
/// Σ exp(s − max s), s = scale · x + bias.
///
/// Only the first `len` columns are scores. The rest, which pad a row to whole vectors, become 0.
///
/// This is the exact softmax, as in transformers: the maximum first, then exp and the sum, then one
/// division per row. No online rescaling, because a row has about 512 elements in the supported
/// models and stays in the first-level cache.
///
/// # Panics
/// If `len` exceeds the columns, or `bias` does not cover all rows.
pub fn softmax(level: Level, x: MatMut<'_>, len: usize, transform: ScoreTransform<'_>) {
    assert!(len <= x.cols(), "softmax: scores in a row: expected at most {}, found {len}", x.cols());
    if !transform.bias.is_empty() {
        assert!(
            x.rows() <= transform.start + 1 && transform.start + len <= transform.bias.len(),
            "softmax: a bias of {} elements that starts at {} does not cover {} rows of {len} scores",
            transform.bias.len(),
            transform.start,
            x.rows()
        );
    }
    level.call(Softmax { x, len, transform });
}

struct Softmax<'a> {
    x: MatMut<'a>,
    len: usize,
    transform: ScoreTransform<'a>,
}

impl Operator for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(mut self, s: S, _: D) {
        for i in 0..self.x.rows() {
            let bias = row_bias(&self.transform, i);
            softmax_row(s, self.x.row_mut(i), self.len, self.transform.scale, bias);
        }
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            let bias = row_bias(&self.transform, i).map(|bias| &bias[..self.len]);
            crate::reference::softmax(self.x.row_mut(i), self.len, self.transform.scale, bias);
        }
    }
}

/// Returns the bias of row i from its first column on; None without a bias.
#[inline(always)]
fn row_bias<'a>(transform: &ScoreTransform<'a>, i: usize) -> Option<&'a [f32]> {
    (!transform.bias.is_empty()).then(|| &transform.bias[transform.start - i..])
}

#[inline(always)]
fn softmax_row<S: Simd>(s: S, row: &mut [f32], len: usize, scale: f32, bias: Option<&[f32]>) {
    // Lanes after the scores are minus infinity: never the maximum, and 0 in the sum.
    let mut max = s.splat(f32::NEG_INFINITY);
    let scale = s.splat(scale);
    for at in (0..len).step_by(LANES) {
        let x = load(s, row, at, len, f32::NEG_INFINITY);
        let x = match bias {
            Some(bias) => s.mul_add(x, scale, load(s, bias, at, len, 0.0)),
            None => s.mul(x, scale),
        };
        store(s, row, at, x);
        max = s.max(max, x);
    }
    let max = s.splat(s.max_lane(max));
    let mut sum = s.splat(0.0);
    for at in (0..len).step_by(LANES) {
        let x = load(s, row, at, len, f32::NEG_INFINITY);
        let e = crate::math::exp_nonpositive_lanes(s, s.sub(x, max));
        store(s, row, at, e);
        sum = s.add(sum, e);
    }
    let factor = s.splat(1.0 / s.sum(sum));
    for at in (0..len).step_by(LANES) {
        let e = load(s, row, at, len, 0.0);
        // Masked again after the product, because the factor may be NaN.
        store(s, row, at, mask(s, s.mul(e, factor), at, len, 0.0));
    }
    let rest = len.next_multiple_of(LANES).min(row.len());
    row[rest..].fill(0.0);
}

/// Loads the vector of a row from `at` on, with `fill` in the lanes from `len` on.
///
/// If the row has room for a whole vector, the vector is loaded and the lanes from `len` on are
/// masked. Part of a vector would have to go through memory, which takes longer than the rest of a
/// short row.
#[inline(always)]
fn load<S: Simd>(s: S, row: &[f32], at: usize, len: usize, fill: f32) -> S::F {
    match row.get(at..at + LANES) {
        Some(lanes) => mask(s, s.load(lanes), at, len, fill),
        None => s.load_partial(&row[at..len], fill),
    }
}

/// Replaces the lanes from column `len` on by `fill`, in a vector that starts at column `at`.
#[inline(always)]
fn mask<S: Simd>(s: S, v: S::F, at: usize, len: usize, fill: f32) -> S::F {
    const LANE_INDICES: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    if at + LANES <= len {
        return v;
    }
    s.select_lt(s.load_array(&LANE_INDICES), s.splat((len - at) as f32), v, s.splat(fill))
}

/// Stores a vector to a row from `at` on, up to the end of the row.
#[inline(always)]
fn store<S: Simd>(s: S, row: &mut [f32], at: usize, v: S::F) {
    match row.get_mut(at..at + LANES) {
        Some(lanes) => s.store(lanes, v),
        None => s.store_partial(&mut row[at..], v),
    }
}
