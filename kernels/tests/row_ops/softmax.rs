//! Softmax.

use super::*;

const NO_BIAS: ScoreTransform<'_> = ScoreTransform { scale: 1.0, bias: &[], start: 0 };

/// Returns the softmax of a row with some columns of padding, which are NaN before.
fn softmax_of(level: Level, x: &[f32], padding: usize, scores: ScoreTransform<'_>) -> Vec<f32> {
    let mut row = x.to_vec();
    row.resize(x.len() + padding, f32::NAN);
    let cols = row.len();
    softmax(level, MatMut::new(&mut row, 1, cols), |_| 0..x.len(), scores);
    row
}

/// Returns the largest relative error of a probability against the reference level.
///
/// A score errs by one rounding of its product and one of its sum, relative to the largest
/// magnitude, and so does the maximum. Their difference errs by one more rounding. These errors are
/// absolute, and exp makes them relative. exp itself (2 roundings make an ulp), the sum, the
/// reciprocal, the last product and the rounding of the reference level follow.
fn softmax_bound(x: &[f32], scores: ScoreTransform<'_>) -> f64 {
    let bias = |j: usize| scores.bias.get(scores.start + j).map_or(0.0, |bias| bias.abs());
    let size = |(j, x): (usize, &f32)| f64::from(x.abs() * scores.scale.abs() + bias(j));
    let largest = x.iter().enumerate().map(size).fold(0.0, f64::max);
    (2.0 * 2.0 * largest + 2.0 * largest + 2.0 * 2.5 + additions(x.len()) + 4.0) * ROUNDING
}

fn check_softmax(
    failures: &mut Failures,
    level: Level,
    x: &[f32],
    padding: usize,
    scores: ScoreTransform<'_>,
    name: &str,
) {
    let got = softmax_of(level, x, padding, scores);
    let expected = softmax_of(Level::REFERENCE, x, padding, scores);
    let bound = softmax_bound(x, scores);
    let what = || format!("{name}, {} + {padding}", x.len());
    for (j, (&got, &expected)) in got.iter().zip(&expected).enumerate() {
        // Probabilities below the smallest normal number are zero.
        let error = (f64::from(got) - f64::from(expected)).abs();
        let max_error = bound * f64::from(expected) + f64::from(f32::MIN_POSITIVE);
        failures.check(error <= max_error, || format!("{}: p[{j}] is {got:e}, not {expected:e}", what()));
    }
    failures.check(got[x.len()..].iter().all(|&p| p.to_bits() == 0), || format!("{}: padding is not zero", what()));
    let sum: f64 = got.iter().map(|&p| f64::from(p)).sum();
    // All share the error of the common factor; each product adds its error.
    let max_error = (additions(x.len()) + 4.0) * ROUNDING;
    failures.check((sum - 1.0).abs() <= max_error, || format!("{}: the sum is 1 + {:e}", what(), sum - 1.0));
}

#[test]
fn softmax_at_every_length_stays_within_bound() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(11);
        for len in lengths() {
            for padding in [0, 1, 16 - len % 16, 19] {
                let x: Vec<f32> = random.units(len).iter().map(|x| 30.0 * x).collect();
                let bias = random.units(len);
                let scores = ScoreTransform { scale: 0.125, bias: &bias, start: 0 };
                check_softmax(failures, level, &x, padding, ScoreTransform { bias: &[], ..scores }, "no bias");
                check_softmax(failures, level, &x, padding, scores, "bias");
            }
        }
    });
}

