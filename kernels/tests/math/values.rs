//! The values of exp and the activations: bits, gaps, special numbers.

use likewise_kernels::Level;
use likewise_kernels::math::{Activation, activate};
use likewise_kernels::view::MatMut;

use crate::{FUNCTIONS, Function, common};

/// Every 7919th bit pattern, on all levels that must agree, also outside the domain of a function.
#[test]
fn activations_on_fused_levels_give_same_bits() {
    let fused = common::fused_levels();
    let Some(&first) = fused.first() else { return };
    let inputs: Vec<f32> = (0..=u32::MAX).step_by(7919).map(f32::from_bits).collect();
    common::on_levels(&fused, |level, failures| {
        for function in FUNCTIONS {
            let mut expected = function.domain(&inputs);
            let mut got = expected.clone();
            function.run(first, &mut expected);
            function.run(level, &mut got);
            failures.same_bits(&got, &expected, || format!("{function} of {level} and {first}"));
        }
    });
}

/// A result does not depend on the lane of its input, nor on the number of lanes in use.
#[test]
fn activations_in_any_lane_give_same_bits() {
    common::on_each_level(|level, failures| {
        let x = common::Random::new(1).wilds(67);
        for function in FUNCTIONS {
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

/// `activate` writes only the columns of a view.
#[test]
fn activate_with_row_gaps_leaves_gaps_unchanged() {
    common::on_each_level(|level, failures| {
        let rows = 3;
        let cols = 19;
        let stride = 23;
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

fn apply(level: Level, function: Function, x: f32) -> f32 {
    let mut x = [x];
    function.run(level, &mut x);
    x[0]
}

#[test]
fn activations_of_nan_return_nan() {
    common::on_each_level(|level, failures| {
        for function in FUNCTIONS {
            for x in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
                let y = apply(level, function, x);
                failures.check(y.is_nan(), || format!("{function} of {:#x} is {y}", x.to_bits()));
            }
        }
    });
}

#[test]
fn activations_of_zero_return_exact_value() {
    common::on_each_level(|level, failures| {
        for function in FUNCTIONS {
            let expected = match function {
                Function::Exp => 1.0,
                Function::Of(Activation::Sigmoid) => 0.5,
                Function::Of(_) => 0.0,
            };
            for x in [0.0, -0.0] {
                let y = apply(level, function, x);
                failures.check(y == expected, || format!("{function} of {x:?} is {y}"));
            }
        }
    });
}

#[test]
fn activations_of_infinity_return_limit() {
    common::on_each_level(|level, failures| {
        for function in FUNCTIONS {
            for x in [f32::INFINITY, f32::NEG_INFINITY] {
                if x > 0.0 && matches!(function, Function::Exp) {
                    continue;
                }
                let y = apply(level, function, x);
                // x σ(x) and similar functions are -∞ · 0 at minus infinity, which is NaN in every
                // framework.
                let is_product = !matches!(
                    function,
                    Function::Exp | Function::Of(Activation::Relu | Activation::Tanh | Activation::Sigmoid)
                );
                let product = x < 0.0 && is_product;
                let is_right = y == function.limit(x) || (product && y.is_nan());
                failures.check(is_right, || format!("{function} of {x} is {y}, not {}", function.limit(x)));
            }
        }
    });
}
