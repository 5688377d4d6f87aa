//! The driver: the loops over panels and tiles, once for all precisions.

use std::ops::Range;

use super::accumulation::{Accumulation, BiasInit, MAX_MR, MAX_PANEL_WIDTH};
use super::epilogue::Epilogue;
use super::microkernel::{Tile, compute_tile};
use super::panels::Panels;
use crate::dot_kernel::{DotKernel, DotKernels, F32Dot};
use crate::level::{Level, Operator};
use crate::quant::pack_bf16;
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};

/// The matrix that a matrix product is written to.
#[derive(Debug)]
#[non_exhaustive]
pub enum GemmOutput<'a> {
    /// `[M, N]` as f32.
    F32(MatMut<'a>),
    /// `[M, N]` as packed bf16, `[M, ⌈N/2⌉]`: the input of the next product.
    Bf16(MatMut<'a, u32>),
}

impl GemmOutput<'_> {
    /// Returns the number of rows M.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::F32(out) => out.rows(),
            Self::Bf16(out) => out.rows(),
        }
    }

    /// Returns the number of columns that it can hold for a product of n columns: n may be odd,
    /// packed pairs are not.
    pub(super) fn cols(&self, n: usize) -> usize {
        match self {
            Self::F32(out) => out.cols(),
            Self::Bf16(out) => 2 * out.cols() - (n % 2).min(out.cols()),
        }
    }

    /// Writes some columns of a row.
    #[inline(always)]
    fn write(&mut self, row: usize, columns: Range<usize>, from: &[f32]) {
        match self {
            Self::F32(out) => out.row_mut(row)[columns].copy_from_slice(from),
            Self::Bf16(out) => pack_bf16(from, &mut out.row_mut(row)[columns.start / 2..columns.end.div_ceil(2)]),
        }
    }
}

/// Computes `out[m][n] = epilogue(bias[n] + Σ_k a[m][k] b[k][n])` in f32.
///
/// Shapes: `a` `[M, K]`, `b` `[K, N]`, `bias` `[N]`, `out` `[M, N]`. `out` may have more columns
/// than `b` if they are within the last panel of `b`: these become 0, because the panel is padded
/// with zeros. `bias` and the residual then have as many columns as `out`.
///
/// # Panics
/// If the shapes do not match, or `b` was packed for another panel width than the level's.
pub fn gemm(level: Level, a: MatRef<'_>, b: Panels<'_>, bias: Option<&[f32]>, epilogue: Epilogue<'_>, out: MatMut<'_>) {
    assert!(
        b.fits(out.cols()),
        "gemm: columns of out: expected {}, or up to the end of the last panel, found {}",
        b.n(),
        out.cols()
    );
    let task = GemmTask { a, weights: b, bias, epilogue, out: GemmOutput::F32(out) };
    task.check_shapes(level);
    level.call(task);
}

/// The right-hand matrix of a product, with the dot kernel that multiplies it.
pub(super) trait Weights: Copy {
    /// The packed element of both matrices.
    type Element: Copy;
    /// Whether the results are quantized afterwards, so that the shorter GELU polynomial is
    /// accurate enough.
    const APPROXIMATE_GELU: bool;

    /// Returns the panels.
    fn panels(&self) -> Panels<'_, Self::Element>;

    /// Returns the length of a packed row of A.
    fn packed_row_len(&self) -> usize;

    /// Runs the task with the dot kernel and the accumulation of these weights. Must be
    /// `#[inline(always)]`.
    fn run<S: Simd, D: DotKernels<S>>(task: GemmTask<'_, Self>, s: S, dots: D);

    /// Returns `bias + Σ_k a[k] b[k][n]` of a packed row `a`, in the reference form.
    fn reference_dot(&self, a: &[Self::Element], n: usize, bias: f64) -> f64;
}

impl Weights for Panels<'_> {
    type Element = f32;
    const APPROXIMATE_GELU: bool = false;

    #[inline(always)]
    fn panels(&self) -> Panels<'_> {
        *self
    }

    fn packed_row_len(&self) -> usize {
        self.k()
    }

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(task: GemmTask<'_, Self>, s: S, _: D) {
        let bias = task.bias;
        task.multiply(s, F32Dot, |columns| BiasInit::new(bias.map(|bias| &bias[columns])));
    }

    fn reference_dot(&self, a: &[f32], n: usize, bias: f64) -> f64 {
        crate::reference::dot_f32(bias, a, self.column(n))
    }
}

/// One matrix product.
pub(super) struct GemmTask<'a, W: Weights> {
    /// Packed rows of A.
    pub a: MatRef<'a, W::Element>,
    pub weights: W,
    pub bias: Option<&'a [f32]>,
    pub epilogue: Epilogue<'a>,
    pub out: GemmOutput<'a>,
}

