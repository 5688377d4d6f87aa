//! The matrix product: exact where sums are exact, within the error of a chain elsewhere, and the same bits for a row or
//! a column whatever surrounds it.

mod common;

use common::{Failures, ROUNDING, Random, assert_panics, roundings};
use likewise_kernels::Level;
use likewise_kernels::gemm::{AlignedScratch, Epilogue, PackedLayout, PackedMatrix, Panels, gemm};
use likewise_kernels::math::{Activation, activate};
use likewise_kernels::view::{MatMut, MatRef};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Numbers of a matrix, row by row without gaps.
#[derive(Clone, Debug)]
struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f32>,
}

impl Matrix {
    fn new(rows: usize, cols: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), rows * cols, "a matrix of {rows} x {cols}");
        Self { rows, cols, data }
    }

    fn view(&self) -> MatRef<'_> {
        MatRef::new(&self.data, self.rows, self.cols)
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.cols..][..self.cols]
    }

    fn transposed(&self) -> Self {
        let data = (0..self.cols).flat_map(|j| (0..self.rows).map(move |i| self.data[i * self.cols + j])).collect();
        Self::new(self.cols, self.rows, data)
    }

    /// Columns `range`.
    fn columns(&self, range: std::ops::Range<usize>) -> Self {
        let data = (0..self.rows).flat_map(|i| self.row(i)[range.clone()].to_vec()).collect();
        Self::new(self.rows, range.len(), data)
    }
}

/// Weights [N, K], packed.
fn pack(level: Level, w: &Matrix) -> PackedMatrix {
    PackedMatrix::pack(level, w.view())
}

/// The product as a matrix of its own, whose elements were all NaN before.
fn product(level: Level, a: MatRef<'_>, b: Panels<'_>, bias: Option<&[f32]>, epilogue: Epilogue<'_>) -> Matrix {
    let (m, n) = (a.rows(), b.n());
    let mut out = vec![f32::NAN; m * n];
    gemm(level, a, b, bias, epilogue, MatMut::new(&mut out, m, n));
    Matrix::new(m, n, out)
}

/// Sizes below, at and above a tile's.
fn around(size: usize) -> Vec<usize> {
    let mut sizes = vec![1, size - 1, size, size + 1, 2 * size + 1];
    sizes.retain(|&size| size > 0);
    sizes.dedup();
    sizes
}

const DEPTHS: [usize; 8] = [0, 1, 2, 7, 16, 17, 64, 768];

/// What guards hold: a NaN that no computation makes, so that reading one shows as well as writing one.
const GUARD: u32 = 0x7fc0_dead;

/// A matrix inside a larger one: one row of guards above and below, three columns to the left, five to the right.
struct Guarded {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
}

impl Guarded {
    const LEFT: usize = 3;
    const GAP: usize = 8;

    fn new(rows: usize, cols: usize) -> Self {
        Self { data: vec![f32::from_bits(GUARD); (rows + 2) * (cols + Self::GAP)], rows, cols }
    }

    fn holding(x: &Matrix) -> Self {
        let mut guarded = Self::new(x.rows, x.cols);
        for i in 0..x.rows {
            guarded.view_mut().row_mut(i).copy_from_slice(x.row(i));
        }
        guarded
    }

    fn stride(&self) -> usize {
        self.cols + Self::GAP
    }

    fn view(&self) -> MatRef<'_> {
        MatRef::with_stride(&self.data[self.stride() + Self::LEFT..], self.rows, self.cols, self.stride())
    }

    fn view_mut(&mut self) -> MatMut<'_> {
        let (rows, cols, stride) = (self.rows, self.cols, self.stride());
        MatMut::with_stride(&mut self.data[stride + Self::LEFT..], rows, cols, stride)
    }

    /// The matrix without its guards, and how many of these have changed.
    fn open(&self) -> (Matrix, usize) {
        let inside = |at: usize| {
            let (row, col) = (at / self.stride(), at % self.stride());
            (1..=self.rows).contains(&row) && (Self::LEFT..Self::LEFT + self.cols).contains(&col)
        };
        let (mut data, mut changed) = (Vec::new(), 0);
        for (at, &x) in self.data.iter().enumerate() {
            if inside(at) {
                data.push(x);
            } else {
                changed += usize::from(x.to_bits() != GUARD);
            }
        }
        (Matrix::new(self.rows, self.cols, data), changed)
    }
}

