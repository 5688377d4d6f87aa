//! The errors of exp and the activations, measured against f64 and bounded by one table.
//!
//! An error is counted in ulps: the spacing of f32 at the exact result. Results below the smallest
//! normal number count as zero on either side. The kernels return zero if their exponential is
//! below that number, although a factor x may lift the exact result above it; such zeros have a
//! separate, absolute bound.

use std::fmt;

use likewise_kernels::Level;
use likewise_kernels::math::Activation;

use crate::{Function, common};

/// Largest errors of a function, in ulps, for |x| ≤ 4 and for all other x.
struct Bound {
    function: Function,
    /// Levels with fused multiply-add.
    fused: [f64; 2],
    /// The portable level without it.
    unfused: [f64; 2],
    /// The largest exact result that becomes zero.
    lost: f64,
}

/// The bounds for all f32, measured by the ignored test. The documentation of
/// `likewise_kernels::math` states the same.
const BOUNDS: [Bound; 9] = [
    bound(Function::Exp, [1.0, 1.5], [1.0, 1.0], 0.0),
    bound(Function::Of(Activation::Gelu), [6.0, 7.0], [11.0, 69.5], 0.0),
    bound(Function::Of(Activation::GeluTanh), [29.0, 277.0], [32.0, 315.0], 1.2e-37),
    bound(Function::Of(Activation::Relu), [0.0, 0.0], [0.0, 0.0], 0.0),
    bound(Function::Of(Activation::Silu), [3.5, 3.5], [3.5, 3.5], 1.03e-36),
    bound(Function::Of(Activation::Tanh), [2.0, 1.5], [2.0, 1.5], 0.0),
    bound(Function::Of(Activation::QuickGelu), [8.5, 83.5], [8.5, 83.5], 6.1e-37),
    bound(Function::Of(Activation::Mish), [4.0, 4.0], [4.0, 4.0], 1.03e-36),
    bound(Function::Of(Activation::Sigmoid), [2.5, 2.5], [2.5, 2.5], 0.0),
];

const fn bound(function: Function, fused: [f64; 2], unfused: [f64; 2], lost: f64) -> Bound {
    Bound { function, fused, unfused, lost }
}

impl Bound {
    fn ulps(&self, level: Level) -> [f64; 2] {
        match level {
            // One rounding, and a little for the error of f64 itself.
            Level::REFERENCE => [0.500_001; 2],
            level if level.is_fused() => self.fused,
            _ => self.unfused,
        }
    }
}

/// Returns the spacing of f32 at a number; below the normal numbers, that of the smallest normal
/// one.
fn spacing(exact: f64) -> f64 {
    let exponent = (exact.to_bits() >> 52 & 0x7ff).clamp(1023 - 126, 1023 + 127);
    f64::from_bits((exponent - 23) << 52)
}

/// Returns the error in ulps.
fn error(got: f32, exact: f64) -> f64 {
    let smallest = f64::from(f32::MIN_POSITIVE);
    if f64::from(got.abs()) < smallest && exact.abs() < smallest {
        return 0.0;
    }
    (f64::from(got) - exact).abs() / spacing(exact)
}

/// The largest errors of one function on one level: for |x| ≤ 4, and beyond.
#[derive(Clone, Copy, Default)]
struct Worst {
    /// Ulps, the x and the result.
    ulps: [(f64, f32, f32); 2],
    /// The largest exact result that became zero, and its x.
    lost: (f64, f32),
}

impl Worst {
    fn record(&mut self, x: f32, got: f32, exact: f64) {
        let beyond = usize::from(x.abs() > 4.0);
        if got == 0.0 && exact.abs() >= f64::from(f32::MIN_POSITIVE) {
            if exact.abs() > self.lost.0 {
                self.lost = (exact.abs(), x);
            }
            return;
        }
        let error = if got.is_nan() { f64::INFINITY } else { error(got, exact) };
        if error > self.ulps[beyond].0 {
            self.ulps[beyond] = (error, x, got);
        }
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.ulps.iter_mut().zip(&other.ulps) {
            if theirs.0 > mine.0 {
                *mine = *theirs;
            }
        }
        if other.lost.0 > self.lost.0 {
            self.lost = other.lost;
        }
    }
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (range, (ulps, x, got)) in ["|x| <= 4", "beyond"].iter().zip(&self.ulps) {
            write!(f, "{range}: {ulps:10.4} ulp at {x:15e} ({got:15e})   ")?;
        }
        if self.lost.0 > 0.0 {
            write!(f, "zero instead of {:e} at {:e}", self.lost.0, self.lost.1)?;
        }
        Ok(())
    }
}

