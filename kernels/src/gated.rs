//! Gated activations (Shazeer 2020, <https://arxiv.org/abs/2002.05202>): one half of a linear
//! layer's outputs scales the other half.

use crate::activation::Activation;
use crate::dot_kernel::DotKernels;
use crate::level::{Level, Operator};
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};

/// Computes y = f(gate) · value for each row of x `[rows, 2·F]`, F gates and then F values, to y
/// `[rows, F]`.
///
/// # Panics
/// If the shapes do not match.
pub fn activate_gated(level: Level, activation: Activation, x: MatRef<'_>, y: MatMut<'_>) {
    assert_eq!(
        (x.rows(), x.cols()),
        (y.rows(), 2 * y.cols()),
        "activate gated: shape of x (left), rows of y and twice its columns"
    );
    level.call(ActivateGated { activation, x, y });
}

struct ActivateGated<'a> {
    activation: Activation,
    x: MatRef<'a>,
    y: MatMut<'a>,
}

impl Operator for ActivateGated<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(mut self, s: S, _: D) {
        let width = self.y.cols();
        for i in 0..self.x.rows() {
            let (gates, values) = self.x.row(i).split_at(width);
            let vectors = gates.chunks(LANES).zip(values.chunks(LANES)).zip(self.y.row_mut(i).chunks_mut(LANES));
            for ((gate, value), y) in vectors {
                let gate = self.activation.lanes(s, s.load_partial(gate, 0.0));
                s.store_partial(y, s.mul(gate, s.load_partial(value, 0.0)));
            }
        }
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            crate::reference::activate_gated(self.activation, self.x.row(i), self.y.row_mut(i));
        }
    }
}
