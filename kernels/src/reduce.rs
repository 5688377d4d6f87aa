//! Many rows to one: means, sums and the largest of each column.
//!
//! Rows are added in blocks of sixteen and then the blocks, so that the rounding error of a long text stays near that of a
//! short one.

use crate::level::{Level, Operator};
use crate::simd::{LANES, Simd};
use crate::view::MatRef;

/// How much each row counts in a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowWeights {
    /// Once.
    Uniform,
    /// The first of them so many times, the next once more, and so on.
    Linear(f32),
}

/// The mean of the rows of x `[L, D]`, to y `[D]`.
///
/// # Panics
/// If x has no rows, or the widths differ.
pub fn mean_of_rows(level: Level, x: MatRef<'_>, y: &mut [f32]) {
    assert!(x.rows() > 0, "the mean of no rows");
    sum_of_rows(level, x, RowWeights::Uniform, x.rows() as f32, y);
}

/// y `[D]` = Σ_i count_i x\[i\] / by, over the rows of x `[L, D]`. Of no rows it is 0 / by.
///
/// # Panics
/// If the widths differ.
pub fn sum_of_rows(level: Level, x: MatRef<'_>, count: RowWeights, by: f32, y: &mut [f32]) {
    assert_eq!(x.cols(), y.len(), "the sum of rows has their width");
    level.enter(SumOfRows { x, count, by, y });
}

/// The largest number of each column of x `[L, D]`, to y `[D]`; NaN if one of the column's is not finite.
///
/// # Panics
/// If x has no rows, or the widths differ.
pub fn max_of_rows(level: Level, x: MatRef<'_>, y: &mut [f32]) {
    assert!(x.rows() > 0, "the largest of no rows");
    assert_eq!(x.cols(), y.len(), "the largest of rows has their width");
    level.enter(MaxOfRows { x, y });
}

struct SumOfRows<'a> {
    x: MatRef<'a>,
    count: RowWeights,
    by: f32,
    y: &'a mut [f32],
}

impl Operator for SumOfRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        const BLOCK: usize = 16;
        let Self { x, count, by, y } = self;
        let by = s.splat(by);
        let mut at = 0;
        while at < y.len() {
            let end = (at + LANES).min(y.len());
            let mut total = s.splat(0.0);
            let mut first = 0;
            while first < x.rows() {
                let last = (first + BLOCK).min(x.rows());
                let mut block = s.splat(0.0);
                for i in first..last {
                    let row = s.load_partial(&x.row(i)[at..end], 0.0);
                    block = match count {
                        RowWeights::Uniform => s.add(block, row),
                        RowWeights::Linear(first) => s.mul_add(row, s.splat(first + i as f32), block),
                    };
                }
                total = s.add(total, block);
                first = last;
            }
            s.store_partial(&mut y[at..end], s.div(total, by));
            at = end;
        }
    }

    fn reference(self) {
        crate::reference::sum_of_rows(self.x, self.count, self.by, self.y);
    }
}

struct MaxOfRows<'a> {
    x: MatRef<'a>,
    y: &'a mut [f32],
}

impl Operator for MaxOfRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, y } = self;
        let zero = s.splat(0.0);
        let mut at = 0;
        while at < y.len() {
            let end = (at + LANES).min(y.len());
            // `poison` is Σ v · 0: zero, or not a number. (The larger of a number and NaN may be the number.)
            let (mut largest, mut poison) = (s.splat(f32::NEG_INFINITY), zero);
            for i in 0..x.rows() {
                let row = s.load_partial(&x.row(i)[at..end], 0.0);
                largest = s.max(largest, row);
                poison = s.mul_add(row, zero, poison);
            }
            s.store_partial(&mut y[at..end], s.add(largest, poison));
            at = end;
        }
    }

    fn reference(self) {
        crate::reference::max_of_rows(self.x, self.y);
    }
}
