//! Sums over vectors (dot products, distances), and scaling.

use crate::level::{Level, Operator};
use crate::simd::{LANES, Simd};

/// A sum over the elements of one or two vectors.
pub(crate) trait Accumulate: Copy {
    /// The sum with one more vector of elements.
    fn step<S: Simd>(self, s: S, sum: S::F, a: S::F, b: S::F) -> S::F;
    /// An element that adds nothing, for the lanes beyond the end.
    fn padding(self) -> f32;
}

/// Σ over both slices, which have the same length.
///
/// Four partial vectors take turns, for speed (additions wait for one another) and for accuracy (64 short sums err less
/// than one long one). They are added in one fixed order, so the bits depend on the elements alone.
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
    let mut turn = 0;
    while at < a.len() {
        let end = (at + LANES).min(a.len());
        let fill = accumulate.padding();
        sums[turn] =
            accumulate.step(s, sums[turn], s.load_partial(&a[at..end], fill), s.load_partial(&b[at..end], fill));
        at = end;
        turn += 1;
    }
    s.sum(s.add(s.add(sums[0], sums[2]), s.add(sums[1], sums[3])))
}

/// Defines a sum over two vectors: its name, its documentation, one step on lanes, and the same in f64.
macro_rules! sum_of_two {
    ($(#[$doc:meta])* $name:ident, $operator:ident, |$s:ident, $sum:ident, $a:ident, $b:ident| $step:expr, |$x:ident, $y:ident| $plain:expr) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// If the lengths differ.
        pub fn $name(level: Level, a: &[f32], b: &[f32]) -> f32 {
            assert_eq!(a.len(), b.len(), "vectors of one length");
            level.enter($operator(a, b))
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
            fn run<S: Simd>(self, s: S) -> f32 {
                fold(s, self, self.0, self.1)
            }
            fn reference(self) -> f32 {
                crate::reference::sum_of_two(self.0, self.1, |$x, $y| $plain)
            }
        }
    };
}

sum_of_two!(
    /// Σ a·b.
    dot, Dot,
    |s, sum, a, b| s.mul_add(a, b, sum),
    |x, y| x * y
);

sum_of_two!(
    /// Σ (a − b)².
    squared_distance, SquaredDistance,
    |s, sum, a, b| {
        let d = s.sub(a, b);
        s.mul_add(d, d, sum)
    },
    |x, y| (x - y) * (x - y)
);

sum_of_two!(
    /// Σ |a − b|.
    manhattan_distance, ManhattanDistance,
    |s, sum, a, b| s.add(sum, s.abs(s.sub(a, b))),
    |x, y| (x - y).abs()
);

/// Divides each element by a number.
pub fn divide(level: Level, x: &mut [f32], by: f32) {
    struct Divide<'a>(&'a mut [f32], f32);
    impl Operator for Divide<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for part in self.0.chunks_mut(LANES) {
                let v = s.div(s.load_partial(part, 0.0), s.splat(self.1));
                s.store_partial(part, v);
            }
        }
        fn reference(self) {
            for x in self.0 {
                *x /= self.1;
            }
        }
    }
    level.enter(Divide(x, by));
}

/// y = a + b, and + c if there is one, added in that order.
///
/// # Panics
/// If the lengths differ.
pub fn add(level: Level, a: &[f32], b: &[f32], c: Option<&[f32]>, y: &mut [f32]) {
    struct Add<'a>(&'a [f32], &'a [f32], Option<&'a [f32]>, &'a mut [f32]);
    impl Operator for Add<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let mut at = 0;
            while at < self.3.len() {
                let end = (at + LANES).min(self.3.len());
                let mut v = s.add(s.load_partial(&self.0[at..end], 0.0), s.load_partial(&self.1[at..end], 0.0));
                if let Some(c) = self.2 {
                    v = s.add(v, s.load_partial(&c[at..end], 0.0));
                }
                s.store_partial(&mut self.3[at..end], v);
                at = end;
            }
        }
        fn reference(self) {
            for i in 0..self.3.len() {
                let c = self.2.map_or(0.0, |c| f64::from(c[i]));
                self.3[i] = (f64::from(self.0[i]) + f64::from(self.1[i]) + c) as f32;
            }
        }
    }
    assert_eq!((a.len(), b.len()), (y.len(), y.len()), "vectors of one length");
    assert!(c.is_none_or(|c| c.len() == y.len()), "vectors of one length");
    level.enter(Add(a, b, c, y));
}
