//! Reductions: the elements of vectors to one number, and many rows to one row.

use crate::dot_kernel::DotKernels;
use crate::level::{Level, Operator};
use crate::simd::{LANES, NanPoison, Simd};
use crate::view::MatRef;

/// A sum over the elements of one or two vectors.
pub(crate) trait Accumulate: Copy {
    /// Adds the terms of sixteen more elements to `sum`.
    fn step<S: Simd>(self, s: S, sum: S::F, a: S::F, b: S::F) -> S::F;
    /// Returns the element whose term is zero, for the lanes after the end.
    fn padding(self) -> f32;
}

/// Sums over both slices, which have the same length.
///
/// Four partial vectors alternate, for speed (additions wait for one another) and for accuracy (64
/// short sums err less than one long one). They are added in one fixed order, so the bits depend on
/// the elements alone.
#[inline(always)]
pub(crate) fn fold<S: Simd, A: Accumulate>(s: S, accumulate: A, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [s.splat(0.0); 4];
    let whole = a.len() / (4 * LANES) * (4 * LANES);
    let mut at = 0;
    while at < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let from = at + lane * LANES;
            *sum = accumulate.step(s, *sum, s.load(&a[from..]), s.load(&b[from..]));
        }
        at += 4 * LANES;
    }
    let mut partial = 0;
    while at < a.len() {
        let end = (at + LANES).min(a.len());
        let fill = accumulate.padding();
        let x = s.load_partial(&a[at..end], fill);
        let y = s.load_partial(&b[at..end], fill);
        sums[partial] = accumulate.step(s, sums[partial], x, y);
        at = end;
        partial += 1;
    }
    s.sum(s.add(s.add(sums[0], sums[2]), s.add(sums[1], sums[3])))
}

/// The weight of each row in a sum of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RowWeights {
    /// Every row has weight 1.
    Uniform,
    /// The first row has this weight, and each later row 1 more than the row before.
    Linear(f32),
}

/// Computes y `[D]` = the mean over the rows of x `[L, D]`.
///
/// # Panics
/// If x has no rows, or the widths differ.
pub fn mean_over_rows(level: Level, x: MatRef<'_>, y: &mut [f32]) {
    assert!(x.rows() > 0, "mean of rows: expected at least 1 row, found 0");
    sum_over_rows(level, x, RowWeights::Uniform, x.rows() as f32, y);
}

/// Computes y `[D]` = Σ_i weight_i x\[i\] / divisor, over the rows of x `[L, D]`. Without rows it
/// is 0 / divisor.
///
/// Sixteen rows at a time are added to a partial sum, and then the partial sums, so that the
/// rounding error of a long text stays near that of a short one.
///
/// # Panics
/// If the widths differ.
pub fn sum_over_rows(level: Level, x: MatRef<'_>, weights: RowWeights, divisor: f32, y: &mut [f32]) {
    assert_eq!(x.cols(), y.len(), "sum of rows: width of x (left) and of y (right)");
    level.call(SumOverRows { x, weights, divisor, y });
}

/// Computes y `[D]` = the maximum over the rows of x `[L, D]`; NaN if an element of the column is
/// not finite.
///
/// # Panics
/// If x has no rows, or the widths differ.
pub fn max_over_rows(level: Level, x: MatRef<'_>, y: &mut [f32]) {
    assert!(x.rows() > 0, "maximum of rows: expected at least 1 row, found 0");
    assert_eq!(x.cols(), y.len(), "maximum of rows: width of x (left) and of y (right)");
    level.call(MaxOverRows { x, y });
}

struct SumOverRows<'a> {
    x: MatRef<'a>,
    weights: RowWeights,
    divisor: f32,
    y: &'a mut [f32],
}

impl Operator for SumOverRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, _: D) {
        const ROWS_PER_PARTIAL_SUM: usize = 16;
        let Self { x, weights, divisor, y } = self;
        let divisor = s.splat(divisor);
        let mut at = 0;
        while at < y.len() {
            let end = (at + LANES).min(y.len());
            let mut total = s.splat(0.0);
            let mut first = 0;
            while first < x.rows() {
                let last = (first + ROWS_PER_PARTIAL_SUM).min(x.rows());
                let mut block = s.splat(0.0);
                for i in first..last {
                    let row = s.load_partial(&x.row(i)[at..end], 0.0);
                    block = match weights {
                        RowWeights::Uniform => s.add(block, row),
                        RowWeights::Linear(first) => s.mul_add(row, s.splat(first + i as f32), block),
                    };
                }
                total = s.add(total, block);
                first = last;
            }
            s.store_partial(&mut y[at..end], s.div(total, divisor));
            at = end;
        }
    }

    fn reference(self) {
        let weight = |i: usize| match self.weights {
            RowWeights::Uniform => 1.0,
            RowWeights::Linear(first) => f64::from(first) + i as f64,
        };
        crate::reference::sum_over_rows(self.x, weight, self.divisor, self.y);
    }
}

struct MaxOverRows<'a> {
    x: MatRef<'a>,
    y: &'a mut [f32],
}

impl Operator for MaxOverRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, _: D) {
        let Self { x, y } = self;
        let mut at = 0;
        while at < y.len() {
            let end = (at + LANES).min(y.len());
            let mut max = s.splat(f32::NEG_INFINITY);
            let mut poison = NanPoison::new(s);
            for i in 0..x.rows() {
                let row = s.load_partial(&x.row(i)[at..end], 0.0);
                max = s.max(max, row);
                poison.accumulate(s, row);
            }
            s.store_partial(&mut y[at..end], s.add(max, poison.value()));
            at = end;
        }
    }

    fn reference(self) {
        crate::reference::max_over_rows(self.x, self.y);
    }
}
