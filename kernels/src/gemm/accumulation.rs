//! Accumulation: how the accumulators of a tile start, and how they become f32.

use crate::dot_kernel::DotKernel;
use crate::simd::{LANES, Simd};
use crate::view::MatRef;

/// Steps of K that are summed in one run of f32. The runs are then added, in order.
///
/// A sum of n elements errs by about √n roundings. One run over K = 3072 errs by 55 of them; runs
/// of 128, and then 24 runs, by 12, which is less than the error of sentence-transformers. (A step
/// of bf16 is two elements.) Keeping the totals of the runs costs one load, addition and store per
/// accumulator in 128 steps: about 1 %.
pub const F32_K_RUN: usize = 128;

/// The widest panel of any level, in columns.
pub(super) const MAX_PANEL_WIDTH: usize = 32;

/// The most rows in a tile of any level: the largest [`Simd::MR`].
pub(super) const MAX_MR: usize = 12;

/// The parameters of one panel that start the accumulators of its tiles and convert them to f32.
pub(super) trait Accumulation<S: Simd, Dot: DotKernel<S>> {
    /// Steps of K in a run. Exact sums need only one run.
    const K_RUN: usize;

    /// Parameters of the rows of a tile.
    type Rows;

    /// Reads the parameters of the rows of a tile from the packed rows of A.
    fn rows(&self, a: MatRef<'_, Dot::PackedElement>) -> Self::Rows;

    /// Returns the initial accumulators of row r and vector c of a tile.
    fn init(&self, s: S, rows: &Self::Rows, r: usize, c: usize) -> Dot::Accumulator;

    /// Returns zeroed accumulators, which start every run after the first.
    fn zero(&self, s: S) -> Dot::Accumulator;

    /// Converts the sums of a run to f32.
    fn to_f32(&self, s: S, rows: &Self::Rows, sum: Dot::Accumulator, r: usize, c: usize) -> S::F;
}

/// Sums in f32 that start with the bias: f32 and bf16.
pub(super) struct BiasInit {
    bias: [f32; MAX_PANEL_WIDTH],
}

impl BiasInit {
    /// Starts the sums with the bias `[columns]` of a panel's columns, or without one with 0.
    #[inline(always)]
    pub(super) fn new(bias: Option<&[f32]>) -> Self {
        Self { bias: bias.map_or([0.0; MAX_PANEL_WIDTH], |bias| pad_to_panel(bias, 0.0)) }
    }
}

impl<S: Simd, Dot: DotKernel<S, Accumulator = S::F>> Accumulation<S, Dot> for BiasInit {
    const K_RUN: usize = F32_K_RUN;
    type Rows = ();

    #[inline(always)]
    fn rows(&self, _: MatRef<'_, Dot::PackedElement>) {}

    #[inline(always)]
    fn init(&self, s: S, _: &(), _: usize, c: usize) -> S::F {
        s.load(&self.bias[c * LANES..])
    }

    #[inline(always)]
    fn zero(&self, s: S) -> S::F {
        s.splat(0.0)
    }

    #[inline(always)]
    fn to_f32(&self, _: S, _: &(), sum: S::F, _: usize, _: usize) -> S::F {
        sum
    }
}

/// Copies the parameters of a panel's columns `[columns]` to the panel's full width, with `fill`
/// after the last.
#[inline(always)]
pub(super) fn pad_to_panel<T: Copy>(columns: &[T], fill: T) -> [T; MAX_PANEL_WIDTH] {
    let mut padded = [fill; MAX_PANEL_WIDTH];
    padded[..columns.len()].copy_from_slice(columns);
    padded
}
