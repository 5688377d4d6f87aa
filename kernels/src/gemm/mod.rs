//! The matrix product out = epilogue(bias + A · B), where the time of a transformer goes.
//!
//! # The plain form
//!
//! ```text
//! for m in 0..M                       rows of A: tokens
//!     for n in 0..N                   columns of B: output features
//!         out[m][n] = bias[n]
//!         for k in 0..K
//!             out[m][n] += A[m][k] * B[k][n]
//! ```
//!
//! # What is done to it, and why it is still the same
//!
//! 1. **A tile in registers** (tile.rs). R rows by 16·C columns of `out` are kept in registers for 128 steps of k at a time. Each step
//!    of k loads C vectors of B and R numbers of A, and makes R·C multiply-adds: 24 for 14 loads on AVX-512, so the
//!    arithmetic units and not the loads are the limit.
//! 2. **Packed panels** (pack.rs). B is stored so that a tile reads it front to back: 16·C columns together, all k.
//! 3. **Rows split evenly.** 16 rows by tiles of at most 12 become 8 + 8, not 12 + 4: a tile of 4 rows has too few
//!    multiply-adds in flight to hide their latency and whatever else delays one, one of 8 has enough.
//! 4. **A panel at a time.** The loop over panels is the outer one: a panel (98 KB at K = 768) stays in the second-level
//!    cache while all rows pass over it.
//! 5. **The epilogue in the tile.** Bias starts the chain; the activation or the residual is applied while the tile's
//!    output is in the first-level cache.
//! 6. **Short sums.** k is summed in runs of 128, which are then added up: a long chain of additions loses more digits.
//!
//! What is *not* done is as important: the runs end at fixed places whatever the number of rows or threads, and one row
//! takes the same path as a thousand. So an element's bits depend on its row of A and its column of B alone, never on the
//! batch around it or on the threads.

mod microkernel;
mod pack;
mod panels;
mod quantized;
mod transpose;

pub use pack::{PackedLayout, PackedMatrix, PackedQuantizedMatrix, PanelMut};
pub use panels::{AlignedScratch, Panels};
pub use quantized::{GemmOutput, QuantizedMatrix, gemm_quantized};

use std::ops::Range;

use crate::dot_kernel::F32;
use crate::level::{Level, Operator};
use crate::math::{Activation, activate_lanes};
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};
use microkernel::{Accumulation, Tile, run_tile};

/// What happens to a tile of sums while it is in the first-level cache.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// Nothing.
    Store,
    /// The activation of each element.
    Activate(Activation),
    /// A matrix of the shape of `out` is added: the residual connection.
    Add(MatRef<'a>),
}

/// `out[m][n] = epilogue(bias[n] + Σ_k a[m][k] b[k][n])`
///
/// Shapes: `a` `[M, K]`, `b` K by N, `bias` `[N]`, `out` `[M, N]`. `out` may have more columns than `b` if they are within `b`'s
/// last panel: these get 0 (the panel is padded with zeros there).
///
/// # Panics
/// If the shapes do not fit, or `b` was packed for another panel width than the level's.
pub fn gemm(level: Level, a: MatRef<'_>, b: Panels<'_>, bias: Option<&[f32]>, epilogue: Epilogue<'_>, out: MatMut<'_>) {
    assert_eq!(a.cols(), b.k(), "gemm: columns of a and rows of b");
    assert_eq!(a.rows(), out.rows(), "gemm: rows of a and of out");
    assert!(b.fits(out.cols()), "gemm: {} columns of b, {} of out", b.n(), out.cols());
    assert_eq!(b.width(), level.panel_width(), "gemm: b was packed for another level than {level}");
    assert!(bias.is_none_or(|bias| bias.len() == out.cols()), "gemm: one bias a column");
    if let Epilogue::Add(residual) = epilogue {
        assert_eq!((residual.rows(), residual.cols()), (out.rows(), out.cols()), "gemm: the residual has out's shape");
    }
    level.enter(Gemm { a, b, bias, epilogue, out });
}

