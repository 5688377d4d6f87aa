//! The values of a product.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, gemm};
use likewise_kernels::math::{Activation, activate};
use likewise_kernels::view::{MatMut, MatRef};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::common::{self, Failures, ROUNDING, Random, roundings};
use crate::matrix::{Guarded, Matrix, pack, product};

/// Returns sizes below, at and above a tile's.
fn around(size: usize) -> Vec<usize> {
    let mut sizes = vec![1, size - 1, size, size + 1, 2 * size + 1];
    sizes.retain(|&size| size > 0);
    sizes.dedup();
    sizes
}

const DEPTHS: [usize; 8] = [0, 1, 2, 7, 16, 17, 64, 768];

/// Returns bias + A · Wᵀ by three loops. Sums of small integers are exact in f32, so their order
/// does not matter.
fn naive_product(a: &Matrix, w: &Matrix, bias: Option<&[f32]>) -> Matrix {
    let mut out = Vec::new();
    for m in 0..a.rows {
        for n in 0..w.rows {
            let sum: f32 = a.row(m).iter().zip(w.row(n)).map(|(a, w)| a * w).sum();
            out.push(sum + bias.map_or(0.0, |bias| bias[n]));
        }
    }
    Matrix::new(a.rows, w.rows, out)
}

/// Compares a guarded product with the expected one, bit for bit except for the sign of zero.
fn check_guarded(failures: &mut Failures, out: &Guarded, expected: &Matrix, what: impl Fn() -> String) {
    let (got, changed) = out.split_guards();
    failures.check(changed == 0, || format!("{}: {changed} guards changed", what()));
    let wrong = got.data.iter().zip(&expected.data).position(|(got, expected)| got != expected);
    failures.check(wrong.is_none(), || {
        let at = wrong.unwrap_or_default();
        format!("{}: {} at {at}, not {}", what(), got.data[at], expected.data[at])
    });
}

#[test]
fn gemm_of_small_integers_is_exact_and_stays_in_bounds() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(3);
        for m in around(level.tile_rows()) {
            for n in around(level.panel_width()) {
                for k in DEPTHS {
                    let a = Matrix::new(m, k, random.integers(m * k, 3));
                    let w = Matrix::new(n, k, random.integers(n * k, 3));
                    let bias = random.integers(n, 9);
                    let residual = Matrix::new(m, n, random.integers(m * n, 9));
                    for bias in [None, Some(bias.as_slice())] {
                        check_epilogues(failures, level, [&a, &w, &residual], bias);
                    }
                }
            }
        }
    });
}

fn check_epilogues(failures: &mut Failures, level: Level, [a, w, residual]: [&Matrix; 3], bias: Option<&[f32]>) {
    let guarded_a = Guarded::from_matrix(a);
    let guarded_residual = Guarded::from_matrix(residual);
    let packed = pack(level, w);
    let sums = naive_product(a, w, bias);
    let mut added = sums.clone();
    added.data.iter_mut().zip(&residual.data).for_each(|(sum, x)| *sum += x);
    let mut cases = vec![(Epilogue::Store, sums.clone()), (Epilogue::Add(guarded_residual.view()), added)];
    for f in Activation::ALL {
        let mut activated = sums.clone();
        activate(level, f, MatMut::new(&mut activated.data, a.rows, w.rows));
        cases.push((Epilogue::Activate(f), activated));
    }
    for (epilogue, expected) in cases {
        let mut out = Guarded::new(a.rows, w.rows);
        gemm(level, guarded_a.view(), packed.panels(), bias, epilogue, out.view_mut());
        check_guarded(failures, &out, &expected, || {
            let name = format!("{epilogue:?}");
            let name = name.split(['(', ' ']).next().unwrap_or_default().to_owned();
            let kind = if let Epilogue::Activate(f) = epilogue { format!("{f:?}") } else { String::new() };
            format!("{} x {} by {}, bias {}, {name} {kind}", a.rows, a.cols, w.rows, bias.is_some())
        });
    }
}

#[test]
fn gemm_without_rows_or_columns_writes_nothing() {
    common::on_each_level(|level, failures| {
        let w = Matrix::new(5, 4, vec![1.0; 20]);
        let none = product(level, MatRef::new(&[], 0, 4), pack(level, &w).panels(), None, Epilogue::Store);
        failures.check(none.data.is_empty(), || "elements without rows".to_owned());
        let empty = pack(level, &Matrix::new(0, 4, Vec::new()));
        let none = product(level, MatRef::new(&[1.0; 8], 2, 4), empty.panels(), Some(&[]), Epilogue::Store);
        failures.check(none.data.is_empty(), || "elements without columns".to_owned());
    });
}

