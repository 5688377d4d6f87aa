//! Dot products and distances of two vectors.

use crate::dot_kernel::DotKernels;
use crate::level::{Level, Operator};
use crate::reduce::{Accumulate, fold};
use crate::simd::Simd;

/// Defines a sum over two vectors: its documentation, its name, one step on lanes, and the same
/// term in f64.
macro_rules! sum_of_two {
    (
        $(#[$doc:meta])*
        $name:ident, $operator:ident,
        |$s:ident, $sum:ident, $a:ident, $b:ident| $step:expr,
        |$x:ident, $y:ident| $term:expr
    ) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// If the lengths differ.
        pub fn $name(level: Level, a: &[f32], b: &[f32]) -> f32 {
            assert_eq!(a.len(), b.len(), concat!(stringify!($name), ": lengths of the vectors"));
            level.call($operator(a, b))
        }

        #[derive(Clone, Copy)]
        struct $operator<'a>(&'a [f32], &'a [f32]);

        impl Accumulate for $operator<'_> {
            #[inline(always)]
            fn step<S: Simd>(self, $s: S, $sum: S::F, $a: S::F, $b: S::F) -> S::F {
                $step
            }
            fn padding(self) -> f32 {
                0.0
            }
        }

        impl Operator for $operator<'_> {
            type Output = f32;
            #[inline(always)]
            fn run<S: Simd, D: DotKernels<S>>(self, s: S, _: D) -> f32 {
                fold(s, self, self.0, self.1)
            }
            fn reference(self) -> f32 {
                crate::reference::sum_of_two(self.0, self.1, |$x, $y| $term)
            }
        }
    };
}

sum_of_two!(
    /// Returns the dot product Σ a·b.
    dot, Dot,
    |s, sum, a, b| s.mul_add(a, b, sum),
    |x, y| x * y
);

sum_of_two!(
    /// Returns the squared Euclidean distance Σ (a − b)².
    squared_distance, SquaredDistance,
    |s, sum, a, b| {
        let d = s.sub(a, b);
        s.mul_add(d, d, sum)
    },
    |x, y| (x - y) * (x - y)
);

sum_of_two!(
    /// Returns the Manhattan distance Σ |a − b|.
    manhattan_distance, ManhattanDistance,
    |s, sum, a, b| s.add(sum, s.abs(s.sub(a, b))),
    |x, y| (x - y).abs()
);