/// bias + A · Wᵀ by the three loops. Of small integers, every sum is exact in f32 and the order does not matter.
fn plain(a: &Matrix, w: &Matrix, bias: Option<&[f32]>) -> Matrix {
    let mut out = Vec::new();
    for m in 0..a.rows {
        for n in 0..w.rows {
            let sum: f32 = a.row(m).iter().zip(w.row(n)).map(|(a, w)| a * w).sum();
            out.push(sum + bias.map_or(0.0, |bias| bias[n]));
        }
    }
    Matrix::new(a.rows, w.rows, out)
}

/// Compares a guarded product with what it must be, bit for bit except for the sign of zero.
fn check_guarded(failures: &mut Failures, out: &Guarded, expected: &Matrix, what: impl Fn() -> String) {
    let (got, changed) = out.open();
    failures.check(changed == 0, || format!("{}: {changed} guards changed", what()));
    let wrong = got.data.iter().zip(&expected.data).position(|(got, expected)| got != expected);
    failures.check(wrong.is_none(), || {
        let at = wrong.unwrap_or_default();
        format!("{}: {} at {at}, not {}", what(), got.data[at], expected.data[at])
    });
}

#[test]
fn integers_are_exact_and_guards_stay() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(3);
        for m in around(level.tile_rows()) {
            for n in around(level.panel_width()) {
                for k in DEPTHS {
                    let a = Matrix::new(m, k, random.integers(m * k, 3));
                    let w = Matrix::new(n, k, random.integers(n * k, 3));
                    let (bias, residual) = (random.integers(n, 9), Matrix::new(m, n, random.integers(m * n, 9)));
                    for bias in [None, Some(bias.as_slice())] {
                        check_epilogues(failures, level, [&a, &w, &residual], bias);
                    }
                }
            }
        }
    });
}

