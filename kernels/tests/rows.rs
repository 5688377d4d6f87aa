//! Operators on rows: softmax, layer norm, sums of two vectors, the mean of rows, sums and quotients.
//!
//! Bounds come from counting roundings: one is at most `ROUNDING` of its result. A sum of n numbers passes an
//! element through at most n/16 + 7 additions (its own lane, then the tree of 4 partial sums and 16 lanes).

mod common;

use common::{Failures, ROUNDING, Random, assert_panics, roundings};
use likewise_kernels::Level;
use likewise_kernels::layer_norm::layer_norm;
use likewise_kernels::rows::{Count, max_of_rows, mean_of_rows, sum_of_rows};
use likewise_kernels::softmax::{Scores, softmax};
use likewise_kernels::vector::{absolute_distance, add, divide, dot, squared_distance};
use likewise_kernels::view::{MatMut, MatRef};

/// Lengths around every multiple of a vector and of the four that take turns, and a long one.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=130).chain([512])
}

/// Additions that an element of a sum of n goes through, at most.
fn additions(n: usize) -> f64 {
    n.div_ceil(16) as f64 + 7.0
}

/// Runs `compute` on all levels that must agree and compares the bits.
fn fused_levels_agree(compute: impl Fn(Level) -> Vec<f32>) {
    let fused = common::fused_levels();
    let Some(&first) = fused.first() else { return };
    let expected = compute(first);
    common::on_levels(&fused, |level, failures| {
        failures.same_bits(&compute(level), &expected, || format!("{level} and {first}"));
    });
}

// ---- softmax ----

const NO_BIAS: Scores<'_> = Scores { scale: 1.0, bias: &[], start: 0 };

/// The softmax of a row with some columns of padding, all of which are junk before.
fn softmax_of(level: Level, x: &[f32], padding: usize, scores: Scores<'_>) -> Vec<f32> {
    let mut row = x.to_vec();
    row.resize(x.len() + padding, f32::NAN);
    let cols = row.len();
    softmax(level, MatMut::new(&mut row, 1, cols), x.len(), scores);
    row
}

/// How far from the reference a probability may be, relative to itself.
///
/// A score errs by a rounding of its product and one of its sum, of which the largest magnitude counts; the maximum
/// likewise; their difference by one of its own. All of that is absolute, and exp makes it relative. Then exp itself
/// (2 roundings make an ulp), the sum, the reciprocal and the last product, with the reference's rounding.
fn softmax_bound(x: &[f32], scores: Scores<'_>) -> f64 {
    let bias = |j: usize| scores.bias.get(scores.start + j).map_or(0.0, |bias| bias.abs());
    let size = |(j, x): (usize, &f32)| f64::from(x.abs() * scores.scale.abs() + bias(j));
    let largest = x.iter().enumerate().map(size).fold(0.0, f64::max);
    (2.0 * 2.0 * largest + 2.0 * largest + 2.0 * 2.5 + additions(x.len()) + 4.0) * ROUNDING
}

fn check_softmax(failures: &mut Failures, level: Level, x: &[f32], padding: usize, scores: Scores<'_>, name: &str) {
    let got = softmax_of(level, x, padding, scores);
    let expected = softmax_of(Level::REFERENCE, x, padding, scores);
    let bound = softmax_bound(x, scores);
    let what = || format!("{name}, {} + {padding}", x.len());
    for (j, (&got, &expected)) in got.iter().zip(&expected).enumerate() {
        // Probabilities below the normal numbers are zero.
        let error = (f64::from(got) - f64::from(expected)).abs();
        let most = bound * f64::from(expected) + f64::from(f32::MIN_POSITIVE);
        failures.check(error <= most, || format!("{}: p[{j}] is {got:e}, not {expected:e}", what()));
    }
    failures.check(got[x.len()..].iter().all(|&p| p.to_bits() == 0), || format!("{}: padding is not zero", what()));
    let sum: f64 = got.iter().map(|&p| f64::from(p)).sum();
    // A common factor is the one thing all share; each one's product errs by itself.
    let most = (additions(x.len()) + 4.0) * ROUNDING;
    failures.check((sum - 1.0).abs() <= most, || format!("{}: the sum is 1 + {:e}", what(), sum - 1.0));
}

