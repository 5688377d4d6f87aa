//! Rotary positions (Su et al. 2021, <https://arxiv.org/abs/2104.09864>): a query or key of d
//! elements is d/2 vectors in the plane, and each is rotated by an angle that grows with the
//! position of its token. The product of a query and a key then depends on their distance alone.

use crate::dot_kernel::DotKernels;
use crate::level::{Level, Operator};
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};

/// Rotates each row of x `[rows, d]`: the pair (x\[j\], x\[j + d/2\]) by the angle whose cosine and
/// sine are element j of the same row of `cos` and `sin` `[rows, d/2]`.
///
/// ```text
/// y[j]       = x[j] · cos[j] − x[j + d/2] · sin[j]
/// y[j + d/2] = x[j + d/2] · cos[j] + x[j] · sin[j]
/// ```
///
/// The pairs are halves apart, as in transformers, and not neighbours, as in the paper: the same
/// function with the elements of a head in another order.
///
/// # Panics
/// If the shapes do not match, or d is odd.
pub fn rotate(level: Level, x: MatRef<'_>, cos: MatRef<'_>, sin: MatRef<'_>, y: MatMut<'_>) {
    let shape = (x.rows(), x.cols());
    assert_eq!(shape, (y.rows(), y.cols()), "rotate: shape of x (left) and of y (right)");
    assert_eq!(shape, (cos.rows(), 2 * cos.cols()), "rotate: shape of x (left), rows of cos and twice its columns");
    assert_eq!(shape, (sin.rows(), 2 * sin.cols()), "rotate: shape of x (left), rows of sin and twice its columns");
    level.call(Rotate { x, cos, sin, y });
}

struct Rotate<'a> {
    x: MatRef<'a>,
    cos: MatRef<'a>,
    sin: MatRef<'a>,
    y: MatMut<'a>,
}

impl Operator for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(mut self, s: S, _: D) {
        let half = self.x.cols() / 2;
        for i in 0..self.x.rows() {
            let (first, second) = self.x.row(i).split_at(half);
            let (cos, sin) = (self.cos.row(i), self.sin.row(i));
            let (y_first, y_second) = self.y.row_mut(i).split_at_mut(half);
            let mut at = 0;
            while at < half {
                let lanes = at..(at + LANES).min(half);
                let [a, b, cos, sin] = [first, second, cos, sin].map(|from| s.load_partial(&from[lanes.clone()], 0.0));
                let minus_b = s.sub(s.splat(0.0), b);
                s.store_partial(&mut y_first[lanes.clone()], s.mul_add(minus_b, sin, s.mul(a, cos)));
                s.store_partial(&mut y_second[lanes.clone()], s.mul_add(a, sin, s.mul(b, cos)));
                at = lanes.end;
            }
        }
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            crate::reference::rotate(self.x.row(i), self.cos.row(i), self.sin.row(i), self.y.row_mut(i));
        }
    }
}