/// Where one tile is in the product.
struct TilePosition {
    panel: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// A tile of f32 outside the output.
type Staging = [f32; MAX_MR * MAX_PANEL_WIDTH];

impl<W: Weights> GemmTask<'_, W> {
    /// Checks what all precisions have in common.
    ///
    /// # Panics
    /// If the shapes do not match, or the weights were packed for another panel width than the
    /// level's.
    pub(super) fn check_shapes(&self, level: Level) {
        let rows = self.a.rows();
        let cols = self.out.cols(self.weights.panels().n());
        let row_len = self.weights.packed_row_len();
        assert_eq!(self.a.cols(), row_len, "gemm: length of a packed row of a (left), expected by b (right)");
        assert_eq!(rows, self.out.rows(), "gemm: rows of a (left) and of out (right)");
        let width = level.panel_width();
        assert_eq!(self.weights.panels().width(), width, "gemm: panel width of b (left) and of level {level} (right)");
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), cols, "gemm: length of bias (left), columns of out (right)");
        }
        if let Epilogue::Add(residual) = self.epilogue {
            let shape = (residual.rows(), residual.cols());
            assert_eq!(shape, (rows, cols), "gemm: shape of the residual (left) and of out (right)");
        }
    }

    /// Runs both loops. `panel_params` returns the accumulation of a panel's columns.
    #[inline(always)]
    pub(super) fn multiply<S, Dot, P>(mut self, s: S, kernel: Dot, panel_params: impl Fn(Range<usize>) -> P)
    where
        S: Simd,
        Dot: DotKernel<S, PackedElement = W::Element>,
        P: Accumulation<S, Dot>,
    {
        let width = S::NR_VECTORS * LANES;
        let rows = self.a.rows();
        let cols = self.out.cols(self.weights.panels().n());
        let tiles = rows.div_ceil(S::MR);
        let mut staging = None;
        // Loop 1, over panels.
        let mut panel = 0;
        while panel * width < cols {
            let columns = panel * width..(panel * width + width).min(cols);
            let params = panel_params(columns.clone());
            // Loop 2, over tiles of rows. Tile t ends at row (t+1)·M/tiles, so their sizes differ
            // by at most one.
            let mut row = 0;
            for t in 0..tiles {
                let end = (t + 1) * rows / tiles;
                let position = TilePosition { panel, rows: row..end, columns: columns.clone() };
                self.tile(s, kernel, &params, position, &mut staging);
                row = end;
            }
            panel += 1;
        }
    }

    /// Computes one tile and applies the epilogue.
    ///
    /// The microkernel writes whole vectors of f32. A tile of bf16, or of fewer columns than a
    /// panel, is computed in `staging` and then rounded or copied to the output. (Only the
    /// destination is chosen, not the function: so the microkernel is compiled once.)
    #[inline(always)]
    fn tile<S, Dot, P>(&mut self, s: S, kernel: Dot, params: &P, position: TilePosition, staging: &mut Option<Staging>)
    where
        S: Simd,
        Dot: DotKernel<S, PackedElement = W::Element>,
        P: Accumulation<S, Dot>,
    {
        let TilePosition { panel, rows, columns } = position;
        let width = S::NR_VECTORS * LANES;
        self.epilogue.prefetch(s, rows.clone(), columns.clone());
        if let GemmOutput::Bf16(out) = &self.out {
            for row in rows.clone() {
                s.prefetch(out.row(row)[columns.start / 2..].as_ptr().cast());
            }
        }
        let is_staged = columns.len() < width || matches!(self.out, GemmOutput::Bf16(_));
        let out = match &mut self.out {
            GemmOutput::F32(out) if !is_staged => out.rows_in(rows.clone()).cols_in(columns.clone()),
            _ => MatMut::new(staging.get_or_insert_with(|| [0.0; MAX_MR * MAX_PANEL_WIDTH]), rows.len(), width),
        };
        let a = self.a.rows_in(rows.clone());
        let panels = self.weights.panels();
        let mut tile = Tile { a, b: panels.panel(panel), k: panels.k(), out };
        compute_tile(s, kernel, params, &params.rows(a), &mut tile);
        let mut sums = tile.out.cols_in(0..columns.len());
        let offset = (rows.start, columns.start);
        if W::APPROXIMATE_GELU {
            self.epilogue.apply::<S, true>(s, &mut sums, offset);
        } else {
            self.epilogue.apply::<S, false>(s, &mut sums, offset);
        }
        if let Some(staging) = staging.as_ref().filter(|_| is_staged) {
            for (i, row) in rows.enumerate() {
                self.out.write(row, columns.clone(), &staging[i * width..][..columns.len()]);
            }
        }
    }
}

impl<W: Weights> Operator for GemmTask<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, dots: D) {
        // The weights choose the dot kernel and call `multiply`.
        W::run(self, s, dots);
    }

    fn reference(mut self) {
        let cols = self.out.cols(self.weights.panels().n());
        let mut row = vec![0.0; cols];
        for m in 0..self.a.rows() {
            for (n, out) in row.iter_mut().enumerate() {
                let bias = self.bias.map_or(0.0, |bias| f64::from(bias[n]));
                let sum = self.weights.reference_dot(self.a.row(m), n, bias);
                *out = self.epilogue.reference(sum, (m, n));
            }
            self.out.write(m, 0..cols, &row);
        }
    }
}

const _: () = assert!(MAX_PANEL_WIDTH.is_multiple_of(2), "a panel is whole pairs of bf16");
