//! Softmax over rows of attention scores: positive numbers with the sum 1, in the ratios of exp(s)
//! (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>, §3.2.1).

use std::ops::Range;

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
/// Only the columns `visible(i)` of row i are scores. The others become 0: keys outside the window
/// of a query, and the columns that pad a row to whole vectors.
///
/// This is the exact softmax, as in transformers: the maximum first, then exp and the sum, then one
/// division per row. No online rescaling, because the rows of a block stay in the caches even for
/// the longest texts.
///
/// The bits of a row depend on its visible scores and on their columns modulo sixteen, not on how
/// many other columns there are.
///
/// # Panics
/// If `visible` of a row exceeds the columns, or `bias` does not cover the rows.
pub fn softmax(
    level: Level,
    x: MatMut<'_>,
    visible: impl Fn(usize) -> Range<usize> + Copy,
    transform: ScoreTransform<'_>,
) {
    for i in 0..x.rows() {
        let Range { start, end } = visible(i);
        assert!(
            start <= end && end <= x.cols(),
            "softmax: scores of row {i}: expected a part of 0..{}, found {start}..{end}",
            x.cols()
        );
        assert!(
            transform.bias.is_empty() || (i <= transform.start && transform.start - i + end <= transform.bias.len()),
            "softmax: a bias of {} elements that starts at {} does not cover {end} scores of row {i}",
            transform.bias.len(),
            transform.start,
        );
    }
    level.call(Softmax { x, visible, transform });
}

struct Softmax<'a, V> {
    x: MatMut<'a>,
    visible: V,
    transform: ScoreTransform<'a>,
}

impl<V: Fn(usize) -> Range<usize>> Operator for Softmax<'_, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(mut self, s: S, _: D) {
        for i in 0..self.x.rows() {
            let bias = row_bias(&self.transform, i);
            softmax_row(s, self.x.row_mut(i), (self.visible)(i), self.transform.scale, bias);
        }
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            let visible = (self.visible)(i);
            let bias = row_bias(&self.transform, i).map(|bias| &bias[visible.clone()]);
            crate::reference::softmax(self.x.row_mut(i), visible, self.transform.scale, bias);
        }
    }
}

/// Returns the bias of row i from its first column on; None without a bias.
#[inline(always)]
fn row_bias<'a>(transform: &ScoreTransform<'a>, i: usize) -> Option<&'a [f32]> {
    (!transform.bias.is_empty()).then(|| &transform.bias[transform.start - i..])
}

#[inline(always)]
fn softmax_row<S: Simd>(s: S, row: &mut [f32], visible: Range<usize>, scale: f32, bias: Option<&[f32]>) {
    // Vectors start at multiples of sixteen, so that a score is in the same lane whatever precedes
    // the visible ones. Other lanes are minus infinity: never the maximum, and 0 in the sum.
    let first = visible.start / LANES * LANES;
    let end = visible.end;
    let mut max = s.splat(f32::NEG_INFINITY);
    let scale = s.splat(scale);
    for at in (first..end).step_by(LANES) {
        let x = load(s, row, at, &visible, f32::NEG_INFINITY);
        let x = match bias {
            Some(bias) => s.mul_add(x, scale, load(s, bias, at, &visible, 0.0)),
            None => s.mul(x, scale),
        };
        store(s, row, at, x);
        max = s.max(max, x);
    }
    let max = s.splat(s.max_lane(max));
    let mut sum = s.splat(0.0);
    for at in (first..end).step_by(LANES) {
        let x = load(s, row, at, &visible, f32::NEG_INFINITY);
        let e = crate::math::exp_nonpositive_lanes(s, s.sub(x, max));
        store(s, row, at, e);
        sum = s.add(sum, e);
    }
    let factor = s.splat(1.0 / s.sum(sum));
    for at in (first..end).step_by(LANES) {
        let e = load(s, row, at, &visible, 0.0);
        // Masked again after the product, because the factor may be NaN.
        store(s, row, at, mask(s, s.mul(e, factor), at, &visible, 0.0));
    }
    row[..first].fill(0.0);
    let rest = end.next_multiple_of(LANES).min(row.len());
    row[rest..].fill(0.0);
}

/// Loads the vector of a row from `at` on, with `fill` in the lanes that are not visible.
///
/// If the row has room for a whole vector, the vector is loaded and the other lanes are masked.
/// Part of a vector would have to go through memory, which takes longer than the rest of a short
/// row.
#[inline(always)]
fn load<S: Simd>(s: S, row: &[f32], at: usize, visible: &Range<usize>, fill: f32) -> S::F {
    let lanes = match row.get(at..at + LANES) {
        Some(lanes) => s.load(lanes),
        None => s.load_partial(&row[at..visible.end], fill),
    };
    mask(s, lanes, at, visible, fill)
}

/// Replaces the lanes outside of the visible columns by `fill`, in a vector that starts at column
/// `at`.
#[inline(always)]
fn mask<S: Simd>(s: S, v: S::F, at: usize, visible: &Range<usize>, fill: f32) -> S::F {
    const LANE_INDICES: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    let mut v = v;
    if at + LANES > visible.end {
        v = s.select_lt(s.load_array(&LANE_INDICES), s.splat((visible.end - at) as f32), v, s.splat(fill));
    }
    if at < visible.start {
        v = s.select_lt(s.load_array(&LANE_INDICES), s.splat((visible.start - at) as f32), s.splat(fill), v);
    }
    v
}

/// Stores a vector to a row from `at` on, up to the end of the row.
#[inline(always)]
fn store<S: Simd>(s: S, row: &mut [f32], at: usize, v: S::F) {
    match row.get_mut(at..at + LANES) {
        Some(lanes) => s.store(lanes, v),
        None => s.store_partial(&mut row[at..], v),
    }
}