#[test]
fn softmax_of_all_lengths() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(11);
        for len in lengths() {
            for padding in [0, 1, 16 - len % 16, 19] {
                let x: Vec<f32> = random.units(len).iter().map(|x| 30.0 * x).collect();
                let bias = random.units(len);
                let scores = Scores { scale: 0.125, bias: &bias, start: 0 };
                check_softmax(failures, level, &x, padding, Scores { bias: &[], ..scores }, "no bias");
                check_softmax(failures, level, &x, padding, scores, "bias");
            }
        }
    });
}

#[test]
fn softmax_of_extreme_rows() {
    common::on_each_level(|level, failures| {
        for len in lengths() {
            let only =
                |at: usize, value: f32, rest: f32| (0..len).map(|j| if j == at { value } else { rest }).collect();
            let check = |failures: &mut Failures, x: Vec<f32>, expected: Vec<f32>, name: &str| {
                let got = softmax_of(level, &x, 3, NO_BIAS);
                let right = got.iter().zip(&expected).all(|(got, expected)| (got - expected).abs() <= 1e-6 * expected);
                failures.check(right, || format!("{name} of {len}: {got:?}"));
            };
            let even = vec![1.0 / len as f32; len];
            for value in [0.0, -0.0, 1e30, -1e30, f32::MAX, f32::MIN, 1e-40] {
                check(failures, vec![value; len], even.clone(), "all equal");
            }
            let at = len / 2;
            // One that outweighs all, with the others as far away as can be.
            check(failures, only(at, 1e30, -1e30), only(at, 1.0, 0.0), "one huge");
            check(failures, only(at, 1e30, 0.0), only(at, 1.0, 0.0), "one huge among zeros");
            if len > 1 {
                // One that is masked: nothing for it, and the others share.
                let share = only(at, 0.0, 1.0 / (len - 1) as f32);
                check(failures, only(at, f32::NEG_INFINITY, 0.5), share.clone(), "one masked by infinity");
                check(failures, only(at, -1e30, 0.5), share.clone(), "one masked by a number");
                check(failures, only(at, f32::MIN, 1e30), share, "one masked among huge");
            }
        }
    });
}

/// Row i, column j takes element start − i + j, here read off a table and not computed.
#[test]
fn softmax_bias_shifts_by_a_row() {
    #[rustfmt::skip]
    let table = [
        [30.0, 40.0, 50.0, 60.0],
        [20.0, 30.0, 40.0, 50.0],
        [10.0, 20.0, 30.0, 40.0],
    ];
    // Two rows more than are used, and a number beyond the last.
    let bias = [-2.0, -1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 99.0];
    common::on_each_level(|level, failures| {
        let x = Random::new(12).units(3 * 4);
        let mut got = x.clone();
        softmax(level, MatMut::new(&mut got, 3, 4), 4, Scores { scale: 10.0, bias: &bias, start: 4 });
        for (i, row) in table.iter().enumerate() {
            let expected = softmax_of(level, &x[4 * i..][..4], 0, Scores { scale: 10.0, bias: row, start: 0 });
            failures.same_bits(&got[4 * i..][..4], &expected, || format!("row {i}"));
        }
    });
}

/// The bias is added to the scaled score, not scaled with it.
#[test]
fn softmax_scales_before_the_bias() {
    common::on_each_level(|level, failures| {
        let got = softmax_of(level, &[8.0, 0.0], 0, Scores { scale: 0.25, bias: &[0.0, 2.0], start: 0 });
        failures.same_bits(&got, &[0.5, 0.5], || "8 / 4 + 0 and 0 / 4 + 2".to_owned());
    });
}

#[test]
fn softmax_leaves_gaps_between_rows() {
    common::on_each_level(|level, failures| {
        let (rows, len, cols, stride) = (4, 5, 7, 11);
        let x = Random::new(13).units(rows * stride);
        let mut got = x.clone();
        softmax(level, MatMut::with_stride(&mut got, rows, cols, stride), len, NO_BIAS);
        let mut expected = x.clone();
        for row in expected.chunks_mut(stride) {
            let p = softmax_of(level, &row[..len], cols - len, NO_BIAS);
            row[..cols].copy_from_slice(&p);
        }
        failures.same_bits(&got, &expected, || "rows of a view".to_owned());
    });
}

