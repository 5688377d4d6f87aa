//! The errors of exp and the activations, measured against f64 and bounded by one table.
//!
//! An error is counted in ulps: the spacing of f32 at the exact result. Results below the smallest normal number count as
//! zero on either side. The kernels give zero where their exponential falls below that number, and a factor x may lift
//! the exact result above it by then; such zeros have a bound of their own, in absolute terms.

mod common;

use std::fmt;

use likewise_kernels::Level;
use likewise_kernels::math::{Activation, activate, exp};
use likewise_kernels::reference::{activation, normal_cdf};
use likewise_kernels::view::MatMut;

/// Largest errors of a function, in ulps, for |x| ≤ 4 and for all other x.
struct Bound {
    function: Function,
    /// Levels with fused multiply-add.
    fused: [f64; 2],
    /// The portable level where it has none.
    unfused: [f64; 2],
    /// The largest exact result that is given as zero.
    lost: f64,
}

/// The bounds, for all f32 (`all_numbers`). The documentation of `likewise_kernels::math` states the same ones.
const BOUNDS: [Bound; 8] = [
    bound(Function::Exp, [1.0, 1.5], [1.0, 1.0], 0.0),
    bound(Function::Of(Activation::Gelu), [6.0, 7.0], [11.0, 69.5], 0.0),
    bound(Function::Of(Activation::GeluTanh), [29.0, 277.0], [32.0, 315.0], 1.2e-37),
    bound(Function::Of(Activation::Relu), [0.0, 0.0], [0.0, 0.0], 0.0),
    bound(Function::Of(Activation::Silu), [3.5, 3.5], [3.5, 3.5], 1.03e-36),
    bound(Function::Of(Activation::Tanh), [2.0, 1.5], [2.0, 1.5], 0.0),
    bound(Function::Of(Activation::QuickGelu), [8.5, 83.5], [8.5, 83.5], 6.1e-37),
    bound(Function::Of(Activation::Mish), [4.0, 4.0], [4.0, 4.0], 1.03e-36),
];

const fn bound(function: Function, fused: [f64; 2], unfused: [f64; 2], lost: f64) -> Bound {
    Bound { function, fused, unfused, lost }
}

impl Bound {
    fn ulps(&self, level: Level) -> [f64; 2] {
        match level {
            // One rounding, and a little for what f64 itself errs.
            Level::REFERENCE => [0.500_001; 2],
            level if level.is_fused() => self.fused,
            _ => self.unfused,
        }
    }
}

#[derive(Clone, Copy)]
enum Function {
    /// exp(x), of x ≤ 0 only.
    Exp,
    Of(Activation),
}

impl Function {
    fn run(self, level: Level, x: &mut [f32]) {
        let cols = x.len();
        match self {
            Self::Exp => exp(level, x),
            Self::Of(activation) => activate(level, activation, MatMut::new(x, 1, cols)),
        }
    }

    /// f(x), for all practical purposes exact.
    fn exact(self, x: f32) -> f64 {
        let x = f64::from(x);
        match self {
            Self::Exp => x.exp(),
            // So far out they are x or nothing, to more digits than f64 has; this saves a sweep half of its time.
            Self::Of(Activation::Tanh) if x.abs() >= 128.0 => x.signum(),
            Self::Of(_) if x >= 128.0 => x,
            Self::Of(_) if x <= -128.0 => 0.0,
            Self::Of(f) => activation(f, x),
        }
    }

    /// Inputs of this function for some numbers: exp takes none above zero.
    fn domain(self, x: &[f32]) -> Vec<f32> {
        match self {
            Self::Exp => x.iter().map(|x| -x.abs()).collect(),
            Self::Of(_) => x.to_vec(),
        }
    }

    fn limit(self, x: f32) -> f32 {
        match self {
            Self::Exp => 0.0,
            Self::Of(Activation::Tanh) => x.signum(),
            Self::Of(_) => x.max(0.0),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exp => f.pad("exp"),
            Self::Of(activation) => f.pad(&format!("{activation:?}")),
        }
    }
}

/// The spacing of f32 at a number, of the smallest normal ones below these.
fn spacing(exact: f64) -> f64 {
    let exponent = (exact.to_bits() >> 52 & 0x7ff).clamp(1023 - 126, 1023 + 127);
    f64::from_bits((exponent - 23) << 52)
}

/// An error in ulps.
fn error(got: f32, exact: f64) -> f64 {
    let smallest = f64::from(f32::MIN_POSITIVE);
    if f64::from(got.abs()) < smallest && exact.abs() < smallest {
        return 0.0;
    }
    (f64::from(got) - exact).abs() / spacing(exact)
}

