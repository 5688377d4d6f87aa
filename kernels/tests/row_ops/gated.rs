//! Gated activations.

use likewise_kernels::gated::activate_gated;
use likewise_kernels::math::{Activation, activate};

use super::*;

fn gated_of(level: Level, activation: Activation, x: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / 2];
    let width = y.len();
    activate_gated(level, activation, MatRef::new(x, 1, x.len()), MatMut::new(&mut y, 1, width));
    y
}

/// The gates are the first half: they have the bits of the activation, and one product follows.
#[test]
fn gated_activation_is_the_activation_of_the_first_half_times_the_second() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(26);
        for width in lengths() {
            let x: Vec<f32> = random.units(2 * width).iter().map(|x| 5.0 * x).collect();
            for activation in Activation::ALL {
                let mut expected = x[..width].to_vec();
                activate(level, activation, MatMut::new(&mut expected, 1, width));
                expected.iter_mut().zip(&x[width..]).for_each(|(gate, value)| *gate *= value);
                let got = gated_of(level, activation, &x);
                if level == Level::REFERENCE {
                    // The reference level rounds once, and the expectation twice.
                    let is_near = got.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 2e-7 * b.abs());
                    failures.check(is_near, || format!("{activation:?}, {width}"));
                } else {
                    failures.same_bits(&got, &expected, || format!("{activation:?}, {width}"));
                }
            }
        }
    });
}

#[test]
fn gated_activation_with_mismatched_shapes_panics() {
    let run = |x: usize, y: usize| {
        let mut out = vec![0.0; y];
        let x = vec![0.0; x];
        activate_gated(Level::best(), Activation::Silu, MatRef::new(&x, 1, x.len()), MatMut::new(&mut out, 1, y));
    };
    run(6, 3);
    assert_panics("activate gated: shape of x", || run(6, 2));
    assert_panics("activate gated: shape of x", || run(7, 3));
}
