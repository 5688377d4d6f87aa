//! The tile: R rows by C vectors of the output, kept in registers for a run of k.
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
//! valid is checked in `run_rows`, once per tile.

use super::panels::Panel;
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};

/// Steps of k that are summed in one run. The runs are then added up, in order.
///
/// A sum of n numbers errs by about √n roundings. One run over k = 3072 errs by 55; runs of 128 and then 24 of them by 12,
/// which is less than the reference implementation's own error. To keep the runs' totals costs one load, addition and store
/// per accumulator in 128 steps: about 1 %.
const CHUNK: usize = 128;

/// The widest panel of any level, in numbers.
pub(super) const MAX_WIDTH: usize = 32;

/// The most rows of a tile on any level.
pub(super) const MAX_ROWS: usize = 12;

/// One tile's work: some rows of A, one panel of B, and where the result goes.
pub(super) struct Tile<'a> {
    /// At most `S::ROWS` rows of A.
    pub a: MatRef<'a>,
    /// The panel.
    pub b: Panel<'a>,
    /// The same rows of the output, and the columns of the panel; fewer than its width only in the last panel.
    pub out: MatMut<'a>,
}

/// Computes a tile, starting each row's chain with `start` (one number a column of the panel).
#[inline(always)]
pub(super) fn run_tile<S: Simd>(s: S, tile: &mut Tile<'_>, start: &[f32]) {
    let width = S::COLS * LANES;
    if tile.out.cols() == width {
        return run_whole(s, tile, start);
    }
    // The totals of a run are kept in the output between runs, so a narrower one needs a place of full width.
    let mut place = [0.0; MAX_ROWS * MAX_WIDTH];
    let rows = tile.out.rows();
    run_whole(s, &mut Tile { out: MatMut::new(&mut place, rows, width), ..*tile }, start);
    for (i, from) in place.chunks_exact(width).take(rows).enumerate() {
        let to = tile.out.row_mut(i);
        to.copy_from_slice(&from[..to.len()]);
    }
}

/// Computes a tile whose output has all columns of the panel.
#[inline(always)]
fn run_whole<S: Simd>(s: S, tile: &mut Tile<'_>, start: &[f32]) {
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

/// Checks that every address of the tile is inside its matrices, and computes it.
#[inline(always)]
fn run_rows<S: Simd, const R: usize, const C: usize>(s: S, tile: &mut Tile<'_>, start: &[f32]) {
    // Sizes that this level never uses are cut away when it is compiled.
    if R > S::ROWS || C != S::COLS {
        unreachable!("a tile of {R} rows and {C} vectors on a level with {} and {}", S::ROWS, S::COLS);
    }
    let k = tile.a.cols();
    let (a, a_stride) = (tile.a.data(), tile.a.stride());
    let (b, b_stride) = (tile.b.data, tile.b.stride);
    let (out, out_stride) = (tile.out.as_mut_ptr(), tile.out.stride());
    assert!(k == 0 || (a.len() >= (R - 1) * a_stride + k && b.len() >= (k - 1) * b_stride + C * LANES));
    assert!(tile.out.rows() == R && tile.out.cols() == C * LANES);
    let mut at = 0;
    loop {
        let steps = CHUNK.min(k - at);
        // The first run goes on from `start`, each later one begins at zero.
        let mut acc = [[s.splat(0.0); C]; R];
        if at == 0 {
            for row in acc.iter_mut() {
                for (c, v) in row.iter_mut().enumerate() {
                    *v = s.load(&start[c * LANES..]);
                }
            }
        }
        // SAFETY: the assertion above says that R rows of k numbers, `a_stride` apart, lie in `a`, and k rows of C vectors,
        // `b_stride` apart, in `b`. `at + steps` is at most k, so what `multiply` reads is among them.
        let acc = unsafe {
            let (a, b) = (a.as_ptr().add(at), b.as_ptr().add(at * b_stride));
            multiply::<S, R, C>(s, steps, a, a_stride, b, b_stride, acc)
        };
        // The totals are kept where the result goes, because no register is left for them. (Through a pointer: with a
        // check at each row, or a local array, the accumulators would take a detour through the stack.)
        for (r, row) in acc.iter().enumerate() {
            for (c, &v) in row.iter().enumerate() {
                // SAFETY: the output is borrowed exclusively and has R rows of C vectors, `out_stride` apart, from `out` on.
                let place: &mut [f32; LANES] = unsafe { &mut *out.add(r * out_stride + c * LANES).cast() };
                let total = if at == 0 { v } else { s.add(s.load_array(place), v) };
                s.store_array(place, total);
            }
        }
        at += steps;
        if at == k {
            break;
        }
    }
}

/// `acc[r][c] + Σ_k a[r][k] · b[k][c]`
///
/// The accumulators come and go by value: behind a reference they would live in memory.
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
    mut acc: [[S::F; C]; R],
) -> [[S::F; C]; R] {
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
    acc
}