#[test]
fn softmax_keeps_not_a_number() {
    common::on_each_level(|level, failures| {
        for len in lengths() {
            for at in [0, len / 2, len - 1] {
                let mut x = Random::new(14).units(len);
                x[at] = f32::NAN;
                let got = softmax_of(level, &x, 2, NO_BIAS);
                failures.check(got[..len].iter().all(|p| p.is_nan()), || format!("NaN at {at} of {len}: {got:?}"));
                failures.check(got[len..] == [0.0; 2], || format!("NaN at {at} of {len} reached the padding"));
            }
            // Nothing but masked: 0 / 0.
            let got = softmax_of(level, &vec![f32::NEG_INFINITY; len], 0, NO_BIAS);
            failures.check(got.iter().all(|p| p.is_nan()), || format!("all {len} masked: {got:?}"));
        }
    });
}

#[test]
fn softmax_of_nothing() {
    common::on_each_level(|level, failures| {
        failures.same_bits(&softmax_of(level, &[], 5, NO_BIAS), &[0.0; 5], || "no scores".to_owned());
        softmax(level, MatMut::new(&mut [], 0, 5), 5, NO_BIAS);
    });
}

#[test]
fn softmax_refuses() {
    common::on_each_level(|level, _| {
        let run = |len: usize, bias: &[f32], start: usize| {
            let mut x = [0.0; 12];
            softmax(level, MatMut::new(&mut x, 3, 4), len, Scores { scale: 1.0, bias, start });
        };
        run(4, &[0.0; 6], 2);
        assert_panics("softmax over 5 of 4 columns", || run(5, &[], 0));
        assert_panics("the bias does not reach over the rows", || run(4, &[0.0; 5], 2));
        assert_panics("the bias does not reach over the rows", || run(4, &[0.0; 9], 1));
    });
}

#[test]
fn softmax_of_fused_levels() {
    fused_levels_agree(|level| {
        let mut random = Random::new(15);
        let mut all = Vec::new();
        for len in lengths() {
            let (x, bias) = (random.wilds(len), random.units(len));
            all.extend(softmax_of(level, &x, 3, Scores { scale: 0.1, bias: &bias, start: 0 }));
            all.extend(softmax_of(level, &random.units(len), 0, Scores { scale: 9.0, ..NO_BIAS }));
        }
        all
    });
}

// ---- layer norm ----

const EPSILON: f32 = 1e-5;

fn layer_norm_of(level: Level, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len()];
    layer_norm(level, MatRef::new(x, 1, x.len()), weight, bias, EPSILON, MatMut::new(&mut y, 1, x.len()));
    y
}

/// How far each element may be from the reference.
///
/// The mean errs by δ, the roundings of its sum; that shifts every element and adds δ² to the variance. The variance errs
/// by its own sum, the deviation by half of that. Then come a difference, a product, the multiply-add, and the reference.
fn layer_norm_bounds(level: Level, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let width = x.len() as f64;
    let wide = || x.iter().map(|&x| f64::from(x));
    let mean = wide().sum::<f64>() / width;
    let variance = wide().map(|x| (x - mean).powi(2)).sum::<f64>() / width;
    let deviation = (variance + f64::from(EPSILON)).sqrt();
    let shift = (additions(x.len()) + 1.0) * ROUNDING * wide().map(f64::abs).sum::<f64>() / width;
    // What the deviation errs by, relative: squares of rounded differences, their sum, ε, √ and 1/.
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
fn layer_norm_of_all_widths() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(16);
        for width in widths() {
            let (weight, bias) = (random.units(width), random.units(width));
            let x = random.units(width);
            check_layer_norm(failures, level, &x, &weight, &bias, "random");
            let shifted: Vec<f32> = x.iter().map(|x| x + 100.0).collect();
            check_layer_norm(failures, level, &shifted, &weight, &bias, "far from zero");
            // What transformers have, and what ruins Σx² − (Σx)².
            for at in [0, width / 2, width - 1] {
                let mut outlier = x.clone();
                outlier[at] = 1e4;
                check_layer_norm(failures, level, &outlier, &weight, &bias, "outlier");
            }
        }
    });
}

/// The bound that is derived, in plain numbers: a few units in the seventh digit for an ordinary row.
#[test]
fn layer_norm_bound_is_small() {
    for width in [384, 768, 1000] {
        let mut random = Random::new(17);
        let (x, weight, bias) = (random.units(width), random.units(width), random.units(width));
        let bounds = layer_norm_bounds(Level::PORTABLE, &x, &weight, &bias);
        let largest = bounds.iter().copied().fold(0.0, f64::max);
        assert!(largest < 2e-5, "{width}: {largest:e}");
    }
}

