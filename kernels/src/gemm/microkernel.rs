//! The microkernel: a tile of R rows by C vectors of the output, kept in registers for a run of K.
//!
//! ```text
//!                 b: one panel, K rows of 16·C elements
//!                 ┌ b[k][0..16] ┬ b[k][16..32] ┐      C loads a step
//!   a[0][k] ──▶   │   acc[0][0] │   acc[0][1]  │
//!   a[1][k] ──▶   │   acc[1][0] │   acc[1][1]  │      R broadcasts a step,
//!     …           │      …      │      …       │      R·C multiply-adds a step
//!   a[R-1][k] ──▶ │ acc[R-1][0] │ acc[R-1][1]  │
//! ```
//!
//! This is the only loop of the crate where bounds checks would cost time, so it works on pointers.
//! Everything that makes them valid is checked in `checked_tile`, once per tile.

use super::accumulation::Accumulation;
use super::panels::Panel;
use crate::dot_kernel::DotKernel;
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};

/// The matrices of one tile: some rows of A, one panel of B, and the output.
pub(super) struct Tile<'a, T> {
    /// At most `S::MR` rows of A, of K packed elements each; a row may contain more.
    pub a: MatRef<'a, T>,
    /// The panel.
    pub b: Panel<'a, T>,
    /// Packed elements of K.
    pub k: usize,
    /// The same rows of the output, with as many columns as the panel.
    pub out: MatMut<'a>,
}

/// Computes a tile whose output has all columns of the panel.
#[inline(always)]
pub(super) fn compute_tile<S: Simd, Dot: DotKernel<S>, P: Accumulation<S, Dot>>(
    s: S,
    kernel: Dot,
    params: &P,
    rows: &P::Rows,
    tile: &mut Tile<'_, Dot::PackedElement>,
) {
    match S::NR_VECTORS {
        1 => dispatch_rows::<S, Dot, P, 1>(s, kernel, params, rows, tile),
        2 => dispatch_rows::<S, Dot, P, 2>(s, kernel, params, rows, tile),
        _ => unreachable!("no level has a tile of more than two vectors"),
    }
}

#[inline(always)]
fn dispatch_rows<S: Simd, Dot: DotKernel<S>, P: Accumulation<S, Dot>, const C: usize>(
    s: S,
    kernel: Dot,
    params: &P,
    rows: &P::Rows,
    tile: &mut Tile<'_, Dot::PackedElement>,
) {
    match tile.a.rows() {
        1 => checked_tile::<S, Dot, P, 1, C>(s, kernel, params, rows, tile),
        2 => checked_tile::<S, Dot, P, 2, C>(s, kernel, params, rows, tile),
        3 => checked_tile::<S, Dot, P, 3, C>(s, kernel, params, rows, tile),
        4 => checked_tile::<S, Dot, P, 4, C>(s, kernel, params, rows, tile),
        5 => checked_tile::<S, Dot, P, 5, C>(s, kernel, params, rows, tile),
        6 => checked_tile::<S, Dot, P, 6, C>(s, kernel, params, rows, tile),
        7 => checked_tile::<S, Dot, P, 7, C>(s, kernel, params, rows, tile),
        8 => checked_tile::<S, Dot, P, 8, C>(s, kernel, params, rows, tile),
        9 => checked_tile::<S, Dot, P, 9, C>(s, kernel, params, rows, tile),
        10 => checked_tile::<S, Dot, P, 10, C>(s, kernel, params, rows, tile),
        11 => checked_tile::<S, Dot, P, 11, C>(s, kernel, params, rows, tile),
        12 => checked_tile::<S, Dot, P, 12, C>(s, kernel, params, rows, tile),
        rows => unreachable!("a tile of {rows} rows"),
    }
}

