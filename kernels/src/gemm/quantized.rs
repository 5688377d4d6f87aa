//! The matrix product of words: bf16, and bytes.
//!
//! The same loops and the same tile as for f32. What differs stands in `product.rs` (how words are multiplied) and here: how
//! sums begin and end. Sums of bf16 are f32, and begin with the bias. Sums of bytes are i32 and exact, in any order:
//!
//! ```text
//! Σ_k x[k] w[n][k] = step · scale[n] · Σ_k (q[k] − zero) w'[n][k] = step · scale[n] · (Σ_k q[k] w'[n][k] − zero · Σ_k w'[n][k])
//! ```
//!
//! where the last sum is a property of the weights. K is at most [`MAX_INT8_K`], so none of them overflows.

use std::ops::Range;

use super::microkernel::{self, Accumulation, MAX_MR, MAX_PANEL_WIDTH, Tile, run_whole};
use super::panels::Panels;
use super::{BiasInit, Epilogue, apply_epilogue, pad_to_panel, prefetch};
use crate::dot_kernel::{DotKernel, DotKernels, WordOperator};
use crate::level::Level;
use crate::math::{Activation, gelu_quantized};
use crate::quant::{MAX_INT8_K, Precision, pack_bf16, scale_and_zero_point};
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};

/// The weights W `[N, K]` of a linear layer as words, packed for one level.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedMatrix<'a> {
    precision: Precision,
    /// Words.
    panels: Panels<'a, u32>,
    /// With bytes: the scale of each output feature `[N]`, and the sum of its bytes `[N]`.
    scales: &'a [f32],
    sums: &'a [i32],
}

impl<'a> QuantizedMatrix<'a> {
    /// The words of [`super::PackedLayout::quantized_panels`]; with bytes also the scale and the sum of each row of W, as
    /// [`crate::quant::quantize_weights`] gave them.
    ///
    /// # Panics
    /// If there are not as many scales and sums as rows, there are more than [`MAX_INT8_K`] bytes in a row, or the
    /// precision is f32.
    pub fn new(precision: Precision, panels: Panels<'a, u32>, scales: &'a [f32], sums: &'a [i32]) -> Self {
        let n = match precision {
            Precision::F32 => panic!("f32 has no words"),
            Precision::Bf16 => 0,
            Precision::Int8 => panels.n(),
        };
        let most = MAX_INT8_K / Precision::Int8.elements_per_word();
        assert!(precision != Precision::Int8 || panels.k() <= most, "rows of {} words, at most {most}", panels.k());
        assert_eq!((scales.len(), sums.len()), (n, n), "scales and sums of the rows of W");
        Self { precision, panels, scales, sums }
    }

    /// Some of the panels, as a matrix of its own: those of output features `range`.
    ///
    /// # Panics
    /// If the range does not begin at a panel.
    pub fn columns(self, range: Range<usize>) -> Self {
        let part = if self.precision == Precision::Int8 { range.clone() } else { 0..0 };
        let (scales, sums) = (&self.scales[part.clone()], &self.sums[part]);
        Self { panels: self.panels.columns(range), scales, sums, ..self }
    }
}