fn check_epilogues(failures: &mut Failures, level: Level, [a, w, residual]: [&Matrix; 3], bias: Option<&[f32]>) {
    let (guarded_a, guarded_residual) = (Guarded::holding(a), Guarded::holding(residual));
    let packed = pack(level, w);
    let sums = plain(a, w, bias);
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
fn no_rows_and_no_columns() {
    common::on_each_level(|level, failures| {
        let w = Matrix::new(5, 4, vec![1.0; 20]);
        let none = product(level, MatRef::new(&[], 0, 4), pack(level, &w).panels(), None, Epilogue::Store);
        failures.check(none.data.is_empty(), || "numbers from no rows".to_owned());
        let empty = pack(level, &Matrix::new(0, 4, Vec::new()));
        let none = product(level, MatRef::new(&[1.0; 8], 2, 4), empty.panels(), Some(&[]), Epilogue::Store);
        failures.check(none.data.is_empty(), || "numbers from no columns".to_owned());
    });
}

/// An output may have the padding of the last panel as columns of its own: they are zero.
#[test]
fn padding_of_the_last_panel_is_zero() {
    common::on_each_level(|level, failures| {
        let width = level.panel_width();
        let mut random = Random::new(4);
        for n in [1, width - 1, width, width + 1] {
            let (m, k, cols) = (level.tile_rows() + 1, 9, n.next_multiple_of(width));
            let a = Matrix::new(m, k, random.units(m * k));
            let packed = pack(level, &Matrix::new(n, k, random.units(n * k)));
            let narrow = product(level, a.view(), packed.panels(), None, Epilogue::Store);
            let mut wide = Guarded::new(m, cols);
            gemm(level, a.view(), packed.panels(), None, Epilogue::Store, wide.view_mut());
            let (wide, changed) = wide.open();
            failures.check(changed == 0, || format!("{n} columns: {changed} guards changed"));
            failures.same_bits(&wide.columns(0..n).data, &narrow.data, || format!("{n} columns"));
            let padding = wide.columns(n..cols).data;
            failures.check(padding.iter().all(|&x| x == 0.0), || format!("{n} columns: padding {padding:?}"));
        }
    });
}

/// The magnitudes that the sums are made of: |bias| + Σ |a b|, and what the epilogue adds to the sum.
fn magnitude(a: &[f32], w: &[f32], bias: f32, residual: f32) -> f64 {
    let terms: f64 = a.iter().zip(w).map(|(&a, &w)| (f64::from(a) * f64::from(w)).abs()).sum();
    f64::from(bias.abs()) + terms + f64::from(residual.abs())
}

/// A random problem: M, N, K, what the values are drawn from, and whether there is a bias and a residual.
fn problem() -> impl Strategy<Value = (usize, usize, usize, u64, bool, bool)> {
    (1..30_usize, 1..80_usize, 0..200_usize, any::<u64>(), any::<bool>(), any::<bool>())
}

fn config(cases: u32) -> ProptestConfig {
    // A failure prints its seed; no file is kept.
    let failure_persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(150))]

    /// A chain of k multiply-adds that starts at the bias errs by at most k roundings of what it passes through, which is
    /// never more than |bias| + Σ |a b|; the residual and the reference's own rounding are one each.
    #[test]
    fn error_of_a_chain((m, n, k, seed, with_bias, with_residual) in problem()) {
        let mut random = Random::new(seed);
        let a = Matrix::new(m, k, random.wilds(m * k));
        let w = Matrix::new(n, k, random.wilds(n * k));
        let (bias, residual) = (random.wilds(n), Matrix::new(m, n, random.wilds(m * n)));
        let start = with_bias.then_some(bias.as_slice());
        let epilogue = if with_residual { Epilogue::Add(residual.view()) } else { Epilogue::Store };
        let expected = product(Level::REFERENCE, a.view(), pack(Level::REFERENCE, &w).panels(), start, epilogue);
        common::on_each_level(|level, failures| {
            let got = product(level, a.view(), pack(level, &w).panels(), start, epilogue);
            for (at, (&got, &expected)) in got.data.iter().zip(&expected.data).enumerate() {
                let (i, j) = (at / n, at % n);
                let start = if with_bias { bias[j] } else { 0.0 };
                let added = if with_residual { residual.data[at] } else { 0.0 };
                let bound = roundings(level) * (k + 2) as f64 * ROUNDING * magnitude(a.row(i), w.row(j), start, added);
                let error = (f64::from(got) - f64::from(expected)).abs();
                failures.check(error <= bound, || format!("row {i}, column {j}: {got}, not {expected}, bound {bound:e}"));
            }
        });
    }

    /// Levels that fuse differ in nothing but speed.
    #[test]
    fn fused_levels_agree((m, n, k, seed, with_bias, with_residual) in problem(), f in 0..Activation::ALL.len() + 1) {
        let fused = common::fused_levels();
        let Some(&first) = fused.first() else { return Ok(()) };
        let mut random = Random::new(seed);
        let a = Matrix::new(m, k, random.wilds(m * k));
        let w = Matrix::new(n, k, random.wilds(n * k));
        let (bias, residual) = (random.wilds(n), Matrix::new(m, n, random.wilds(m * n)));
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

/// A row's bits depend on the row alone: not on how many there are, nor on which of them it is.
#[test]
fn rows_do_not_depend_on_one_another() {
    common::on_each_level(|level, failures| {
        let (rows, k, n) = (2 * level.tile_rows() + 3, 67, level.panel_width() + 5);
        let mut random = Random::new(5);
        let a = Matrix::new(rows, k, random.wilds(rows * k));
        let (packed, bias) = (pack(level, &Matrix::new(n, k, random.wilds(n * k))), random.wilds(n));
        let run = |a: MatRef<'_>| product(level, a, packed.panels(), Some(&bias), Epilogue::Activate(Activation::Gelu));
        let whole = run(a.view());
        // Every run of neighbouring rows, which puts each row at every position of every size of tile.
        for first in 0..rows {
            for last in first + 1..=rows {
                let part = run(a.view().rows_in(first..last));
                failures.same_bits(&part.data, &whole.data[first * n..last * n], || format!("rows {first}..{last}"));
            }
        }
        // A matrix of nothing but one row has nothing but one result.
        let copies = Matrix::new(rows, k, a.row(1).repeat(rows));
        failures.same_bits(&run(copies.view()).data, &whole.row(1).repeat(rows), || "copies of a row".to_owned());
    });
}

/// Any columns from a panel's first on are a matrix of their own.
#[test]
fn columns_do_not_depend_on_one_another() {
    common::on_each_level(|level, failures| {
        let width = level.panel_width();
        let (m, k, n) = (level.tile_rows() + 1, 33, 3 * width + 7);
        let mut random = Random::new(6);
        let a = Matrix::new(m, k, random.wilds(m * k));
        let w = Matrix::new(n, k, random.wilds(n * k));
        let bias = random.wilds(n);
        let packed = pack(level, &w);
        let whole = product(level, a.view(), packed.panels(), Some(&bias), Epilogue::Store);
        for first in (0..=n).step_by(width) {
            for last in first..=n {
                let range = first..last;
                let panels = packed.panels().columns(range.clone());
                failures
                    .check((panels.n(), panels.k()) == (range.len(), k), || format!("columns {range:?}: their size"));
                let part = product(level, a.view(), panels, Some(&bias[range.clone()]), Epilogue::Store);
                failures.same_bits(&part.data, &whole.columns(range.clone()).data, || format!("columns {range:?}"));
            }
        }
        // Panels of panels.
        let twice = packed.panels().columns(width..n).columns(width..width + 3);
        let part = product(level, a.view(), twice, Some(&bias[2 * width..2 * width + 3]), Epilogue::Store);
        failures.same_bits(&part.data, &whole.columns(2 * width..2 * width + 3).data, || "columns twice".to_owned());
    });
}

/// The ways to a right-hand matrix end in the same bits.
#[test]
fn all_panels_are_alike() {
    common::on_each_level(|level, failures| {
        let width = level.panel_width();
        let mut random = Random::new(7);
        // The scratch is used again and again, so what an earlier matrix left in it must not show.
        let mut scratch = AlignedScratch::default();
        scratch.slice_mut(10_000).fill(f32::NAN);
        for n in [width - 1, width, 2 * width, 1, 2 * width + 1] {
            for k in [0, 1, 15, 16, 17, 50] {
                let m = level.tile_rows() + 1;
                let a = Matrix::new(m, k, random.wilds(m * k));
                let w = Matrix::new(n, k, random.wilds(n * k));
                // B [K, N], once as it is and once with guards, which a wrong stride would read.
                let b = w.transposed();
                let (guarded_b, guarded_w) = (Guarded::holding(&b), Guarded::holding(&w));
                let packed = pack(level, &w);
                let expected = product(level, a.view(), packed.panels(), None, Epilogue::Store);
                let mut compare = |panels: Panels<'_>, name: &str| {
                    let shape = (panels.k(), panels.n(), panels.width());
                    failures.check(shape == (k, n, width), || format!("{name}: K, N, width {shape:?}"));
                    let got = product(level, a.view(), panels, None, Epilogue::Store);
                    failures.same_bits(&got.data, &expected.data, || format!("{name}, K {k}, N {n}"));
                };
                for b in [b.view(), guarded_b.view()] {
                    compare(Panels::copied(level, b, &mut scratch), "copied");
                    let in_place = Panels::in_place(level, b);
                    assert_eq!(in_place.is_some(), n.is_multiple_of(width), "in place, N {n} by panels of {width}");
                    if let Some(in_place) = in_place {
                        compare(in_place, "in place");
                    }
                }
                for w in [w.view(), guarded_w.view()] {
                    compare(Panels::transposed(level, w, &mut scratch), "transposed");
                }
            }
        }
    });
}

