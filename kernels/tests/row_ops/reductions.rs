//! Distances of two vectors, reductions of rows, element-wise operators.

use super::*;

/// A sum over two vectors: its name, the operator, and the function of one term.
type SumOfTwo = (&'static str, fn(Level, &[f32], &[f32]) -> f32, fn(f64, f64) -> f64);

const SUMS: [SumOfTwo; 3] = [
    ("dot", dot, |a, b| a * b),
    ("squared distance", squared_distance, |a, b| (a - b) * (a - b)),
    ("Manhattan distance", manhattan_distance, |a, b| (a - b).abs()),
];

#[test]
fn distances_at_every_length_stay_within_bound() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(22);
        for len in (0..=130).chain([384, 768, 1000, 4096]) {
            let a = random.wilds(len);
            let b = random.wilds(len);
            for (name, sum, term) in SUMS {
                let got = sum(level, &a, &b);
                let expected = sum(Level::REFERENCE, &a, &b);
                let size: f64 = a.iter().zip(&b).map(|(&a, &b)| term(f64::from(a), f64::from(b)).abs()).sum();
                // A difference errs by one rounding, its square by three; the sum and the reference
                // level follow.
                let bound = (additions(len) + 5.0) * ROUNDING * size;
                let error = (f64::from(got) - f64::from(expected)).abs();
                failures
                    .check(error <= bound, || format!("{name} of {len}: {got:e}, not {expected:e}, bound {bound:e}"));
            }
        }
    });
}

#[test]
fn distances_of_small_integers_are_exact() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(23);
        for len in 0..=300 {
            let a = random.integers(len, 9);
            let b = random.integers(len, 9);
            for (name, sum, term) in SUMS {
                let expected: f64 = a.iter().zip(&b).map(|(&a, &b)| term(f64::from(a), f64::from(b))).sum();
                let got = sum(level, &a, &b);
                failures.check(f64::from(got) == expected, || format!("{name} of {len}: {got}, not {expected}"));
            }
        }
    });
}

#[test]
fn distances_with_nan_or_mismatched_lengths_return_nan_or_panic() {
    common::on_each_level(|level, failures| {
        for (name, sum, _) in SUMS {
            for len in [1, 16, 63, 64, 130] {
                for at in [0, len / 2, len - 1] {
                    let mut a = vec![1.0; len];
                    a[at] = f32::NAN;
                    let left = sum(level, &a, &vec![2.0; len]);
                    let right = sum(level, &vec![2.0; len], &a);
                    failures.check(left.is_nan() && right.is_nan(), || format!("{name}: NaN at {at} of {len}"));
                }
            }
            assert_panics("lengths of the vectors", || sum(level, &[1.0; 3], &[1.0; 4]));
        }
    });
}

/// Returns the mean of rows that start `stride` apart.
fn mean_of(level: Level, x: &[f32], rows: usize, width: usize, stride: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; width];
    mean_over_rows(level, MatRef::with_stride(x, rows, width, stride), &mut y);
    y
}

#[test]
fn mean_of_rows_at_every_count_stays_within_bound() {
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
                    // Sixteen additions of a block, the blocks, the quotient and the reference
                    // level.
                    let bound = (16.0 + rows.div_ceil(16) as f64 + 2.0) * ROUNDING * size;
                    let error = (f64::from(got[j]) - f64::from(expected[j])).abs();
                    failures
                        .check(error <= bound, || format!("{rows} rows, column {j}: {}, not {}", got[j], expected[j]));
                }
            }
        }
        // The mean of one row is the row.
        let x = random.wilds(33);
        failures.same_bits(&mean_of(level, &x, 1, 33, 33), &x, || "one row".to_owned());
        // Small integers sum without rounding, so the mean of equal rows is exact.
        let x = random.integers(33, 9);
        failures.same_bits(&mean_of(level, &x.repeat(64), 64, 33, 33), &x, || "64 equal rows".to_owned());
    });
}

/// Sums in which later rows have larger weights: each step errs by at most one rounding.
#[test]
fn sum_of_rows_with_linear_weights_stays_within_bound() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(25);
        for rows in [0, 1, 2, 15, 16, 17, 70, 513] {
            for (width, first, by) in [(1, 1.0, 1.0), (16, 1.0, 3.0), (17, 7.0, 0.5), (40, 512.0, 700.0)] {
                let x = random.wilds(rows * width);
                let sum = |level| {
                    let mut y = vec![f32::NAN; width];
                    sum_over_rows(level, MatRef::new(&x, rows, width), RowWeights::Linear(first), by, &mut y);
                    y
                };
                let got = sum(level);
                let expected = sum(Level::REFERENCE);
                for j in 0..width {
                    let weight = |i: usize| f64::from(first) + i as f64;
                    let size: f64 = (0..rows).map(|i| weight(i) * f64::from(x[i * width + j].abs())).sum();
                    let bound = (32.0 + rows.div_ceil(16) as f64 + 2.0) * ROUNDING * size / f64::from(by);
                    let error = (f64::from(got[j]) - f64::from(expected[j])).abs();
                    failures
                        .check(error <= bound, || format!("{rows} rows, column {j}: {}, not {}", got[j], expected[j]));
                }
            }
        }
        // Sums of small integers are exact.
        let mut y = [f32::NAN; 2];
        sum_over_rows(
            level,
            MatRef::new(&[1.0, 4.0, 10.0, 0.0, 0.0, -8.0], 3, 2),
            RowWeights::Linear(1.0),
            6.0,
            &mut y,
        );
        failures.same_bits(&y, &[21.0 / 6.0, -20.0 / 6.0], || "1, 2 and 3 times".to_owned());
    });
}