/// Where a product goes.
#[derive(Debug)]
pub enum GemmOutput<'a> {
    /// `[M, N]` as f32.
    F32(MatMut<'a>),
    /// `[M, N]` as words of bf16, `[M, ⌈N/2⌉]`: what the next product reads.
    Bf16(MatMut<'a, u32>),
}

/// `out[m][n] = epilogue(bias[n] + Σ_k a[m][k] b[k][n])`
///
/// Shapes: `a` `[M, packed_row_len(K)]` as [`crate::quant::quantize`] makes it, `b` K by N, `bias` `[N]`, `out` `[M, N]`.
///
/// # Panics
/// If the shapes do not fit, or `b` was packed for another panel width than the level's.
pub fn gemm_quantized(
    level: Level,
    a: MatRef<'_, u32>,
    b: QuantizedMatrix<'_>,
    bias: &[f32],
    epilogue: Epilogue<'_>,
    out: GemmOutput<'_>,
) {
    let n = b.panels.n();
    let (rows, cols) = match &out {
        GemmOutput::F32(out) => (out.rows(), out.cols()),
        GemmOutput::Bf16(out) => (out.rows(), 2 * out.cols() - (n % 2).min(out.cols())),
    };
    let elements_per_word = b.precision.elements_per_word();
    assert_eq!(
        a.cols(),
        b.precision.packed_row_len(b.panels.k() * elements_per_word),
        "gemm: words of a row of a, and of b"
    );
    assert_eq!((a.rows(), n), (rows, cols), "gemm: rows of a, columns of b, and out");
    assert_eq!(b.panels.width(), level.panel_width(), "gemm: b was packed for another level than {level}");
    assert_eq!(bias.len(), n, "gemm: one bias a column");
    if let Epilogue::Add(residual) = epilogue {
        assert_eq!((residual.rows(), residual.cols()), (rows, n), "gemm: the residual has out's shape");
    }
    level.enter_words(QuantizedGemm { a, b, bias, epilogue, out });
}

struct QuantizedGemm<'a> {
    a: MatRef<'a, u32>,
    b: QuantizedMatrix<'a>,
    bias: &'a [f32],
    epilogue: Epilogue<'a>,
    out: GemmOutput<'a>,
}

impl WordOperator for QuantizedGemm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(mut self, s: S, dots: D) {
        let width = S::NR_VECTORS * LANES;
        let tiles = self.a.rows().div_ceil(S::MR);
        let mut place = [0.0; MAX_MR * MAX_PANEL_WIDTH];
        let mut panel = 0;
        while panel * width < self.b.panels.n() {
            let columns = panel * width..(panel * width + width).min(self.b.panels.n());
            match self.b.precision {
                Precision::Int8 => {
                    let of_columns = PanelParams::of(&self, columns.clone());
                    for t in 0..tiles {
                        let rows = t * self.a.rows() / tiles..(t + 1) * self.a.rows() / tiles;
                        let scaled = Int8Dequant::new(&of_columns, self.a.rows_in(rows.clone()), D::INT8_OFFSET);
                        self.tile(s, dots.int8(), &scaled, panel, rows, columns.clone(), &mut place);
                    }
                }
                _ => {
                    let start = pad_to_panel(&self.bias[columns.clone()], 0.0);
                    for t in 0..tiles {
                        let rows = t * self.a.rows() / tiles..(t + 1) * self.a.rows() / tiles;
                        self.tile(s, dots.bf16(), BiasInit(&start), panel, rows, columns.clone(), &mut place);
                    }
                }
            }
            panel += 1;
        }
    }

    fn reference(mut self) {
        let n = self.b.panels.n();
        let mut row = vec![0.0; n];
        for m in 0..self.a.rows() {
            let residual = match self.epilogue {
                Epilogue::Add(residual) => Epilogue::Add(residual.rows_in(m..m + 1)),
                other => other,
            };
            for (n, out) in row.iter_mut().enumerate() {
                let scale = self.b.scales.get(n).copied();
                let sum = crate::reference::quantized_dot(self.a.row(m), self.b.panels.column(n), scale);
                *out = crate::reference::epilogue(residual, sum + f64::from(self.bias[n]), (0, n));
            }
            match &mut self.out {
                GemmOutput::F32(out) => out.row_mut(m).copy_from_slice(&row),
                GemmOutput::Bf16(out) => pack_bf16(&row, out.row_mut(m)),
            }
        }
    }
}

