//! Layer normalization (Ba, Kiros and Hinton 2016, <https://arxiv.org/abs/1607.06450>) and
//! root-mean-square normalization (Zhang and Sennrich 2019, <https://arxiv.org/abs/1910.07467>).

use crate::dot_kernel::DotKernels;
use crate::level::{Level, Operator};
use crate::reduce::{Accumulate, fold};
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};

/// Computes y = (x − mean) / √(variance + epsilon) · weight + bias for each row, with the variance
/// over all D (not D − 1).
///
/// Two passes: the mean first, then the squares of the differences. The one-pass form Σx² − (Σx)²
/// cancels if a row has an outlier, and transformers have them.
///
/// Shapes: `x` and `y` `[T, D]`, `weight` and `bias` `[D]`.
///
/// # Panics
/// If the shapes differ.
pub fn layer_norm(level: Level, x: MatRef<'_>, weight: &[f32], bias: &[f32], epsilon: f32, y: MatMut<'_>) {
    assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()), "layer norm: shape of x (left) and of y (right)");
    let width = x.cols();
    assert_eq!(
        (weight.len(), bias.len()),
        (width, width),
        "layer norm: lengths of weight and bias (left), width of x (right)"
    );
    level.call(LayerNorm { x, weight, bias, epsilon, y });
}

/// Computes y = x / √(mean of x² + epsilon) · weight for each row: a layer norm without mean and
/// bias.
///
/// Shapes: `x` and `y` `[T, D]`, `weight` `[D]`.
///
/// # Panics
/// If the shapes differ.
pub fn rms_norm(level: Level, x: MatRef<'_>, weight: &[f32], epsilon: f32, y: MatMut<'_>) {
    assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()), "rms norm: shape of x (left) and of y (right)");
    assert_eq!(weight.len(), x.cols(), "rms norm: length of weight (left), width of x (right)");
    level.call(RmsNorm { x, weight, epsilon, y });
}

struct LayerNorm<'a> {
    x: MatRef<'a>,
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    y: MatMut<'a>,
}

impl Operator for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(mut self, s: S, _: D) {
        let width = self.x.cols() as f32;
        for i in 0..self.x.rows() {
            let x = self.x.row(i);
            let mean = fold(s, Sum, x, x) / width;
            let variance = fold(s, SquaredDifference { mean }, x, x) / width;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            write_row(s, x, mean, scale, self.weight, self.bias, self.y.row_mut(i));
        }
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            crate::reference::layer_norm(self.x.row(i), self.weight, self.bias, self.epsilon, self.y.row_mut(i));
        }
    }
}

struct RmsNorm<'a> {
    x: MatRef<'a>,
    weight: &'a [f32],
    epsilon: f32,
    y: MatMut<'a>,
}

impl Operator for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(mut self, s: S, _: D) {
        let width = self.x.cols() as f32;
        for i in 0..self.x.rows() {
            let x = self.x.row(i);
            let mean = fold(s, SquaredDifference { mean: 0.0 }, x, x) / width;
            let scale = s.splat(1.0 / (mean + self.epsilon).sqrt());
            let vectors = x.chunks(LANES).zip(self.weight.chunks(LANES)).zip(self.y.row_mut(i).chunks_mut(LANES));
            for ((x, weight), y) in vectors {
                let normalized = s.mul(s.load_partial(x, 0.0), scale);
                s.store_partial(y, s.mul(normalized, s.load_partial(weight, 0.0)));
            }
        }
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            crate::reference::rms_norm(self.x.row(i), self.weight, self.epsilon, self.y.row_mut(i));
        }
    }
}

/// Σ x.
#[derive(Clone, Copy)]
struct Sum;

impl Accumulate for Sum {
    #[inline(always)]
    fn step<S: Simd>(self, s: S, sum: S::F, x: S::F, _: S::F) -> S::F {
        s.add(sum, x)
    }
    fn padding(self) -> f32 {
        0.0
    }
}

/// Σ (x − mean)².
#[derive(Clone, Copy)]
struct SquaredDifference {
    mean: f32,
}

impl Accumulate for SquaredDifference {
    #[inline(always)]
    fn step<S: Simd>(self, s: S, sum: S::F, x: S::F, _: S::F) -> S::F {
        let difference = s.sub(x, s.splat(self.mean));
        s.mul_add(difference, difference, sum)
    }
    fn padding(self) -> f32 {
        self.mean
    }
}

#[inline(always)]
fn write_row<S: Simd>(s: S, x: &[f32], mean: f32, scale: f32, weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let mean = s.splat(mean);
    let scale = s.splat(scale);
    let mut at = 0;
    while at < x.len() {
        let end = (at + LANES).min(x.len());
        let normalized = s.mul(s.sub(s.load_partial(&x[at..end], 0.0), mean), scale);
        let v = s.mul_add(normalized, s.load_partial(&weight[at..end], 0.0), s.load_partial(&bias[at..end], 0.0));
        s.store_partial(&mut y[at..end], v);
        at = end;
    }
}