struct Gemm<'a> {
    a: MatRef<'a>,
    b: Panels<'a>,
    bias: Option<&'a [f32]>,
    epilogue: Epilogue<'a>,
    out: MatMut<'a>,
}

impl Operator for Gemm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, b, bias, epilogue, mut out } = self;
        let width = S::NR_VECTORS * LANES;
        let tiles = a.rows().div_ceil(S::MR);
        // Loop 1, over panels.
        let mut panel = 0;
        while panel * width < out.cols() {
            let first = panel * width;
            let columns = width.min(out.cols() - first);
            let start = bias
                .map_or([0.0; microkernel::MAX_PANEL_WIDTH], |bias| pad_to_panel(&bias[first..first + columns], 0.0));
            // Loop 2, over tiles of rows. Tile t ends at row (t+1)·M/tiles, so their sizes differ by at most one.
            let mut row = 0;
            for t in 0..tiles {
                let end = (t + 1) * a.rows() / tiles;
                let part = out.rows_in(row..end).cols_in(first..first + columns);
                let mut tile = Tile { a: a.rows_in(row..end), b: b.panel(panel), k: b.k(), out: part };
                prefetch(s, epilogue, row..end, first..first + columns);
                run_tile(s, F32, BiasInit(&start), &mut tile);
                apply_epilogue(s, &mut tile.out, epilogue, (row, first));
                row = end;
            }
            panel += 1;
        }
    }

    fn reference(mut self) {
        crate::reference::gemm(self.a, self.b, self.bias, self.epilogue, &mut self.out);
    }
}

/// Sums of f32 that begin with the bias.
#[derive(Clone, Copy)]
struct BiasInit<'a>(&'a [f32; microkernel::MAX_PANEL_WIDTH]);

impl<S: Simd, P: crate::dot_kernel::DotKernel<S, Accumulator = S::F>> Accumulation<S, P> for BiasInit<'_> {
    const K_RUN: usize = microkernel::K_RUN;

    #[inline(always)]
    fn begin(self, s: S, _: usize, c: usize) -> S::F {
        s.load(&self.0[c * LANES..])
    }

    #[inline(always)]
    fn zero(self, s: S) -> S::F {
        s.splat(0.0)
    }

    #[inline(always)]
    fn total(self, _: S, sum: S::F, _: usize, _: usize) -> S::F {
        sum
    }
}

/// What belongs to the columns of a panel, with `fill` beyond the last.
#[inline(always)]
fn pad_to_panel<T: Copy>(columns: &[T], fill: T) -> [T; microkernel::MAX_PANEL_WIDTH] {
    let mut all = [fill; microkernel::MAX_PANEL_WIDTH];
    all[..columns.len()].copy_from_slice(columns);
    all
}

/// Asks for what the epilogue of a tile will read, before the tile is computed.
#[inline(always)]
fn prefetch<S: Simd>(s: S, epilogue: Epilogue<'_>, rows: Range<usize>, columns: Range<usize>) {
    if let Epilogue::Add(residual) = epilogue {
        for row in rows {
            for part in residual.row(row)[columns.clone()].chunks(LANES) {
                s.prefetch(part.as_ptr());
            }
        }
    }
}

/// Applies the epilogue to a tile of the output, which has just been stored. `(row, column)` is its place in the whole.
#[inline(always)]
fn apply_epilogue<S: Simd>(s: S, out: &mut MatMut<'_>, epilogue: Epilogue<'_>, (row, column): (usize, usize)) {
    match epilogue {
        Epilogue::Store => {}
        Epilogue::Activate(activation) => activate_lanes(s, activation, out),
        Epilogue::Add(residual) => {
            for i in 0..out.rows() {
                let residual = &residual.row(row + i)[column..column + out.cols()];
                for (out, residual) in out.row_mut(i).chunks_mut(LANES).zip(residual.chunks(LANES)) {
                    let sum = s.add(s.load_partial(out, 0.0), s.load_partial(residual, 0.0));
                    s.store_partial(out, sum);
                }
            }
        }
    }
}