#[test]
fn max_of_rows_with_non_finite_element_returns_nan() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(26);
        for rows in [1, 2, 16, 17, 70] {
            for width in [1, 15, 16, 17, 40] {
                let x = random.wilds(rows * width);
                let max = |level, x: &[f32]| {
                    let mut y = vec![f32::NAN; width];
                    max_over_rows(level, MatRef::new(x, rows, width), &mut y);
                    y
                };
                failures.same_bits(&max(level, &x), &max(Level::REFERENCE, &x), || format!("{rows}, {width}"));
                for value in [f32::NAN, f32::NEG_INFINITY, f32::INFINITY] {
                    let mut x = x.clone();
                    x[(rows - 1) * width + width / 2] = value;
                    let y = max(level, &x);
                    let is_right = y.iter().enumerate().all(|(j, y)| y.is_nan() == (j == width / 2));
                    failures.check(is_right, || format!("{value} among {rows} rows of {width}: {y:?}"));
                }
            }
        }
        assert_panics("maximum of rows: expected at least 1 row", || {
            max_over_rows(level, MatRef::new(&[], 0, 2), &mut [0.0; 2])
        });
        assert_panics("maximum of rows: width of x (left) and of y (right)", || {
            max_over_rows(level, MatRef::new(&[1.0; 4], 2, 2), &mut [0.0; 3])
        });
    });
}

#[test]
fn mean_of_rows_with_nan_or_mismatched_width_returns_nan_or_panics() {
    common::on_each_level(|level, failures| {
        for rows in [1, 16, 17, 70] {
            let mut x = vec![1.0; rows * 20];
            x[(rows - 1) * 20 + 18] = f32::NAN;
            let y = mean_of(level, &x, rows, 20, 20);
            let is_right = y.iter().enumerate().all(|(j, y)| y.is_nan() == (j == 18));
            failures.check(is_right, || format!("{rows} rows: {y:?}"));
        }
        assert_panics("mean of rows: expected at least 1 row", || {
            mean_over_rows(level, MatRef::new(&[], 0, 2), &mut [0.0; 2])
        });
        assert_panics("sum of rows: width of x (left) and of y (right)", || {
            mean_over_rows(level, MatRef::new(&[1.0; 4], 2, 2), &mut [0.0; 3])
        });
    });
}

/// Each operation is rounded on its own, so all levels give the same bits, except that the
/// reference level rounds a sum of three vectors only once.
#[test]
fn elementwise_at_every_length_rounds_each_operation() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(25);
        for len in (0..=130).chain([768]) {
            let a = random.wilds(len);
            let b = random.wilds(len);
            let c = random.wilds(len);
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
fn elementwise_with_nan_or_mismatched_lengths_returns_nan_or_panics() {
    common::on_each_level(|level, failures| {
        let ones = [1.0; 18];
        let nan = [f32::NAN; 18];
        let mut y = [0.0; 18];
        for (a, b, c) in [(&nan, &ones, &ones), (&ones, &nan, &ones), (&ones, &ones, &nan)] {
            add(level, a, b, Some(c), &mut y);
            failures.check(y.iter().all(|y| y.is_nan()), || format!("sum {y:?}"));
        }
        let mut y = nan;
        divide(level, &mut y, 2.0);
        failures.check(y.iter().all(|y| y.is_nan()), || format!("quotient {y:?}"));
        let mut y = [0.0; 3];
        assert_panics("add: lengths of a and b", || add(level, &ones[..4], &ones[..3], None, &mut y));
        assert_panics("add: lengths of a and b", || add(level, &ones[..3], &ones[..2], None, &mut y));
        assert_panics("add: length of c", || add(level, &ones[..3], &ones[..3], Some(&ones[..4]), &mut y));
    });
}

#[test]
fn reductions_on_fused_levels_give_same_bits() {
    fused_levels_agree(|level| {
        let mut random = Random::new(26);
        let mut all = Vec::new();
        for len in lengths() {
            let a = random.wilds(len);
            let b = random.wilds(len);
            let c = random.wilds(len);
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