/// The worst seen of one function on one level: in the middle, and beyond.
#[derive(Clone, Copy, Default)]
struct Worst {
    /// Ulps, the x and the result.
    ulps: [(f64, f32, f32); 2],
    /// The largest exact result given as zero, and its x.
    lost: (f64, f32),
}

impl Worst {
    fn see(&mut self, x: f32, got: f32, exact: f64) {
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

    fn join(&mut self, other: &Self) {
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

/// The worst of each function on each level, over some finite f32.
fn sweep(levels: &[Level], mut patterns: impl Iterator<Item = u32>) -> Vec<[Worst; BOUNDS.len()]> {
    const PART: usize = 4096;
    let mut worst = vec![[Worst::default(); BOUNDS.len()]; levels.len()];
    loop {
        let numbers: Vec<f32> = patterns.by_ref().take(PART).map(f32::from_bits).collect();
        if numbers.is_empty() {
            return worst;
        }
        let numbers: Vec<f32> = numbers.into_iter().filter(|x| x.is_finite()).collect();
        for (at, bound) in BOUNDS.iter().enumerate() {
            let x = bound.function.domain(&numbers);
            let exact: Vec<f64> = x.iter().map(|&x| bound.function.exact(x)).collect();
            for (level, worst) in levels.iter().zip(&mut worst) {
                let mut got = x.clone();
                bound.function.run(*level, &mut got);
                for ((&x, &got), &exact) in x.iter().zip(&got).zip(&exact) {
                    worst[at].see(x, got, exact);
                }
            }
        }
    }
}

/// Prints what was found, and fails where it exceeds the table.
fn judge(levels: &[Level], found: &[[Worst; BOUNDS.len()]]) {
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
fn sample_of_all_numbers() {
    let levels = Level::available();
    let specials = [0.0, f32::from_bits(1), f32::MIN_POSITIVE, f32::MIN_POSITIVE / 2.0, f32::EPSILON, 1.0, f32::MAX];
    let specials = specials.iter().flat_map(|x| [x.to_bits(), (-x).to_bits()]);
    judge(&levels, &sweep(&levels, (0..=u32::MAX).step_by(2147).chain(specials)));
}

/// What the table is made from. The reference level is left out, because it is what the others are compared with.
#[test]
#[ignore = "sweeps all 2^32 f32; minutes"]
fn all_numbers() {
    let levels: Vec<Level> = Level::available().into_iter().filter(|&level| level != Level::REFERENCE).collect();
    // Even and odd patterns: halves that take the same time.
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
        all.join(rest);
    }
    judge(&levels, all);
}

/// Each bit pattern once in 2¹⁶, on all levels that must agree, also where they are wrong.
#[test]
fn fused_levels_agree() {
    let fused = common::fused_levels();
    let Some(&first) = fused.first() else { return };
    let numbers: Vec<f32> = (0..=u32::MAX).step_by(7919).map(f32::from_bits).collect();
    common::on_levels(&fused, |level, failures| {
        for Bound { function, .. } in BOUNDS {
            let mut expected = function.domain(&numbers);
            let mut got = expected.clone();
            function.run(first, &mut expected);
            function.run(level, &mut got);
            failures.same_bits(&got, &expected, || format!("{function} of {level} and {first}"));
        }
    });
}

/// A number's result does not depend on its lane, nor on how full the vector is.
#[test]
fn lanes_are_alike() {
    common::on_each_level(|level, failures| {
        let x = common::Random::new(1).wilds(67);
        for Bound { function, .. } in BOUNDS {
            let x = function.domain(&x);
            let mut whole = x.clone();
            function.run(level, &mut whole);
            let mut single = x.clone();
            single.chunks_mut(1).for_each(|x| function.run(level, x));
            failures.same_bits(&whole, &single, || format!("{function}, whole and one at a time"));
            for length in 0..=x.len() {
                let mut part = x[..length].to_vec();
                function.run(level, &mut part);
                failures.same_bits(&part, &whole[..length], || format!("{function} of {length}"));
            }
        }
    });
}

/// `activate` writes the columns of a view and nothing between its rows.
#[test]
fn gaps_between_rows_stay() {
    common::on_each_level(|level, failures| {
        let (rows, cols, stride) = (3, 19, 23);
        let x = common::Random::new(2).units(rows * stride);
        for f in Activation::ALL {
            let mut got = x.clone();
            activate(level, f, MatMut::with_stride(&mut got, rows, cols, stride));
            let mut expected = x.clone();
            for row in expected.chunks_mut(stride) {
                Function::Of(f).run(level, &mut row[..cols]);
            }
            failures.same_bits(&got, &expected, || format!("{f:?}"));
        }
    });
}

fn one(level: Level, function: Function, x: f32) -> f32 {
    let mut x = [x];
    function.run(level, &mut x);
    x[0]
}

#[test]
fn not_a_number_stays() {
    common::on_each_level(|level, failures| {
        for Bound { function, .. } in BOUNDS {
            for x in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
                let y = one(level, function, x);
                failures.check(y.is_nan(), || format!("{function} of {:#x} is {y}", x.to_bits()));
            }
        }
    });
}

#[test]
fn zeros_and_ones() {
    common::on_each_level(|level, failures| {
        for Bound { function, .. } in BOUNDS {
            let expected = if matches!(function, Function::Exp) { 1.0 } else { 0.0 };
            for x in [0.0, -0.0] {
                let y = one(level, function, x);
                failures.check(y == expected, || format!("{function} of {x:?} is {y}"));
            }
        }
    });
}

#[test]
fn infinity_gives_the_limit() {
    common::on_each_level(|level, failures| {
        for Bound { function, .. } in BOUNDS {
            for x in [f32::INFINITY, f32::NEG_INFINITY] {
                if x > 0.0 && matches!(function, Function::Exp) {
                    continue;
                }
                let y = one(level, function, x);
                // x σ(x) and its like are -∞ · 0 at minus infinity, which makes them NaN in every framework too.
                let product =
                    x < 0.0 && !matches!(function, Function::Exp | Function::Of(Activation::Relu | Activation::Tanh));
                let right = y == function.limit(x) || (product && y.is_nan());
                failures.check(right, || format!("{function} of {x} is {y}, not {}", function.limit(x)));
            }
        }
    });
}

/// Φ(x) to 17 digits, from mpmath 1.3.0 at 60: `erfc(-x / sqrt(2)) / 2`.
#[allow(clippy::excessive_precision, reason = "17 digits determine an f64, whatever their last one")]
const NORMAL_DISTRIBUTION: [(f64, f64); 25] = [
    (-37.0, 5.7255712225245768e-300),
    (-30.0, 4.9067139271481871e-198),
    (-20.5, 1.076467325879096e-93),
    (-14.5, 6.0574947644152208e-48),
    (-13.25, 2.2560163396857891e-40),
    (-10.0, 7.6198530241605261e-24),
    (-7.75, 4.5946274357785955e-15),
    (-5.0, 2.8665157187919391e-7),
    (-4.0, 3.1671241833119921e-5),
    (-3.0, 1.3498980316300945e-3),
    (-2.5, 6.2096653257761352e-3),
    (-2.0, 2.2750131948179207e-2),
    (-1.9990234375, 2.2802909016358417e-2),
    (-1.5, 6.6807201268858066e-2),
    (-1.0, 1.5865525393145705e-1),
    (-0.5, 3.085375387259869e-1),
    (-0.125, 4.5026177516988711e-1),
    (0.0, 5.0e-1),
    (0.25, 5.9870632568292372e-1),
    (1.0, 8.4134474606854295e-1),
    (1.75, 9.5994084313618291e-1),
    (2.0009765625, 9.7730254214039566e-1),
    (3.0, 9.9865010196836991e-1),
    (5.5, 9.9999998101043753e-1),
    (8.0, 9.9999999999999938e-1),
];

#[test]
fn normal_distribution_of_the_reference() {
    for (x, exact) in NORMAL_DISTRIBUTION {
        let got = normal_cdf(x);
        let error = (got / exact - 1.0).abs();
        assert!(error < 1e-13, "at {x}: {got:e}, not {exact:e}: relative error {error:e}");
    }
    assert_eq!((normal_cdf(f64::NEG_INFINITY), normal_cdf(f64::INFINITY)), (0.0, 1.0));
    assert!(normal_cdf(f64::NAN).is_nan());
}

/// A few values that anybody can look up, so that the reference is not only compared with itself.
#[test]
fn activations_of_the_reference() {
    #[rustfmt::skip]
    let known = [
        (Activation::Gelu, 1.0, 0.841_344_746_068_542_9),
        (Activation::Gelu, -2.0, -0.045_500_263_896_358_4),
        (Activation::GeluTanh, 1.0, 0.8411919906082767),
        (Activation::GeluTanh, -2.0, -0.04540230591222498),
        (Activation::Relu, 3.0, 3.0),
        (Activation::Relu, -3.0, 0.0),
        (Activation::Silu, 1.0, 0.7310585786300049),
        (Activation::Silu, -2.0, -0.23840584404423512),
        (Activation::Tanh, 0.5, 0.46211715726000974),
        (Activation::QuickGelu, 1.0, 0.8457957659328212),
        (Activation::QuickGelu, -2.0, -0.06434137685579185),
        (Activation::Mish, 1.0, 0.8650983882673103),
        (Activation::Mish, -2.0, -0.2525014826957089),
    ];
    for (f, x, exact) in known {
        let got = activation(f, x);
        assert!((got - exact).abs() <= 1e-15, "{f:?} of {x} is {got}, not {exact}");
    }
}