/// An output may include the padding of the last panel as columns: they become zero.
#[test]
fn gemm_wide_output_zeroes_panel_padding() {
    common::on_each_level(|level, failures| {
        let width = level.panel_width();
        let mut random = Random::new(4);
        for n in [1, width - 1, width, width + 1] {
            let m = level.tile_rows() + 1;
            let k = 9;
            let cols = n.next_multiple_of(width);
            let a = Matrix::new(m, k, random.units(m * k));
            let packed = pack(level, &Matrix::new(n, k, random.units(n * k)));
            let narrow = product(level, a.view(), packed.panels(), None, Epilogue::Store);
            let mut wide = Guarded::new(m, cols);
            gemm(level, a.view(), packed.panels(), None, Epilogue::Store, wide.view_mut());
            let (wide, changed) = wide.split_guards();
            failures.check(changed == 0, || format!("{n} columns: {changed} guards changed"));
            failures.same_bits(&wide.columns(0..n).data, &narrow.data, || format!("{n} columns"));
            let padding = wide.columns(n..cols).data;
            failures.check(padding.iter().all(|&x| x == 0.0), || format!("{n} columns: padding {padding:?}"));
        }
    });
}

/// Returns the sum of the magnitudes of all terms: |bias| + Σ |a b| + |residual|.
fn magnitude(a: &[f32], w: &[f32], bias: f32, residual: f32) -> f64 {
    let terms: f64 = a.iter().zip(w).map(|(&a, &w)| (f64::from(a) * f64::from(w)).abs()).sum();
    f64::from(bias.abs()) + terms + f64::from(residual.abs())
}

/// A random problem: M, N, K, the seed of the values, and whether there is a bias and a residual.
fn problem() -> impl Strategy<Value = (usize, usize, usize, u64, bool, bool)> {
    (1..30_usize, 1..80_usize, 0..200_usize, any::<u64>(), any::<bool>(), any::<bool>())
}

fn config(cases: u32) -> ProptestConfig {
    // A failure prints its seed; no file is written.
    let failure_persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(150))]

    /// A chain of k multiply-adds that starts at the bias errs by at most k roundings of its
    /// partial sums, which never exceed
    /// |bias| + Σ |a b|. The residual and the rounding of the reference level add one each.
    #[test]
    fn gemm_of_random_floats_stays_within_rounding_bound((m, n, k, seed, with_bias, with_residual) in problem()) {
        let mut random = Random::new(seed);
        let a = Matrix::new(m, k, random.wilds(m * k));
        let w = Matrix::new(n, k, random.wilds(n * k));
        let bias = random.wilds(n);
        let residual = Matrix::new(m, n, random.wilds(m * n));
        let start = with_bias.then_some(bias.as_slice());
        let epilogue = if with_residual { Epilogue::Add(residual.view()) } else { Epilogue::Store };
        let expected = product(Level::REFERENCE, a.view(), pack(Level::REFERENCE, &w).panels(), start, epilogue);
        common::on_each_level(|level, failures| {
            let got = product(level, a.view(), pack(level, &w).panels(), start, epilogue);
            for (at, (&got, &expected)) in got.data.iter().zip(&expected.data).enumerate() {
                let i = at / n;
                let j = at % n;
                let start = if with_bias { bias[j] } else { 0.0 };
                let added = if with_residual { residual.data[at] } else { 0.0 };
                let bound = roundings(level) * (k + 2) as f64 * ROUNDING * magnitude(a.row(i), w.row(j), start, added);
                let error = (f64::from(got) - f64::from(expected)).abs();
                failures.check(error <= bound, || format!("row {i}, column {j}: {got}, not {expected}, bound {bound:e}"));
            }
        });
    }

    /// Levels that fuse multiply-adds differ only in speed.
    #[test]
    fn gemm_on_fused_levels_gives_same_bits((m, n, k, seed, with_bias, with_residual) in problem(), f in 0..Activation::ALL.len() + 1) {
        let fused = common::fused_levels();
        let Some(&first) = fused.first() else { return Ok(()) };
        let mut random = Random::new(seed);
        let a = Matrix::new(m, k, random.wilds(m * k));
        let w = Matrix::new(n, k, random.wilds(n * k));
        let bias = random.wilds(n);
        let residual = Matrix::new(m, n, random.wilds(m * n));
        let start = with_bias.then_some(bias.as_slice());
        let epilogue = match Activation::ALL.get(f) {
            Some(&f) => Epilogue::Activate(f),
            None if with_residual => Epilogue::Add(residual.view()),
            None => Epilogue::Store,
        };
        let expected = product(first, a.view(), pack(first, &w).panels(), start, epilogue);
        common::on_levels(&fused, |level, failures| {
            let got = product(level, a.view(), pack(level, &w).panels(), start, epilogue);
            failures.same_bits(&got.data, &expected.data, || format!("{m} x {k} by {n}, not as {first}"));
        });
    }
}

/// A NaN in A affects its row of the output and no other.
#[test]
fn gemm_row_with_nan_leaves_other_rows_finite() {
    common::on_each_level(|level, failures| {
        let m = 2 * level.tile_rows() + 1;
        let k = 20;
        let n = level.panel_width() + 3;
        let mut random = Random::new(10);
        let mut a = Matrix::new(m, k, random.units(m * k));
        let w = pack(level, &Matrix::new(n, k, random.units(n * k)));
        let row = level.tile_rows();
        a.data[row * k + 7] = f32::NAN;
        for f in Activation::ALL {
            let out = product(level, a.view(), w.panels(), None, Epilogue::Activate(f));
            for i in 0..m {
                let is_right = out.row(i).iter().all(|x| x.is_nan() == (i == row));
                failures.check(is_right, || format!("{f:?}: row {i}, and row {row} has the NaN"));
            }
        }
    });
}