/// Returns the largest errors of each function on each level, over some finite f32.
fn sweep(levels: &[Level], mut patterns: impl Iterator<Item = u32>) -> Vec<[Worst; BOUNDS.len()]> {
    const CHUNK_LEN: usize = 4096;
    let mut worst = vec![[Worst::default(); BOUNDS.len()]; levels.len()];
    loop {
        let inputs: Vec<f32> = patterns.by_ref().take(CHUNK_LEN).map(f32::from_bits).collect();
        if inputs.is_empty() {
            return worst;
        }
        let inputs: Vec<f32> = inputs.into_iter().filter(|x| x.is_finite()).collect();
        for (at, bound) in BOUNDS.iter().enumerate() {
            let x = bound.function.domain(&inputs);
            let exact: Vec<f64> = x.iter().map(|&x| bound.function.exact(x)).collect();
            for (level, worst) in levels.iter().zip(&mut worst) {
                let mut got = x.clone();
                bound.function.run(*level, &mut got);
                for ((&x, &got), &exact) in x.iter().zip(&got).zip(&exact) {
                    worst[at].record(x, got, exact);
                }
            }
        }
    }
}

/// Prints the errors that were found, and fails if one exceeds the table.
fn check_bounds(levels: &[Level], found: &[[Worst; BOUNDS.len()]]) {
    common::on_levels(levels, |level, failures| {
        let Some(at) = levels.iter().position(|&other| other == level) else { return };
        for (bound, worst) in BOUNDS.iter().zip(&found[at]) {
            println!("{level:>9} {:>9}   {worst}", bound.function);
            let within = worst.ulps.iter().zip(bound.ulps(level)).all(|(found, bound)| found.0 <= bound);
            failures.check(within, || format!("{}: {worst}, more than {:?}", bound.function, bound.ulps(level)));
            failures.check(worst.lost.0 <= bound.lost, || {
                format!("{}: {worst}, more than {:e}", bound.function, bound.lost)
            });
        }
    });
}

/// An even sample of all bit patterns. The step is odd, so the low bits vary too.
#[test]
fn activations_over_sampled_f32_stay_within_bounds() {
    let levels = Level::available();
    let specials = [0.0, f32::from_bits(1), f32::MIN_POSITIVE, f32::MIN_POSITIVE / 2.0, f32::EPSILON, 1.0, f32::MAX];
    let specials = specials.iter().flat_map(|x| [x.to_bits(), (-x).to_bits()]);
    check_bounds(&levels, &sweep(&levels, (0..=u32::MAX).step_by(2147).chain(specials)));
}

/// The source of the table. Without the reference level, which the others are compared with.
#[test]
#[ignore = "sweeps all 2^32 f32; minutes"]
fn activations_over_every_f32_stay_within_bounds() {
    let levels: Vec<Level> = Level::available().into_iter().filter(|&level| level != Level::REFERENCE).collect();
    // Even and odd patterns: both halves take the same time.
    let mut found = std::thread::scope(|scope| {
        let halves = [0, 1].map(|first| {
            scope.spawn({
                let levels = &levels;
                move || sweep(levels, (first..=u32::MAX).step_by(2))
            })
        });
        halves.map(|half| half.join().expect("a sweep does not panic"))
    });
    let [all, rest] = &mut found;
    for (all, rest) in all.iter_mut().flatten().zip(rest.iter().flatten()) {
        all.merge(rest);
    }
    check_bounds(&levels, all);
}