impl QuantizedGemm<'_> {
    /// One tile, and its epilogue.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "what to compute, how, and where")]
    fn tile<S: Simd, P: DotKernel<S, PackedElement = u32>, B: Accumulation<S, P>>(
        &mut self,
        s: S,
        p: P,
        sums: B,
        panel: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        place: &mut [f32; MAX_MR * MAX_PANEL_WIDTH],
    ) {
        let (a, b, k) = (self.a.rows_in(rows.clone()), self.b.panels.panel(panel), self.b.panels.k());
        let (width, at) = (S::NR_VECTORS * LANES, (rows.start, columns.start));
        prefetch(s, self.epilogue, rows.clone(), columns.clone());
        if let GemmOutput::Bf16(out) = &self.out {
            for row in rows.clone() {
                s.prefetch(out.row(row)[columns.start / 2..].as_ptr().cast());
            }
        }
        // The tile writes whole vectors of f32: to the output, or to a place from which it is copied or rounded. (A choice of
        // where and not of what to call, so that the tile is compiled once.)
        let whole = columns.len() == width;
        let out = match &mut self.out {
            GemmOutput::F32(out) if whole => out.rows_in(rows.clone()).cols_in(columns.clone()),
            _ => MatMut::new(place, rows.len(), width),
        };
        let mut tile = Tile { a, b, k, out };
        run_whole(s, p, sums, &mut tile);
        let mut done = tile.out.cols_in(0..columns.len());
        match self.epilogue {
            Epilogue::Activate(Activation::Gelu) => gelu_quantized(s, &mut done),
            epilogue => apply_epilogue(s, &mut done, epilogue, at),
        }
        for (i, row) in rows.enumerate() {
            let done = &place[i * width..][..columns.len()];
            match &mut self.out {
                GemmOutput::F32(_) if whole => break,
                GemmOutput::F32(out) => out.row_mut(row)[columns.clone()].copy_from_slice(done),
                GemmOutput::Bf16(out) => {
                    pack_bf16(done, &mut out.row_mut(row)[columns.start / 2..columns.end.div_ceil(2)])
                }
            }
        }
    }
}

/// What belongs to the columns of a panel.
struct PanelParams {
    scales: [f32; MAX_PANEL_WIDTH],
    sums: [i32; MAX_PANEL_WIDTH],
    bias: [f32; MAX_PANEL_WIDTH],
}

impl PanelParams {
    #[inline(always)]
    fn of(gemm: &QuantizedGemm<'_>, columns: Range<usize>) -> Self {
        Self {
            scales: pad_to_panel(&gemm.b.scales[columns.clone()], 0.0),
            sums: pad_to_panel(&gemm.b.sums[columns.clone()], 0),
            bias: pad_to_panel(&gemm.bias[columns], 0.0),
        }
    }
}

/// Sums of bytes, which become f32 by what belongs to their rows and columns.
struct Int8Dequant<'a> {
    columns: &'a PanelParams,
    steps: [f32; MAX_MR],
    zeros: [i32; MAX_MR],
}

impl<'a> Int8Dequant<'a> {
    /// `offset`: what the product takes from each byte by itself.
    #[inline(always)]
    fn new(columns: &'a PanelParams, a: MatRef<'_, u32>, offset: i32) -> Self {
        let mut scaled = Self { columns, steps: [0.0; MAX_MR], zeros: [0; MAX_MR] };
        for i in 0..a.rows() {
            let (step, zero) = scale_and_zero_point(a.row(i));
            (scaled.steps[i], scaled.zeros[i]) = (step, zero - offset);
        }
        scaled
    }
}

impl<S: Simd, P: DotKernel<S, Accumulator = S::I>> Accumulation<S, P> for &Int8Dequant<'_> {
    const K_RUN: usize = usize::MAX;

    #[inline(always)]
    fn begin(self, s: S, r: usize, c: usize) -> S::I {
        let mut begin = [0; LANES];
        for (lane, begin) in begin.iter_mut().enumerate() {
            *begin = -self.zeros[r] * self.columns.sums[c * LANES + lane];
        }
        s.load_i32(&begin)
    }

    #[inline(always)]
    fn zero(self, s: S) -> S::I {
        s.load_i32(&[0; LANES])
    }

    #[inline(always)]
    fn total(self, s: S, sum: S::I, r: usize, c: usize) -> S::F {
        let scale = s.mul(s.splat(self.steps[r]), s.load(&self.columns.scales[c * LANES..]));
        s.mul_add(s.to_f32(sum), scale, s.load(&self.columns.bias[c * LANES..]))
    }
}

const _: () = assert!(microkernel::MAX_PANEL_WIDTH.is_multiple_of(2), "a panel is whole words of bf16");