/// `in_place` of some columns of a wider matrix: the values of one head among those of all.
#[test]
fn in_place_among_other_columns() {
    common::on_each_level(|level, failures| {
        let width = level.panel_width();
        let (m, k, n) = (3, 21, 3 * width);
        let mut random = Random::new(8);
        let (a, b) = (Matrix::new(m, k, random.wilds(m * k)), Matrix::new(k, n, random.wilds(k * n)));
        let part = b.columns(width..2 * width);
        let expected = product(level, a.view(), pack(level, &part.transposed()).panels(), None, Epilogue::Store);
        match Panels::in_place(level, b.view().cols_in(width..2 * width)) {
            None => failures.check(false, || "a whole panel was refused".to_owned()),
            Some(panels) => {
                let got = product(level, a.view(), panels, None, Epilogue::Store);
                failures.same_bits(&got.data, &expected.data, || "one panel of three".to_owned());
            }
        }
    });
}

/// Packing panel by panel is packing, and the size is known before.
#[test]
fn packing_panel_by_panel() {
    common::on_each_level(|level, failures| {
        for (n, k) in [(1, 1), (level.panel_width() + 1, 19), (2 * level.panel_width(), 16), (7, 0)] {
            let mut random = Random::new(9);
            let w = Matrix::new(n, k, random.wilds(n * k));
            let a = Matrix::new(2, k, random.wilds(2 * k));
            let layout = PackedLayout::new(level, n, k);
            failures.check((layout.n(), layout.k()) == (n, k), || format!("{n} x {k}: its size"));
            failures.check(layout.elements() >= n * k, || format!("{n} x {k}: {} are too few", layout.elements()));
            let mut packed = vec![f32::NAN; layout.elements()];
            for mut panel in layout.panels_mut(&mut packed) {
                panel.fill(w.view().rows_in(panel.rows()));
            }
            let got = product(level, a.view(), layout.panels(&packed), None, Epilogue::Store);
            let expected = product(level, a.view(), pack(level, &w).panels(), None, Epilogue::Store);
            failures.same_bits(&got.data, &expected.data, || format!("{n} x {k}"));
        }
    });
}

