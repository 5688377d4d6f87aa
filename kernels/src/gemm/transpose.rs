//! Transposition of a matrix into the rows of a panel.

use crate::dot_kernel::DotKernels;
use crate::level::{Level, Operator};
use crate::simd::{LANES, Simd};
use crate::view::MatRef;

/// Writes a matrix `[N, K]` as K rows of `width` elements: `to[k · width + n] = from[n][k]`, and
/// zero for n from N on.
pub(super) fn transpose(level: Level, from: MatRef<'_>, to: &mut [f32], width: usize) {
    assert!(from.rows() <= width, "transpose: rows: expected at most {width}, found {}", from.rows());
    assert_eq!(to.len(), from.cols() * width, "transpose: length of the panel (left), of its rows (right)");
    level.call(Transpose { from, to, width });
}

struct Transpose<'a> {
    from: MatRef<'a>,
    to: &'a mut [f32],
    width: usize,
}

impl Operator for Transpose<'_> {
    type Output = ();

    /// Works by blocks of sixteen by sixteen.
    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, _: D) {
        let Self { from, to, width } = self;
        for n in (0..width).step_by(LANES) {
            for k in (0..from.cols()).step_by(LANES) {
                let end = (k + LANES).min(from.cols());
                let mut rows = [s.splat(0.0); LANES];
                for (row, i) in rows.iter_mut().zip(n..from.rows()) {
                    *row = s.load_partial(&from.row(i)[k..end], 0.0);
                }
                let columns = s.transpose(rows);
                for (&column, k) in columns.iter().zip(k..end) {
                    s.store(&mut to[k * width + n..], column);
                }
            }
        }
    }

    fn reference(self) {
        for (k, to) in self.to.chunks_exact_mut(self.width).enumerate() {
            for (n, to) in to.iter_mut().enumerate() {
                *to = if n < self.from.rows() { self.from.row(n)[k] } else { 0.0 };
            }
        }
    }
}
