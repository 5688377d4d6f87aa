//! Element-wise sums and quotients of vectors.

use crate::dot_kernel::DotKernels;
use crate::level::{Level, Operator};
use crate::simd::{LANES, Simd};

/// Divides each element of x `[D]` by `divisor`.
pub fn divide(level: Level, x: &mut [f32], divisor: f32) {
    level.call(Divide { x, divisor });
}

/// Computes y = a + b, or y = (a + b) + c, all of one length `[D]`.
///
/// # Panics
/// If the lengths differ.
pub fn add(level: Level, a: &[f32], b: &[f32], c: Option<&[f32]>, y: &mut [f32]) {
    assert_eq!((a.len(), b.len()), (y.len(), y.len()), "add: lengths of a and b (left) and of y (right)");
    if let Some(c) = c {
        assert_eq!(c.len(), y.len(), "add: length of c (left) and of y (right)");
    }
    level.call(Add { a, b, c, y });
}

struct Divide<'a> {
    x: &'a mut [f32],
    divisor: f32,
}

impl Operator for Divide<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, _: D) {
        for part in self.x.chunks_mut(LANES) {
            let v = s.div(s.load_partial(part, 0.0), s.splat(self.divisor));
            s.store_partial(part, v);
        }
    }

    fn reference(self) {
        for x in self.x {
            *x /= self.divisor;
        }
    }
}

struct Add<'a> {
    a: &'a [f32],
    b: &'a [f32],
    c: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Operator for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, _: D) {
        let Self { a, b, c, y } = self;
        let mut at = 0;
        while at < y.len() {
            let end = (at + LANES).min(y.len());
            let mut v = s.add(s.load_partial(&a[at..end], 0.0), s.load_partial(&b[at..end], 0.0));
            if let Some(c) = c {
                v = s.add(v, s.load_partial(&c[at..end], 0.0));
            }
            s.store_partial(&mut y[at..end], v);
            at = end;
        }
    }

    fn reference(self) {
        for (i, y) in self.y.iter_mut().enumerate() {
            let c = self.c.map_or(0.0, |c| f64::from(c[i]));
            *y = (f64::from(self.a[i]) + f64::from(self.b[i]) + c) as f32;
        }
    }
}
