//! Softmax.

use super::*;

const NO_BIAS: ScoreTransform<'_> = ScoreTransform { scale: 1.0, bias: &[], start: 0 };

/// The softmax of a row with some columns of padding, all of which are junk before.
fn softmax_of(level: Level, x: &[f32], padding: usize, scores: ScoreTransform<'_>) -> Vec<f32> {
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
                let scores = ScoreTransform { scale: 0.125, bias: &bias, start: 0 };
                check_softmax(failures, level, &x, padding, ScoreTransform { bias: &[], ..scores }, "no bias");
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
        softmax(level, MatMut::new(&mut got, 3, 4), 4, ScoreTransform { scale: 10.0, bias: &bias, start: 4 });
        for (i, row) in table.iter().enumerate() {
            let expected = softmax_of(level, &x[4 * i..][..4], 0, ScoreTransform { scale: 10.0, bias: row, start: 0 });
            failures.same_bits(&got[4 * i..][..4], &expected, || format!("row {i}"));
        }
    });
}

/// The bias is added to the scaled score, not scaled with it.
#[test]
fn softmax_scales_before_the_bias() {
    common::on_each_level(|level, failures| {
        let got = softmax_of(level, &[8.0, 0.0], 0, ScoreTransform { scale: 0.25, bias: &[0.0, 2.0], start: 0 });
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
            softmax(level, MatMut::new(&mut x, 3, 4), len, ScoreTransform { scale: 1.0, bias, start });
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
            all.extend(softmax_of(level, &x, 3, ScoreTransform { scale: 0.1, bias: &bias, start: 0 }));
            all.extend(softmax_of(level, &random.units(len), 0, ScoreTransform { scale: 9.0, ..NO_BIAS }));
        }
        all
    });
}
