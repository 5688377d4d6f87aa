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
use crate::dot_kernel::DotKernel;
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};

/// Steps of k that are summed in one run of f32. The runs are then added up, in order.
///
/// A sum of n numbers errs by about √n roundings. One run over k = 3072 errs by 55; runs of 128 and then 24 of them by 12,
/// which is less than the reference implementation's own error. (A step of bf16 is two numbers.) To keep the runs' totals costs
/// one load, addition and store per accumulator in 128 steps: about 1 %.
pub(super) const K_RUN: usize = 128;

/// The widest panel of any level, in numbers.
pub(super) const MAX_PANEL_WIDTH: usize = 32;

/// The most rows of a tile on any level.
pub(super) const MAX_MR: usize = 12;

/// How the sums of a tile begin, and what becomes of them.
pub(super) trait Accumulation<S: Simd, P: DotKernel<S>>: Copy {
    /// Steps of k in a run. Sums that are exact need no second one.
    const K_RUN: usize;

    /// What row r and vector c of the tile begin with.
    fn begin(self, s: S, r: usize, c: usize) -> P::Accumulator;

    /// The sums of a later run begin with nothing.
    fn zero(self, s: S) -> P::Accumulator;

    /// A run's sums as f32.
    fn total(self, s: S, sum: P::Accumulator, r: usize, c: usize) -> S::F;
}

/// One tile's work: some rows of A, one panel of B, and where the result goes.
pub(super) struct Tile<'a, T> {
    /// At most `S::MR` rows of A, K words each; more may follow in a row.
    pub a: MatRef<'a, T>,
    /// The panel.
    pub b: Panel<'a, T>,
    /// Words of k.
    pub k: usize,
    /// The same rows of the output, and the columns of the panel; fewer than its width only in the last panel.
    pub out: MatMut<'a>,
}

/// Computes a tile.
#[inline(always)]
pub(super) fn run_tile<S: Simd, P: DotKernel<S>, B: Accumulation<S, P>>(
    s: S,
    p: P,
    sums: B,
    tile: &mut Tile<'_, P::PackedElement>,
) {
    let width = S::NR_VECTORS * LANES;
    if tile.out.cols() == width {
        return run_whole(s, p, sums, tile);
    }
    // The totals of a run are kept in the output between runs, so a narrower one needs a place of full width.
    let mut place = [0.0; MAX_MR * MAX_PANEL_WIDTH];
    let rows = tile.out.rows();
    run_whole(s, p, sums, &mut Tile { out: MatMut::new(&mut place, rows, width), ..*tile });
    for (i, from) in place.chunks_exact(width).take(rows).enumerate() {
        let to = tile.out.row_mut(i);
        to.copy_from_slice(&from[..to.len()]);
    }
}

/// Computes a tile whose output has all columns of the panel.
#[inline(always)]
pub(super) fn run_whole<S: Simd, P: DotKernel<S>, B: Accumulation<S, P>>(
    s: S,
    p: P,
    sums: B,
    tile: &mut Tile<'_, P::PackedElement>,
) {
    match S::NR_VECTORS {
        1 => run_width::<S, P, B, 1>(s, p, sums, tile),
        2 => run_width::<S, P, B, 2>(s, p, sums, tile),
        _ => unreachable!("no level has a tile of more than two vectors"),
    }
}

#[inline(always)]
fn run_width<S: Simd, P: DotKernel<S>, B: Accumulation<S, P>, const C: usize>(
    s: S,
    p: P,
    sums: B,
    tile: &mut Tile<'_, P::PackedElement>,
) {
    match tile.a.rows() {
        1 => run_rows::<S, P, B, 1, C>(s, p, sums, tile),
        2 => run_rows::<S, P, B, 2, C>(s, p, sums, tile),
        3 => run_rows::<S, P, B, 3, C>(s, p, sums, tile),
        4 => run_rows::<S, P, B, 4, C>(s, p, sums, tile),
        5 => run_rows::<S, P, B, 5, C>(s, p, sums, tile),
        6 => run_rows::<S, P, B, 6, C>(s, p, sums, tile),
        7 => run_rows::<S, P, B, 7, C>(s, p, sums, tile),
        8 => run_rows::<S, P, B, 8, C>(s, p, sums, tile),
        9 => run_rows::<S, P, B, 9, C>(s, p, sums, tile),
        10 => run_rows::<S, P, B, 10, C>(s, p, sums, tile),
        11 => run_rows::<S, P, B, 11, C>(s, p, sums, tile),
        12 => run_rows::<S, P, B, 12, C>(s, p, sums, tile),
        rows => unreachable!("a tile of {rows} rows"),
    }
}