#[test]
fn layer_norm_of_constant_rows() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(18);
        for width in widths() {
            let (weight, bias) = (random.units(width), random.units(width));
            for value in [0.0, 1.0, -3.0, 0.1] {
                check_layer_norm(failures, level, &vec![value; width], &weight, &bias, "constant");
            }
            // Where the mean is exact, what remains is the bias alone.
            for value in [0.0, 1.0, -3.0] {
                let y = layer_norm_of(level, &vec![value; width], &weight, &bias);
                let right = y.iter().zip(&bias).all(|(y, bias)| y == bias);
                failures.check(right, || format!("constant {value} of {width}: not the bias"));
            }
        }
    });
}

#[test]
fn layer_norm_of_views() {
    common::on_each_level(|level, failures| {
        let (rows, width, stride) = (3, 37, 50);
        let mut random = Random::new(19);
        let (x, weight, bias) = (random.units(rows * stride), random.units(width), random.units(width));
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
fn layer_norm_keeps_not_a_number() {
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
fn layer_norm_refuses() {
    common::on_each_level(|level, _| {
        let run = |weight: usize, bias: usize, (rows, cols): (usize, usize)| {
            let (ones, mut y) = ([1.0; 12], [0.0; 20]);
            let y = MatMut::new(&mut y, rows, cols);
            layer_norm(level, MatRef::new(&ones, 3, 4), &ones[..weight], &ones[..bias], EPSILON, y);
        };
        run(4, 4, (3, 4));
        assert_panics("layer norm keeps the shape", || run(4, 4, (2, 4)));
        assert_panics("layer norm keeps the shape", || run(4, 4, (3, 5)));
        assert_panics("one number a column", || run(3, 4, (3, 4)));
        assert_panics("one number a column", || run(4, 5, (3, 4)));
    });
}

#[test]
fn layer_norm_of_fused_levels() {
    fused_levels_agree(|level| {
        let mut random = Random::new(21);
        let mut run = |width| layer_norm_of(level, &random.wilds(width), &random.units(width), &random.units(width));
        widths().flat_map(&mut run).collect()
    });
}

// ---- vectors ----

/// A sum over two vectors: its name, the operator, and one of its terms.
type SumOfTwo = (&'static str, fn(Level, &[f32], &[f32]) -> f32, fn(f64, f64) -> f64);

const SUMS: [SumOfTwo; 3] = [
    ("dot", dot, |a, b| a * b),
    ("squared distance", squared_distance, |a, b| (a - b) * (a - b)),
    ("absolute distance", absolute_distance, |a, b| (a - b).abs()),
];

#[test]
fn sums_of_two_vectors() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(22);
        for len in (0..=130).chain([384, 768, 1000, 4096]) {
            let (a, b) = (random.wilds(len), random.wilds(len));
            for (name, sum, term) in SUMS {
                let got = sum(level, &a, &b);
                let expected = sum(Level::REFERENCE, &a, &b);
                let size: f64 = a.iter().zip(&b).map(|(&a, &b)| term(f64::from(a), f64::from(b)).abs()).sum();
                // A difference errs by one rounding, its square by three; then the sum, and the reference.
                let bound = (additions(len) + 5.0) * ROUNDING * size;
                let error = (f64::from(got) - f64::from(expected)).abs();
                failures
                    .check(error <= bound, || format!("{name} of {len}: {got:e}, not {expected:e}, bound {bound:e}"));
            }
        }
    });
}

#[test]
fn sums_of_integers_are_exact() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(23);
        for len in 0..=300 {
            let (a, b) = (random.integers(len, 9), random.integers(len, 9));
            for (name, sum, term) in SUMS {
                let expected: f64 = a.iter().zip(&b).map(|(&a, &b)| term(f64::from(a), f64::from(b))).sum();
                let got = sum(level, &a, &b);
                failures.check(f64::from(got) == expected, || format!("{name} of {len}: {got}, not {expected}"));
            }
        }
    });
}

