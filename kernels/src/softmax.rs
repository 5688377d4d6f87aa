//! Softmax over a row of attention scores.

use crate::level::{Level, Operator};
use crate::simd::{LANES, Simd};
use crate::view::MatMut;

/// What is done to the scores of a row before the softmax.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// Factor of every score: 1/√d in attention.
    pub scale: f32,
    /// What is added after scaling. Element j of row i is `bias[start - i + j]`, so that a bias which depends on j − i
    /// alone needs one vector. Empty for none.
    pub bias: &'a [f32],
    /// Where row 0 starts in `bias`.
    pub start: usize,
}

/// Turns each row of scores into probabilities: p_j = exp(s_j − max s) / Σ exp(s − max s), s = scale · x + bias.
///
/// Only the first `len` columns are scores. The rest, which pad a row to whole vectors, become 0.
///
/// Exact two-pass softmax, as in the reference implementations: the maximum first, then exp and the sum, then one
/// division per row. No online rescaling, because a row is at most 512 numbers and stays in the first-level cache.
///
/// # Panics
/// If `len` exceeds the columns, or `bias` does not reach over all rows.
pub fn softmax(level: Level, x: MatMut<'_>, len: usize, scores: Scores<'_>) {
    assert!(len <= x.cols(), "softmax over {len} of {} columns", x.cols());
    if !scores.bias.is_empty() {
        let rows = x.rows();
        assert!(
            rows <= scores.start + 1 && scores.start + len <= scores.bias.len(),
            "the bias does not reach over the rows"
        );
    }
    level.enter(Softmax { x, len, scores });
}

struct Softmax<'a> {
    x: MatMut<'a>,
    len: usize,
    scores: Scores<'a>,
}

impl Operator for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for i in 0..self.x.rows() {
            let bias = row_bias(&self.scores, i, self.len);
            softmax_row(s, self.x.row_mut(i), self.len, self.scores.scale, bias);
        }
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            let bias = row_bias(&self.scores, i, self.len);
            crate::reference::softmax(self.x.row_mut(i), self.len, self.scores.scale, bias);
        }
    }
}

/// The bias of row i, if there is one.
#[inline(always)]
fn row_bias<'a>(scores: &Scores<'a>, i: usize, len: usize) -> Option<&'a [f32]> {
    (!scores.bias.is_empty()).then(|| &scores.bias[scores.start - i..][..len])
}

#[inline(always)]
fn softmax_row<S: Simd>(s: S, row: &mut [f32], len: usize, scale: f32, bias: Option<&[f32]>) {
    let (scores, padding) = row.split_at_mut(len);
    for x in padding {
        *x = 0.0;
    }
    // Lanes beyond the row count as minus infinity: never the maximum, and nothing in the sum.
    let mut max = s.splat(f32::NEG_INFINITY);
    let scale = s.splat(scale);
    let mut at = 0;
    while at < len {
        let n = LANES.min(len - at);
        let x = s.load_first(&scores[at..at + n], f32::NEG_INFINITY);
        let x = match bias {
            Some(bias) => s.mul_add(x, scale, s.load_first(&bias[at..at + n], 0.0)),
            None => s.mul(x, scale),
        };
        s.store_first(&mut scores[at..at + n], x);
        max = s.max(max, x);
        at += n;
    }
    let max = s.splat(s.max_lane(max));
    let mut sum = s.splat(0.0);
    at = 0;
    while at < len {
        let n = LANES.min(len - at);
        let x = s.load_first(&scores[at..at + n], f32::NEG_INFINITY);
        let e = crate::math::exp_nonpositive(s, s.sub(x, max));
        s.store_first(&mut scores[at..at + n], e);
        sum = s.add(sum, e);
        at += n;
    }
    let factor = s.splat(1.0 / s.sum(sum));
    at = 0;
    while at < len {
        let n = LANES.min(len - at);
        let e = s.load_first(&scores[at..at + n], 0.0);
        s.store_first(&mut scores[at..at + n], s.mul(e, factor));
        at += n;
    }
}