#[test]
fn softmax_of_extreme_rows_returns_exact_limits() {
    common::on_each_level(|level, failures| {
        for len in lengths() {
            let only =
                |at: usize, value: f32, rest: f32| (0..len).map(|j| if j == at { value } else { rest }).collect();
            let check = |failures: &mut Failures, x: Vec<f32>, expected: Vec<f32>, name: &str| {
                let got = softmax_of(level, &x, 3, NO_BIAS);
                let is_right =
                    got.iter().zip(&expected).all(|(got, expected)| (got - expected).abs() <= 1e-6 * expected);
                failures.check(is_right, || format!("{name} of {len}: {got:?}"));
            };
            let even = vec![1.0 / len as f32; len];
            for value in [0.0, -0.0, 1e30, -1e30, f32::MAX, f32::MIN, 1e-40] {
                check(failures, vec![value; len], even.clone(), "all equal");
            }
            let at = len / 2;
            // One score outweighs all others, which are as small as possible.
            check(failures, only(at, 1e30, -1e30), only(at, 1.0, 0.0), "one huge");
            check(failures, only(at, 1e30, 0.0), only(at, 1.0, 0.0), "one huge among zeros");
            if len > 1 {
                // A masked score gets 0, and the others share the rest.
                let share = only(at, 0.0, 1.0 / (len - 1) as f32);
                check(failures, only(at, f32::NEG_INFINITY, 0.5), share.clone(), "one masked by infinity");
                check(failures, only(at, -1e30, 0.5), share.clone(), "one masked by a number");
                check(failures, only(at, f32::MIN, 1e30), share, "one masked among huge");
            }
        }
    });
}

/// Row i, column j uses element start − i + j, which this test reads from a table.
#[test]
fn softmax_bias_for_each_row_shifts_by_one() {
    #[rustfmt::skip]
    let table = [
        [30.0, 40.0, 50.0, 60.0],
        [20.0, 30.0, 40.0, 50.0],
        [10.0, 20.0, 30.0, 40.0],
    ];
    // Two rows more than are used, and one element after the last.
    let bias = [-2.0, -1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 99.0];
    common::on_each_level(|level, failures| {
        let x = Random::new(12).units(3 * 4);
        let mut got = x.clone();
        softmax(level, MatMut::new(&mut got, 3, 4), |_| 0..4, ScoreTransform { scale: 10.0, bias: &bias, start: 4 });
        for (i, row) in table.iter().enumerate() {
            let expected = softmax_of(level, &x[4 * i..][..4], 0, ScoreTransform { scale: 10.0, bias: row, start: 0 });
            failures.same_bits(&got[4 * i..][..4], &expected, || format!("row {i}"));
        }
    });
}

/// The bias is added to the scaled score, not scaled with it.
#[test]
fn softmax_with_scale_and_bias_scales_first() {
    common::on_each_level(|level, failures| {
        let got = softmax_of(level, &[8.0, 0.0], 0, ScoreTransform { scale: 0.25, bias: &[0.0, 2.0], start: 0 });
        failures.same_bits(&got, &[0.5, 0.5], || "8 / 4 + 0 and 0 / 4 + 2".to_owned());
    });
}

#[test]
fn softmax_of_strided_view_leaves_gaps_unchanged() {
    common::on_each_level(|level, failures| {
        let rows = 4;
        let len = 5;
        let cols = 7;
        let stride = 11;
        let x = Random::new(13).units(rows * stride);
        let mut got = x.clone();
        softmax(level, MatMut::with_stride(&mut got, rows, cols, stride), |_| 0..len, NO_BIAS);
        let mut expected = x.clone();
        for row in expected.chunks_mut(stride) {
            let p = softmax_of(level, &row[..len], cols - len, NO_BIAS);
            row[..cols].copy_from_slice(&p);
        }
        failures.same_bits(&got, &expected, || "rows of a view".to_owned());
    });
}

#[test]
fn softmax_of_row_with_nan_returns_nan() {
    common::on_each_level(|level, failures| {
        for len in lengths() {
            for at in [0, len / 2, len - 1] {
                let mut x = Random::new(14).units(len);
                x[at] = f32::NAN;
                let got = softmax_of(level, &x, 2, NO_BIAS);
                failures.check(got[..len].iter().all(|p| p.is_nan()), || format!("NaN at {at} of {len}: {got:?}"));
                failures.check(got[len..] == [0.0; 2], || format!("NaN at {at} of {len} reached the padding"));
            }
            // All scores masked: 0 / 0.
            let got = softmax_of(level, &vec![f32::NEG_INFINITY; len], 0, NO_BIAS);
            failures.check(got.iter().all(|p| p.is_nan()), || format!("all {len} masked: {got:?}"));
        }
    });
}