#[test]
fn sums_keep_not_a_number_and_refuse() {
    common::on_each_level(|level, failures| {
        for (name, sum, _) in SUMS {
            for len in [1, 16, 63, 64, 130] {
                for at in [0, len / 2, len - 1] {
                    let mut a = vec![1.0; len];
                    a[at] = f32::NAN;
                    let (left, right) = (sum(level, &a, &vec![2.0; len]), sum(level, &vec![2.0; len], &a));
                    failures.check(left.is_nan() && right.is_nan(), || format!("{name}: NaN at {at} of {len}"));
                }
            }
            assert_panics("vectors of one length", || sum(level, &[1.0; 3], &[1.0; 4]));
        }
    });
}

/// Rows with some distance between them, and their mean.
fn mean_of(level: Level, x: &[f32], rows: usize, width: usize, stride: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; width];
    mean_of_rows(level, MatRef::with_stride(x, rows, width, stride), &mut y);
    y
}

#[test]
fn means_of_rows() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(24);
        for rows in 1..=70 {
            for width in [1, 15, 16, 17, 40] {
                let stride = width + 3;
                let x = random.wilds(rows * stride);
                let got = mean_of(level, &x, rows, width, stride);
                let expected = mean_of(Level::REFERENCE, &x, rows, width, stride);
                for j in 0..width {
                    let size: f64 = (0..rows).map(|i| f64::from(x[i * stride + j].abs())).sum::<f64>() / rows as f64;
                    // Sixteen of a block, the blocks, the quotient and the reference.
                    let bound = (16.0 + rows.div_ceil(16) as f64 + 2.0) * ROUNDING * size;
                    let error = (f64::from(got[j]) - f64::from(expected[j])).abs();
                    failures
                        .check(error <= bound, || format!("{rows} rows, column {j}: {}, not {}", got[j], expected[j]));
                }
            }
        }
        // One row is its own mean.
        let x = random.wilds(33);
        failures.same_bits(&mean_of(level, &x, 1, 33, 33), &x, || "one row".to_owned());
        // Small integers sum without rounding, so equal rows have their own mean.
        let x = random.integers(33, 9);
        failures.same_bits(&mean_of(level, &x.repeat(64), 64, 33, 33), &x, || "64 equal rows".to_owned());
    });
}

/// Sums in which later rows count more: the error of each step is at most that of its own rounding.
#[test]
fn weighted_sums_of_rows() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(25);
        for rows in [0, 1, 2, 15, 16, 17, 70, 513] {
            for (width, first, by) in [(1, 1.0, 1.0), (16, 1.0, 3.0), (17, 7.0, 0.5), (40, 512.0, 700.0)] {
                let x = random.wilds(rows * width);
                let sum = |level| {
                    let mut y = vec![f32::NAN; width];
                    sum_of_rows(level, MatRef::new(&x, rows, width), Count::RisingFrom(first), by, &mut y);
                    y
                };
                let (got, expected) = (sum(level), sum(Level::REFERENCE));
                for j in 0..width {
                    let count = |i: usize| f64::from(first) + i as f64;
                    let size: f64 = (0..rows).map(|i| count(i) * f64::from(x[i * width + j].abs())).sum();
                    let bound = (32.0 + rows.div_ceil(16) as f64 + 2.0) * ROUNDING * size / f64::from(by);
                    let error = (f64::from(got[j]) - f64::from(expected[j])).abs();
                    failures
                        .check(error <= bound, || format!("{rows} rows, column {j}: {}, not {}", got[j], expected[j]));
                }
            }
        }
        // Small integers: exactly, and what it is for.
        let mut y = [f32::NAN; 2];
        sum_of_rows(level, MatRef::new(&[1.0, 4.0, 10.0, 0.0, 0.0, -8.0], 3, 2), Count::RisingFrom(1.0), 6.0, &mut y);
        failures.same_bits(&y, &[21.0 / 6.0, -20.0 / 6.0], || "1, 2 and 3 times".to_owned());
    });
}

#[test]
fn largest_of_rows() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(26);
        for rows in [1, 2, 16, 17, 70] {
            for width in [1, 15, 16, 17, 40] {
                let x = random.wilds(rows * width);
                let largest = |level, x: &[f32]| {
                    let mut y = vec![f32::NAN; width];
                    max_of_rows(level, MatRef::new(x, rows, width), &mut y);
                    y
                };
                failures.same_bits(&largest(level, &x), &largest(Level::REFERENCE, &x), || format!("{rows}, {width}"));
                for value in [f32::NAN, f32::NEG_INFINITY, f32::INFINITY] {
                    let mut x = x.clone();
                    x[(rows - 1) * width + width / 2] = value;
                    let y = largest(level, &x);
                    let right = y.iter().enumerate().all(|(j, y)| y.is_nan() == (j == width / 2));
                    failures.check(right, || format!("{value} among {rows} rows of {width}: {y:?}"));
                }
            }
        }
        assert_panics("the largest of no rows", || max_of_rows(level, MatRef::new(&[], 0, 2), &mut [0.0; 2]));
        assert_panics("the largest of rows has their width", || {
            max_of_rows(level, MatRef::new(&[1.0; 4], 2, 2), &mut [0.0; 3])
        });
    });
}

