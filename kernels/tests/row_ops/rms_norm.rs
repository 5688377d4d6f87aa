//! Root-mean-square normalization.

use likewise_kernels::layer_norm::rms_norm;

use super::*;

const EPSILON: f32 = 1e-6;

fn rms_norm_of(level: Level, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len()];
    rms_norm(level, MatRef::new(x, 1, x.len()), weight, EPSILON, MatMut::new(&mut y, 1, x.len()));
    y
}

/// A square and its sum, a mean, ε, √ and 1/; then two products and the reference level.
#[test]
fn rms_norm_at_every_width_stays_within_bound() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(21);
        for width in lengths() {
            let weight = random.units(width);
            for scale in [1e-3, 1.0, 1e4] {
                let x: Vec<f32> = random.units(width).iter().map(|x| x * scale).collect();
                let got = rms_norm_of(level, &x, &weight);
                let expected = rms_norm_of(Level::REFERENCE, &x, &weight);
                let bound = (additions(width) + 10.0) * ROUNDING;
                for i in 0..width {
                    let error = (f64::from(got[i]) - f64::from(expected[i])).abs();
                    failures.check(error <= bound * f64::from(expected[i].abs()), || {
                        format!("element {i} of {width}: {:e}, not {:e}", got[i], expected[i])
                    });
                }
            }
        }
    });
}

/// The mean is not subtracted, and a constant row has the root mean square of its elements.
#[test]
fn rms_norm_of_a_constant_row_is_the_weight() {
    common::on_each_level(|level, failures| {
        let weight = Random::new(22).units(37);
        let got = rms_norm_of(level, &[-64.0; 37], &weight);
        let differs = got.iter().zip(&weight).any(|(y, w)| (y + w).abs() > 1e-6);
        failures.check(!differs, || format!("{got:?}"));
    });
}

#[test]
fn rms_norm_on_fused_levels_gives_same_bits() {
    fused_levels_agree(|level| {
        let mut random = Random::new(23);
        lengths().flat_map(|width| rms_norm_of(level, &random.units(width), &random.units(width))).collect()
    });
}

#[test]
fn rms_norm_with_mismatched_shapes_panics() {
    let run = |weight: usize, y: usize| {
        let mut out = vec![0.0; y];
        rms_norm(Level::best(), MatRef::new(&[0.0; 3], 1, 3), &vec![1.0; weight], EPSILON, MatMut::new(&mut out, 1, y));
    };
    run(3, 3);
    assert_panics("rms norm: length of weight", || run(2, 3));
    assert_panics("rms norm: shape of x", || run(3, 4));
}