/// A NaN or an infinity shows in its row or column, and nowhere else.
#[test]
fn not_a_number_stays_in_its_row() {
    common::on_each_level(|level, failures| {
        let (m, k, n) = (2 * level.tile_rows() + 1, 20, level.panel_width() + 3);
        let mut random = Random::new(10);
        let mut a = Matrix::new(m, k, random.units(m * k));
        let w = pack(level, &Matrix::new(n, k, random.units(n * k)));
        let row = level.tile_rows();
        a.data[row * k + 7] = f32::NAN;
        for f in Activation::ALL {
            let out = product(level, a.view(), w.panels(), None, Epilogue::Activate(f));
            for i in 0..m {
                let right = out.row(i).iter().all(|x| x.is_nan() == (i == row));
                failures.check(right, || format!("{f:?}: row {i}, and row {row} has the NaN"));
            }
        }
    });
}

#[test]
fn shapes_that_do_not_fit() {
    common::on_each_level(|level, _| {
        let packed = pack(level, &Matrix::new(5, 4, vec![1.0; 20]));
        let b = packed.panels();
        let data = [1.0; 64];
        let run = |a: (usize, usize), bias: Option<usize>, residual: Option<(usize, usize)>, out: (usize, usize)| {
            let mut written = [0.0; 512];
            let epilogue = residual.map_or(Epilogue::Store, |(m, n)| Epilogue::Add(MatRef::new(&data, m, n)));
            let bias = bias.map(|n| &data[..n]);
            gemm(level, MatRef::new(&data, a.0, a.1), b, bias, epilogue, MatMut::new(&mut written, out.0, out.1));
        };
        run((3, 4), Some(5), Some((3, 5)), (3, 5));
        assert_panics("columns of a and rows of b", || run((3, 3), None, None, (3, 5)));
        assert_panics("rows of a and of out", || run((3, 4), None, None, (2, 5)));
        assert_panics("5 columns of b, 4 of out", || run((3, 4), None, None, (3, 4)));
        let beyond = level.panel_width() + 1;
        assert_panics("5 columns of b", || run((3, 4), None, None, (3, beyond)));
        assert_panics("one bias a column", || run((3, 4), Some(4), None, (3, 5)));
        assert_panics("the residual has out's shape", || run((3, 4), None, Some((2, 5)), (3, 5)));
        assert_panics("the residual has out's shape", || run((3, 4), None, Some((3, 4)), (3, 5)));
    });
}

#[test]
fn columns_that_are_no_panels() {
    common::on_each_level(|level, _| {
        let width = level.panel_width();
        let packed = pack(level, &Matrix::new(2 * width, 3, vec![0.0; 6 * width]));
        assert_panics("columns", || packed.panels().columns(1..width).n());
        assert_panics("columns", || packed.panels().columns(0..2 * width + 1).n());
    });
}

#[test]
fn panels_of_another_level() {
    common::on_each_level(|level, _| {
        for other in Level::available() {
            if other.panel_width() == level.panel_width() {
                continue;
            }
            let packed = pack(other, &Matrix::new(5, 4, vec![1.0; 20]));
            let message = format!("b was packed for another level than {level}");
            assert_panics(&message, || {
                product(level, MatRef::new(&[1.0; 4], 1, 4), packed.panels(), None, Epilogue::Store)
            });
        }
    });
}
