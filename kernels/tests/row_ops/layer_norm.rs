//! Layer normalization.

use super::*;

const EPSILON: f32 = 1e-5;

fn layer_norm_of(level: Level, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len()];
    layer_norm(level, MatRef::new(x, 1, x.len()), weight, bias, EPSILON, MatMut::new(&mut y, 1, x.len()));
    y
}

/// Returns the largest error of each element against the reference level.
///
/// The mean errs by δ, the roundings of its sum; that shifts every element and adds δ² to the
/// variance. The variance also errs by its own sum, the deviation by half of that. A difference, a
/// product, the multiply-add, and the reference level follow.
fn layer_norm_bounds(level: Level, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let width = x.len() as f64;
    let wide = || x.iter().map(|&x| f64::from(x));
    let mean = wide().sum::<f64>() / width;
    let variance = wide().map(|x| (x - mean).powi(2)).sum::<f64>() / width;
    let deviation = (variance + f64::from(EPSILON)).sqrt();
    let shift = (additions(x.len()) + 1.0) * ROUNDING * wide().map(f64::abs).sum::<f64>() / width;
    // The relative error of the deviation: squares of rounded differences, their sum, ε, √ and 1/.
    let scale = (additions(x.len()) + 8.0) * ROUNDING + (shift / deviation).powi(2);
    let element = |i: usize| {
        let away = f64::from(x[i]) - mean;
        let normal = (away.abs() * (scale + 3.0 * ROUNDING) + shift) / deviation;
        let weighted = (away / deviation * f64::from(weight[i])).abs();
        normal * f64::from(weight[i].abs())
            + (2.0 * weighted + f64::from(bias[i].abs())) * (1.0 + roundings(level)) * ROUNDING
    };
    (0..x.len()).map(element).collect()
}

fn check_layer_norm(failures: &mut Failures, level: Level, x: &[f32], weight: &[f32], bias: &[f32], name: &str) {
    let got = layer_norm_of(level, x, weight, bias);
    let expected = layer_norm_of(Level::REFERENCE, x, weight, bias);
    let bounds = layer_norm_bounds(level, x, weight, bias);
    for i in 0..x.len() {
        let error = (f64::from(got[i]) - f64::from(expected[i])).abs();
        failures.check(error <= bounds[i], || {
            format!("{name} of {}, element {i}: {:e}, not {:e}, bound {:e}", x.len(), got[i], expected[i], bounds[i])
        });
    }
}

fn widths() -> impl Iterator<Item = usize> {
    (1..=130).chain([384, 768, 1000])
}

#[test]
fn layer_norm_at_every_width_stays_within_bound() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(16);
        for width in widths() {
            let weight = random.units(width);
            let bias = random.units(width);
            let x = random.units(width);
            check_layer_norm(failures, level, &x, &weight, &bias, "random");
            let shifted: Vec<f32> = x.iter().map(|x| x + 100.0).collect();
            check_layer_norm(failures, level, &shifted, &weight, &bias, "far from zero");
            // Transformers have outliers, and Σx² − (Σx)² would cancel.
            for at in [0, width / 2, width - 1] {
                let mut outlier = x.clone();
                outlier[at] = 1e4;
                check_layer_norm(failures, level, &outlier, &weight, &bias, "outlier");
            }
        }
    });
}

/// For an ordinary row the derived bound is a few units in the seventh digit.
#[test]
fn layer_norm_bound_for_ordinary_rows_is_small() {
    for width in [384, 768, 1000] {
        let mut random = Random::new(17);
        let x = random.units(width);
        let weight = random.units(width);
        let bias = random.units(width);
        let bounds = layer_norm_bounds(Level::PORTABLE, &x, &weight, &bias);
        let largest = bounds.iter().copied().fold(0.0, f64::max);
        assert!(largest < 2e-5, "{width}: {largest:e}");
    }
}

#[test]
fn layer_norm_of_constant_rows_returns_bias() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(18);
        for width in widths() {
            let weight = random.units(width);
            let bias = random.units(width);
            for value in [0.0, 1.0, -3.0, 0.1] {
                check_layer_norm(failures, level, &vec![value; width], &weight, &bias, "constant");
            }
            // If the mean is exact, only the bias remains.
            for value in [0.0, 1.0, -3.0] {
                let y = layer_norm_of(level, &vec![value; width], &weight, &bias);
                let is_right = y.iter().zip(&bias).all(|(y, bias)| y == bias);
                failures.check(is_right, || format!("constant {value} of {width}: not the bias"));
            }
        }
    });
}

#[test]
fn layer_norm_of_strided_view_leaves_gaps_unchanged() {
    common::on_each_level(|level, failures| {
        let rows = 3;
        let width = 37;
        let stride = 50;
        let mut random = Random::new(19);
        let x = random.units(rows * stride);
        let weight = random.units(width);
        let bias = random.units(width);
        let mut y = vec![7.0; rows * (width + 1)];
        layer_norm(
            level,
            MatRef::with_stride(&x, rows, width, stride),
            &weight,
            &bias,
            EPSILON,
            MatMut::with_stride(&mut y, rows, width, width + 1),
        );
        for (i, y) in y.chunks(width + 1).enumerate() {
            let alone = layer_norm_of(level, &x[i * stride..][..width], &weight, &bias);
            failures.same_bits(&y[..width], &alone, || format!("row {i}"));
            failures.check(y[width] == 7.0, || format!("row {i}: the gap was written"));
        }
    });
}

#[test]
fn layer_norm_of_row_with_nan_returns_nan() {
    common::on_each_level(|level, failures| {
        for width in widths() {
            for at in [0, width / 2, width - 1] {
                let mut x = Random::new(20).units(width);
                x[at] = f32::NAN;
                let y = layer_norm_of(level, &x, &vec![1.0; width], &vec![0.0; width]);
                failures.check(y.iter().all(|y| y.is_nan()), || format!("NaN at {at} of {width}"));
            }
        }
    });
}

#[test]
fn layer_norm_with_mismatched_shapes_panics() {
    common::on_each_level(|level, _| {
        let run = |weight: usize, bias: usize, (rows, cols): (usize, usize)| {
            let ones = [1.0; 12];
            let mut y = [0.0; 20];
            let y = MatMut::new(&mut y, rows, cols);
            layer_norm(level, MatRef::new(&ones, 3, 4), &ones[..weight], &ones[..bias], EPSILON, y);
        };
        run(4, 4, (3, 4));
        assert_panics("layer norm: shape of x (left) and of y (right)", || run(4, 4, (2, 4)));
        assert_panics("layer norm: shape of x (left) and of y (right)", || run(4, 4, (3, 5)));
        assert_panics("layer norm: lengths of weight and bias", || run(3, 4, (3, 4)));
        assert_panics("layer norm: lengths of weight and bias", || run(4, 5, (3, 4)));
    });
}

#[test]
fn layer_norm_on_fused_levels_gives_same_bits() {
    fused_levels_agree(|level| {
        let mut random = Random::new(21);
        let mut run = |width| layer_norm_of(level, &random.wilds(width), &random.units(width), &random.units(width));
        widths().flat_map(&mut run).collect()
    });
}