#[test]
fn softmax_of_empty_rows_returns_zero_padding() {
    common::on_each_level(|level, failures| {
        failures.same_bits(&softmax_of(level, &[], 5, NO_BIAS), &[0.0; 5], || "no scores".to_owned());
        softmax(level, MatMut::new(&mut [], 0, 5), |_| 0..5, NO_BIAS);
    });
}

#[test]
fn softmax_with_mismatched_shapes_panics() {
    common::on_each_level(|level, _| {
        let run = |len: usize, bias: &[f32], start: usize| {
            let mut x = [0.0; 12];
            softmax(level, MatMut::new(&mut x, 3, 4), |_| 0..len, ScoreTransform { scale: 1.0, bias, start });
        };
        run(4, &[0.0; 6], 2);
        assert_panics("softmax: scores of row 0: expected a part of 0..4, found 0..5", || run(5, &[], 0));
        assert_panics("does not cover 4 scores of row 0", || run(4, &[0.0; 5], 2));
        assert_panics("does not cover 4 scores of row 2", || run(4, &[0.0; 9], 1));
    });
}

#[test]
fn softmax_on_fused_levels_gives_same_bits() {
    fused_levels_agree(|level| {
        let mut random = Random::new(15);
        let mut all = Vec::new();
        for len in lengths() {
            let x = random.wilds(len);
            let bias = random.units(len);
            all.extend(softmax_of(level, &x, 3, ScoreTransform { scale: 0.1, bias: &bias, start: 0 }));
            all.extend(softmax_of(level, &random.units(len), 0, ScoreTransform { scale: 9.0, ..NO_BIAS }));
        }
        all
    });
}

/// A row with hidden columns before and after has the bits of the visible columns alone, if these
/// start at the same lane.
#[test]
fn softmax_with_hidden_columns_keeps_bits_of_visible_ones() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(18);
        for (start, end, cols) in [(0, 5, 40), (3, 20, 48), (16, 48, 64), (17, 18, 33), (35, 130, 131), (128, 260, 300)]
        {
            let x = random.units(cols);
            let bias = random.units(cols);
            let run = |x: &[f32], visible: std::ops::Range<usize>, bias: &[f32]| {
                let mut row = x.to_vec();
                let transform = ScoreTransform { scale: 3.0, bias, start: 0 };
                softmax(level, MatMut::new(&mut row, 1, x.len()), |_| visible.clone(), transform);
                row
            };
            let mut hidden = x.clone();
            hidden[..start].fill(f32::NAN);
            hidden[end..].fill(f32::INFINITY);
            let got = run(&hidden, start..end, &bias);
            let first = start / 16 * 16;
            let alone = run(&x[first..end], start - first..end - first, &bias[first..end]);
            let what = || format!("{start}..{end} of {cols}");
            failures.same_bits(&got[first..end], &alone, what);
            failures.same_bits(&got[..start], &vec![0.0; start], what);
            failures.same_bits(&got[end..], &vec![0.0; cols - end], what);
            let sum: f64 = got.iter().map(|&p| f64::from(p)).sum();
            failures.check((sum - 1.0).abs() < 1e-5, || format!("{}: the sum is {sum}", what()));
        }
    });
}

/// Each row has its own visible columns.
#[test]
fn softmax_of_a_band_is_that_of_each_row() {
    common::on_each_level(|level, failures| {
        let (rows, cols) = (5, 50);
        let x = Random::new(19).units(rows * cols);
        let visible = |i: usize| 7 + 3 * i..30 + 4 * i;
        let mut got = x.clone();
        softmax(level, MatMut::new(&mut got, rows, cols), visible, NO_BIAS);
        for i in 0..rows {
            let mut row = x[i * cols..][..cols].to_vec();
            softmax(level, MatMut::new(&mut row, 1, cols), |_| visible(i), NO_BIAS);
            failures.same_bits(&got[i * cols..][..cols], &row, || format!("row {i}"));
        }
    });
}
