//! The tile: R rows by C vectors of the output, kept in registers through all of k.
//!
//! ```text
//!                 b: one panel, K rows of 16·C numbers
//!                 ┌ b[k][0..16] ┬ b[k][16..32] ┐      C loads a step
//!   a[0][k] ──▶   │   acc[0][0] │   acc[0][1]  │
//!   a[1][k] ──▶   │   acc[1][0] │   acc[1][1]  │      R broadcasts a step,
//!     …           │      …      │      …       │      R·C multiply-adds a step
//!   a[R-1][k] ──▶ │ acc[R-1][0] │ acc[R-1][1]  │
//! ```
//!
//! This is the only loop of the crate where bounds checks would cost, so it works on pointers; everything that makes them
//! valid is checked in [`run_tile`], once per tile.

use super::pack::Panel;
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};

/// Steps of k that are summed in one run. The runs are then added up, in order.
///
/// A sum of n numbers errs by about √n roundings. One run over k = 3072 errs by 55; runs of 128 and then 24 of them by 12,
/// which is less than the reference implementation's own error. To keep the runs' total costs one load, addition and store
/// per accumulator in 128 steps: about 1 %.
const CHUNK: usize = 128;

/// The widest panel of any level, in numbers.
pub(super) const MAX_WIDTH: usize = 32;

/// One tile's work: some rows of A, one panel of B, and where the result goes.
pub(super) struct Tile<'a> {
    /// At most `S::ROWS` rows of A.
    pub a: MatRef<'a>,
    /// The panel.
    pub b: Panel<'a>,
    /// The same rows of the output, all of their columns.
    pub out: MatMut<'a>,
    /// First column of the panel in the output.
    pub first: usize,
    /// Columns of the panel that the output has; fewer than its width only in the last panel.
    pub columns: usize,
}

/// Computes a tile, starting each row's chain with `start` (one number a column of the panel).
#[inline(always)]
pub(super) fn run_tile<S: Simd>(s: S, tile: &mut Tile<'_>, start: &[f32]) {
    match S::COLS {
        1 => run_width::<S, 1>(s, tile, start),
        2 => run_width::<S, 2>(s, tile, start),
        _ => unreachable!("no level has a tile of more than two vectors"),
    }
}

#[inline(always)]
fn run_width<S: Simd, const C: usize>(s: S, tile: &mut Tile<'_>, start: &[f32]) {
    match tile.a.rows() {
        1 => run_rows::<S, 1, C>(s, tile, start),
        2 => run_rows::<S, 2, C>(s, tile, start),
        3 => run_rows::<S, 3, C>(s, tile, start),
        4 => run_rows::<S, 4, C>(s, tile, start),
        5 => run_rows::<S, 5, C>(s, tile, start),
        6 => run_rows::<S, 6, C>(s, tile, start),
        7 => run_rows::<S, 7, C>(s, tile, start),
        8 => run_rows::<S, 8, C>(s, tile, start),
        9 => run_rows::<S, 9, C>(s, tile, start),
        10 => run_rows::<S, 10, C>(s, tile, start),
        11 => run_rows::<S, 11, C>(s, tile, start),
        12 => run_rows::<S, 12, C>(s, tile, start),
        rows => unreachable!("a tile of {rows} rows"),
    }
}

/// Checks that every address of the tile is inside its matrices, computes it and stores it.
#[inline(always)]
fn run_rows<S: Simd, const R: usize, const C: usize>(s: S, tile: &mut Tile<'_>, start: &[f32]) {
    // Sizes that this level never uses are cut away when it is compiled.
    if R > S::ROWS || C != S::COLS {
        unreachable!("a tile of {R} rows and {C} vectors on a level with {} and {}", S::ROWS, S::COLS);
    }
    let k = tile.a.cols();
    let (a, a_stride) = (tile.a.data(), tile.a.stride());
    let (b, b_stride) = (tile.b.data, tile.b.stride);
    assert!(k == 0 || (a.len() >= (R - 1) * a_stride + k && b.len() >= (k - 1) * b_stride + C * LANES));
    let mut total = [[s.splat(0.0); C]; R];
    for row in total.iter_mut() {
        for (c, v) in row.iter_mut().enumerate() {
            *v = s.load(&start[c * LANES..]);
        }
    }
    let mut at = 0;
    loop {
        let steps = CHUNK.min(k - at);
        // The first run goes on from the bias. Each later one starts from zero and is added when it is complete.
        let mut acc = if at == 0 { total } else { [[s.splat(0.0); C]; R] };
        // SAFETY: the assertion above says that R rows of k numbers, `a_stride` apart, lie in `a`, and k rows of C vectors,
        // `b_stride` apart, in `b`. `at + steps` is at most k, so what `multiply` reads is among them.
        unsafe {
            multiply::<S, R, C>(
                s,
                steps,
                a.as_ptr().add(at),
                a_stride,
                b.as_ptr().add(at * b_stride),
                b_stride,
                &mut acc,
            )
        };
        if at == 0 {
            total = acc;
        } else {
            for (total, acc) in total.iter_mut().zip(&acc) {
                for (total, &acc) in total.iter_mut().zip(acc) {
                    *total = s.add(*total, acc);
                }
            }
        }
        at += steps;
        if at == k {
            break;
        }
    }
    for (i, row) in total.iter().enumerate() {
        let out = &mut tile.out.row_mut(i)[tile.first..tile.first + tile.columns];
        for (part, &v) in out.chunks_mut(LANES).zip(row) {
            s.store_first(part, v);
        }
    }
}

/// `acc[r][c] += Σ_k a[r][k] · b[k][c]`
///
/// # Safety
/// `a` must be valid for reading `R` rows of `k` numbers that start `a_stride` apart, and `b` for `k` rows of `C` vectors
/// that start `b_stride` apart.
#[inline(always)]
unsafe fn multiply<S: Simd, const R: usize, const C: usize>(
    s: S,
    k: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    acc: &mut [[S::F; C]; R],
) {
    for step in 0..k {
        let mut weights = [s.splat(0.0); C];
        for (c, v) in weights.iter_mut().enumerate() {
            // SAFETY: row `step` of `b` is one of its k rows of C vectors.
            *v = s.load_array(unsafe { &*b.add(step * b_stride + c * LANES).cast() });
        }
        for (r, row) in acc.iter_mut().enumerate() {
            // SAFETY: element `step` of row r is one of the k numbers of one of the R rows.
            let x = s.splat(unsafe { *a.add(r * a_stride + step) });
            for c in 0..C {
                row[c] = s.mul_add(x, weights[c], row[c]);
            }
        }
    }
}