/// Checks that every address of the tile is inside its matrices, and computes the tile.
#[inline(always)]
fn checked_tile<S: Simd, Dot: DotKernel<S>, P: Accumulation<S, Dot>, const R: usize, const C: usize>(
    s: S,
    kernel: Dot,
    params: &P,
    rows: &P::Rows,
    tile: &mut Tile<'_, Dot::PackedElement>,
) {
    // The compiler removes the sizes that this level never uses.
    if R > S::MR || C != S::NR_VECTORS {
        unreachable!("a tile of {R} rows and {C} vectors on a level with {} and {}", S::MR, S::NR_VECTORS);
    }
    let k = tile.k;
    let a = tile.a.data();
    let a_stride = tile.a.stride();
    let b = tile.b.data;
    let b_stride = tile.b.stride;
    let out = tile.out.as_mut_ptr();
    let out_stride = tile.out.stride();
    assert!(k == 0 || (a.len() >= (R - 1) * a_stride + k && b.len() >= (k - 1) * b_stride + C * LANES));
    assert!(tile.out.rows() == R && tile.out.cols() == C * LANES);
    prefetch_tile::<S, R, C>(s, out, out_stride);
    let mut at = 0;
    loop {
        let steps = P::K_RUN.min(k - at);
        let acc = initial_accumulators::<S, Dot, P, R, C>(s, params, rows, at == 0);
        // SAFETY: the assertion above ensures that `a` contains R rows of k elements, `a_stride`
        // apart, and `b` contains k rows of C vectors, `b_stride` apart. `at + steps` is at most k,
        // so what `microkernel` reads is among them.
        let acc = unsafe {
            let a = a.as_ptr().add(at);
            let b = b.as_ptr().add(at * b_stride);
            microkernel::<S, Dot, R, C>(s, kernel, steps, a, a_stride, b, b_stride, acc)
        };
        // The totals are kept in the output, because no register is left for them. (Through a
        // pointer: with a check at each row, or a local array, the accumulators would be spilled to
        // the stack.)
        for (r, row) in acc.iter().enumerate() {
            for (c, &sum) in row.iter().enumerate() {
                // SAFETY: the output is borrowed exclusively and has R rows of C vectors,
                // `out_stride` apart, from `out` on.
                let total: &mut [f32; LANES] = unsafe { &mut *out.add(r * out_stride + c * LANES).cast() };
                let v = params.to_f32(s, rows, sum, r, c);
                let v = if at == 0 { v } else { s.add(s.load_array(total), v) };
                s.store_array(total, v);
            }
        }
        at += steps;
        if at == k {
            break;
        }
    }
}

/// Prefetches the cache lines of a tile. Otherwise each store at the end of a run would wait for
/// its line.
#[inline(always)]
fn prefetch_tile<S: Simd, const R: usize, const C: usize>(s: S, out: *mut f32, out_stride: usize) {
    for r in 0..R {
        for c in 0..C {
            s.prefetch(out.wrapping_add(r * out_stride + c * LANES));
        }
    }
}

/// Returns the accumulators of a run: the first run starts from the initial ones, each later run
/// at zero.
#[inline(always)]
fn initial_accumulators<S: Simd, Dot: DotKernel<S>, P: Accumulation<S, Dot>, const R: usize, const C: usize>(
    s: S,
    params: &P,
    rows: &P::Rows,
    is_first_run: bool,
) -> [[Dot::Accumulator; C]; R] {
    let mut acc = [[params.zero(s); C]; R];
    if is_first_run {
        for (r, row) in acc.iter_mut().enumerate() {
            for (c, v) in row.iter_mut().enumerate() {
                *v = params.init(s, rows, r, c);
            }
        }
    }
    acc
}

/// Returns `acc[r][c] + Σ_k a[r][k] · b[k][c]`.
///
/// The accumulators are passed and returned by value: behind a reference they would be kept in
/// memory.
///
/// # Safety
/// `a` must be valid for reading `R` rows of `k` elements that start `a_stride` apart, and `b` for
/// reading `k` rows of `C` vectors that start `b_stride` apart.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the loop would read a struct of them from memory")]
unsafe fn microkernel<S: Simd, Dot: DotKernel<S>, const R: usize, const C: usize>(
    s: S,
    kernel: Dot,
    k: usize,
    a: *const Dot::PackedElement,
    a_stride: usize,
    b: *const Dot::PackedElement,
    b_stride: usize,
    mut acc: [[Dot::Accumulator; C]; R],
) -> [[Dot::Accumulator; C]; R] {
    // The phases are written out, because the compiler would not always unroll a loop over them.
    macro_rules! phase {
        ($step:ident, $phase:literal) => {
            // SAFETY: row `step` of `b` is one of its k rows of C vectors.
            let first = kernel.load_weights(s, $phase, unsafe { &*b.add($step * b_stride).cast() });
            // One vector or two, without an iterator, which would send them through memory.
            let weights = match C {
                // SAFETY: row `step` of `b` is one of its k rows, and has a second vector because C
                // = 2.
                2 => [first, kernel.load_weights(s, $phase, unsafe { &*b.add($step * b_stride + LANES).cast() })],
                _ => [first, first],
            };
            for (r, row) in acc.iter_mut().enumerate() {
                // SAFETY: element `step` of row r is one of the k elements of one of the R rows.
                let x = kernel.broadcast(s, $phase, unsafe { *a.add(r * a_stride + $step) });
                for c in 0..C {
                    row[c] = kernel.multiply_add(s, x, weights[c], row[c]);
                }
            }
        };
    }
    for step in 0..k {
        phase!(step, 0);
        if Dot::PHASES_PER_STEP == 2 {
            phase!(step, 1);
        }
    }
    acc
}