/// Checks that every address of the tile is inside its matrices, and computes it.
#[inline(always)]
fn run_rows<S: Simd, P: DotKernel<S>, B: Accumulation<S, P>, const R: usize, const C: usize>(
    s: S,
    p: P,
    sums: B,
    tile: &mut Tile<'_, P::PackedElement>,
) {
    // Sizes that this level never uses are cut away when it is compiled.
    if R > S::MR || C != S::NR_VECTORS {
        unreachable!("a tile of {R} rows and {C} vectors on a level with {} and {}", S::MR, S::NR_VECTORS);
    }
    let k = tile.k;
    let (a, a_stride) = (tile.a.data(), tile.a.stride());
    let (b, b_stride) = (tile.b.data, tile.b.stride);
    let (out, out_stride) = (tile.out.as_mut_ptr(), tile.out.stride());
    assert!(k == 0 || (a.len() >= (R - 1) * a_stride + k && b.len() >= (k - 1) * b_stride + C * LANES));
    assert!(tile.out.rows() == R && tile.out.cols() == C * LANES);
    // The output is written at the end of many steps, by when its lines have come: else each store would wait for its line.
    for r in 0..R {
        for c in 0..C {
            s.prefetch(out.wrapping_add(r * out_stride + c * LANES));
        }
    }
    let mut at = 0;
    loop {
        let steps = B::K_RUN.min(k - at);
        // The first run goes on from a start, each later one begins at zero.
        let mut acc = [[sums.zero(s); C]; R];
        if at == 0 {
            for (r, row) in acc.iter_mut().enumerate() {
                for (c, v) in row.iter_mut().enumerate() {
                    *v = sums.begin(s, r, c);
                }
            }
        }
        // SAFETY: the assertion above says that R rows of k words, `a_stride` apart, lie in `a`, and k rows of C vectors,
        // `b_stride` apart, in `b`. `at + steps` is at most k, so what `multiply` reads is among them.
        let acc = unsafe {
            let (a, b) = (a.as_ptr().add(at), b.as_ptr().add(at * b_stride));
            multiply::<S, P, R, C>(s, p, steps, a, a_stride, b, b_stride, acc)
        };
        // The totals are kept where the result goes, because no register is left for them. (Through a pointer: with a
        // check at each row, or a local array, the accumulators would take a detour through the stack.)
        for (r, row) in acc.iter().enumerate() {
            for (c, &sum) in row.iter().enumerate() {
                // SAFETY: the output is borrowed exclusively and has R rows of C vectors, `out_stride` apart, from `out` on.
                let place: &mut [f32; LANES] = unsafe { &mut *out.add(r * out_stride + c * LANES).cast() };
                let v = sums.total(s, sum, r, c);
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
/// `a` must be valid for reading `R` rows of `k` words that start `a_stride` apart, and `b` for `k` rows of `C` vectors
/// that start `b_stride` apart.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a structure of them would be read from memory in the loop")]
unsafe fn multiply<S: Simd, P: DotKernel<S>, const R: usize, const C: usize>(
    s: S,
    p: P,
    k: usize,
    a: *const P::PackedElement,
    a_stride: usize,
    b: *const P::PackedElement,
    b_stride: usize,
    mut acc: [[P::Accumulator; C]; R],
) -> [[P::Accumulator; C]; R] {
    // The phases are written out, and not a loop, which the compiler would not always unroll.
    macro_rules! phase {
        ($step:ident, $phase:literal) => {
            // SAFETY: row `step` of `b` is one of its k rows of C vectors.
            let first = p.load_weights(s, $phase, unsafe { &*b.add($step * b_stride).cast() });
            // One vector or two, without an iterator, which would send them through memory.
            let weights = match C {
                // SAFETY: as above.
                2 => [first, p.load_weights(s, $phase, unsafe { &*b.add($step * b_stride + LANES).cast() })],
                _ => [first, first],
            };
            for (r, row) in acc.iter_mut().enumerate() {
                // SAFETY: element `step` of row r is one of the k words of one of the R rows.
                let x = p.broadcast(s, $phase, unsafe { *a.add(r * a_stride + $step) });
                for c in 0..C {
                    row[c] = p.multiply_add(s, x, weights[c], row[c]);
                }
            }
        };
    }
    for step in 0..k {
        phase!(step, 0);
        if P::PHASES == 2 {
            phase!(step, 1);
        }
    }
    acc
}