#[test]
fn means_keep_not_a_number_and_refuse() {
    common::on_each_level(|level, failures| {
        for rows in [1, 16, 17, 70] {
            let mut x = vec![1.0; rows * 20];
            x[(rows - 1) * 20 + 18] = f32::NAN;
            let y = mean_of(level, &x, rows, 20, 20);
            let right = y.iter().enumerate().all(|(j, y)| y.is_nan() == (j == 18));
            failures.check(right, || format!("{rows} rows: {y:?}"));
        }
        assert_panics("the mean of no rows", || mean_of_rows(level, MatRef::new(&[], 0, 2), &mut [0.0; 2]));
        assert_panics("the sum of rows has their width", || {
            mean_of_rows(level, MatRef::new(&[1.0; 4], 2, 2), &mut [0.0; 3])
        });
    });
}

/// Sums and quotients are rounded operation by operation, so they are the same on all levels; the reference rounds a sum
/// of three only once.
#[test]
fn additions_and_divisions() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(25);
        for len in (0..=130).chain([768]) {
            let (a, b, c) = (random.wilds(len), random.wilds(len), random.wilds(len));
            let two: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            let mut y = vec![f32::NAN; len];
            add(level, &a, &b, None, &mut y);
            failures.same_bits(&y, &two, || format!("two of {len}"));
            add(level, &a, &b, Some(&c), &mut y);
            let three: Vec<f32> = if level == Level::REFERENCE {
                let wide = |i: usize| f64::from(a[i]) + f64::from(b[i]) + f64::from(c[i]);
                (0..len).map(|i| wide(i) as f32).collect()
            } else {
                two.iter().zip(&c).map(|(two, c)| two + c).collect()
            };
            failures.same_bits(&y, &three, || format!("three of {len}"));
            let by = random.wild();
            let mut y = a.clone();
            divide(level, &mut y, by);
            let quotients: Vec<f32> = a.iter().map(|a| a / by).collect();
            failures.same_bits(&y, &quotients, || format!("{len} by {by}"));
        }
    });
}

#[test]
fn additions_and_divisions_keep_not_a_number_and_refuse() {
    common::on_each_level(|level, failures| {
        let (ones, nan) = ([1.0; 18], [f32::NAN; 18]);
        let mut y = [0.0; 18];
        for (a, b, c) in [(&nan, &ones, &ones), (&ones, &nan, &ones), (&ones, &ones, &nan)] {
            add(level, a, b, Some(c), &mut y);
            failures.check(y.iter().all(|y| y.is_nan()), || format!("sum {y:?}"));
        }
        let mut y = nan;
        divide(level, &mut y, 2.0);
        failures.check(y.iter().all(|y| y.is_nan()), || format!("quotient {y:?}"));
        let mut y = [0.0; 3];
        assert_panics("vectors of one length", || add(level, &ones[..4], &ones[..3], None, &mut y));
        assert_panics("vectors of one length", || add(level, &ones[..3], &ones[..2], None, &mut y));
        assert_panics("vectors of one length", || add(level, &ones[..3], &ones[..3], Some(&ones[..4]), &mut y));
    });
}

#[test]
fn vectors_of_fused_levels() {
    fused_levels_agree(|level| {
        let mut random = Random::new(26);
        let mut all = Vec::new();
        for len in lengths() {
            let (a, b, c) = (random.wilds(len), random.wilds(len), random.wilds(len));
            all.extend(SUMS.map(|(_, sum, _)| sum(level, &a, &b)));
            let mut y = vec![0.0; len];
            add(level, &a, &b, Some(&c), &mut y);
            divide(level, &mut y, c[0]);
            all.extend(y);
            for rows in [1, 16, 17, 70] {
                all.extend(mean_of(level, &random.wilds(rows * len), rows, len, len));
            }
        }
        all
    });
}
