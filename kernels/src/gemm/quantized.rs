//! Products of packed bf16 and int8 matrices.
//!
//! Sums of bf16 are f32 and start with the bias, as in f32. Sums of bytes are i32 and exact, in any
//! order:
//!
//! ```text
//!   Σ_k x[k] w[n][k]
//! = scale_x · scale_w[n] · Σ_k (q[k] − zero_point) w'[n][k]
//! = scale_x · scale_w[n] · (Σ_k q[k] w'[n][k] − zero_point · Σ_k w'[n][k])
//! ```
//!
//! where the last sum is a property of the weights. K is at most [`MAX_INT8_K`], so no sum
//! overflows.

use std::ops::Range;

use super::accumulation::{Accumulation, BiasInit, MAX_MR, MAX_PANEL_WIDTH, pad_to_panel};
use super::driver::{GemmOutput, GemmTask, Weights};
use super::epilogue::Epilogue;
use super::pack::PackedMatrix;
use super::panels::{Panels, checked_size};
use crate::dot_kernel::{DotKernel, DotKernels};
use crate::level::Level;
use crate::quant::{MAX_INT8_K, Precision, quantize_weights, scale_and_zero_point};
use crate::simd::{LANES, Simd};
use crate::view::MatRef;

/// The weights W `[N, K]` of a linear layer in bf16 or int8, packed for one level.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedMatrix<'a> {
    precision: Precision,
    panels: Panels<'a, u32>,
    /// In int8: the scale of each output feature `[N]`.
    scales: &'a [f32],
    /// In int8: the sum of the bytes of each output feature `[N]`.
    sums: &'a [i32],
}

impl<'a> QuantizedMatrix<'a> {
    /// Combines the panels of [`super::PackedLayout::quantized_panels`] with the scale and the sum
    /// of each row of W from [`crate::quant::quantize_weights`]: `scales` `[N]` and `sums` `[N]` in
    /// int8, empty in bf16.
    ///
    /// # Panics
    /// If the lengths of `scales` and `sums` do not match, a row has more than [`MAX_INT8_K`]
    /// bytes, or the precision is f32.
    pub fn new(precision: Precision, panels: Panels<'a, u32>, scales: &'a [f32], sums: &'a [i32]) -> Self {
        let n = match precision {
            Precision::F32 => panic!("quantized matrix: precision: expected bf16 or int8, found f32"),
            Precision::Bf16 => 0,
            Precision::Int8 => panels.n(),
        };
        let max_k = MAX_INT8_K / Precision::Int8.elements_per_word();
        assert!(
            precision != Precision::Int8 || panels.k() <= max_k,
            "int8 matrix: packed row length: expected at most {max_k}, found {}",
            panels.k()
        );
        assert_eq!(
            (scales.len(), sums.len()),
            (n, n),
            "quantized matrix: lengths of scales and sums (left), rows of W (right)"
        );
        Self { precision, panels, scales, sums }
    }

    /// Returns the matrix of the output features `range`.
    ///
    /// # Panics
    /// If the range does not start at a panel.
    pub fn columns(self, range: Range<usize>) -> Self {
        let part = if self.precision == Precision::Int8 { range.clone() } else { 0..0 };
        Self { panels: self.panels.columns(range), scales: &self.scales[part.clone()], sums: &self.sums[part], ..self }
    }
}

/// Computes `out[m][n] = epilogue(bias[n] + Σ_k a[m][k] b[k][n])` in bf16 or int8.
///
/// Shapes: `a` `[M, packed_row_len(K)]` as [`crate::quant::quantize`] packs it, `b` `[K, N]`,
/// `bias` `[N]`, `out` `[M, N]`. GELU is computed by [its form for quantized
/// results](crate::math#gelu-of-a-quantized-product).
///
/// # Panics
/// If the shapes do not match, or `b` was packed for another panel width than the level's.
pub fn gemm_quantized(
    level: Level,
    a: MatRef<'_, u32>,
    b: QuantizedMatrix<'_>,
    bias: &[f32],
    epilogue: Epilogue<'_>,
    out: GemmOutput<'_>,
) {
    let n = b.panels.n();
    assert_eq!(out.cols(n), n, "gemm: columns of out (left) and of b (right)");
    let task = GemmTask { a, weights: b, bias: Some(bias), epilogue, out };
    task.check_shapes(level);
    level.call_with_dots(task);
}

impl Weights for QuantizedMatrix<'_> {
    type Element = u32;
    const APPROXIMATE_GELU: bool = true;

    #[inline(always)]
    fn panels(&self) -> Panels<'_, u32> {
        self.panels
    }

    fn packed_row_len(&self) -> usize {
        self.precision.packed_row_len(self.panels.k() * self.precision.elements_per_word())
    }

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(task: GemmTask<'_, Self>, s: S, dots: D) {
        let weights = task.weights;
        let bias = task.bias;
        if weights.precision == Precision::Int8 {
            task.multiply(s, dots.int8(), |columns| Int8Dequant::new(weights, bias, columns, D::ACTIVATION_OFFSET));
        } else {
            task.multiply(s, dots.bf16(), |columns| BiasInit::new(bias.map(|bias| &bias[columns])));
        }
    }

    fn reference_dot(&self, a: &[u32], n: usize, bias: f64) -> f64 {
        let column = self.panels.column(n);
        let sum = match self.scales.get(n) {
            None => crate::reference::dot_bf16(a, column),
            Some(&weight_scale) => {
                let (scale, zero_point) = scale_and_zero_point(a);
                let sum = crate::reference::dot_int8(a, zero_point, column);
                sum as f64 * f64::from(scale) * f64::from(weight_scale)
            }
        };
        sum + bias
    }
}

/// Sums of bytes in i32: they start with the correction for the zero points, and are scaled at the
/// end.
struct Int8Dequant {
    scales: [f32; MAX_PANEL_WIDTH],
    sums: [i32; MAX_PANEL_WIDTH],
    bias: [f32; MAX_PANEL_WIDTH],
    /// What the dot kernel subtracts from each u8.
    activation_offset: i32,
}

impl Int8Dequant {
    #[inline(always)]
    fn new(weights: QuantizedMatrix<'_>, bias: Option<&[f32]>, columns: Range<usize>, activation_offset: i32) -> Self {
        Self {
            scales: pad_to_panel(&weights.scales[columns.clone()], 0.0),
            sums: pad_to_panel(&weights.sums[columns.clone()], 0),
            bias: bias.map_or([0.0; MAX_PANEL_WIDTH], |bias| pad_to_panel(&bias[columns], 0.0)),
            activation_offset,
        }
    }
}

/// The scales and zero points of a tile's rows.
struct Int8Rows {
    scales: [f32; MAX_MR],
    zero_points: [i32; MAX_MR],
}

impl<S: Simd, Dot: DotKernel<S, PackedElement = u32, Accumulator = S::I>> Accumulation<S, Dot> for Int8Dequant {
    const K_RUN: usize = usize::MAX;
    type Rows = Int8Rows;

    #[inline(always)]
    fn rows(&self, a: MatRef<'_, u32>) -> Int8Rows {
        let mut rows = Int8Rows { scales: [0.0; MAX_MR], zero_points: [0; MAX_MR] };
        for i in 0..a.rows() {
            let (scale, zero_point) = scale_and_zero_point(a.row(i));
            rows.scales[i] = scale;
            rows.zero_points[i] = zero_point - self.activation_offset;
        }
        rows
    }

    #[inline(always)]
    fn init(&self, s: S, rows: &Int8Rows, r: usize, c: usize) -> S::I {
        let mut init = [0; LANES];
        for (lane, init) in init.iter_mut().enumerate() {
            *init = -rows.zero_points[r] * self.sums[c * LANES + lane];
        }
        s.load_i32(&init)
    }

    #[inline(always)]
    fn zero(&self, s: S) -> S::I {
        s.load_i32(&[0; LANES])
    }

    #[inline(always)]
    fn to_f32(&self, s: S, rows: &Int8Rows, sum: S::I, r: usize, c: usize) -> S::F {
        let scale = s.mul(s.splat(rows.scales[r]), s.load(&self.scales[c * LANES..]));
        s.mul_add(s.to_f32(sum), scale, s.load(&self.bias[c * LANES..]))
    }
}

/// A packed bf16 or int8 weight matrix that owns its memory.
pub struct PackedQuantizedMatrix {
    precision: Precision,
    packed: PackedMatrix,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl PackedQuantizedMatrix {
    /// Quantizes W `[N, K]` and packs it.
    ///
    /// # Panics
    /// If the precision is f32, or K is more than the precision allows.
    pub fn pack(level: Level, precision: Precision, w: MatRef<'_>) -> Self {
        let n = w.rows();
        let k = precision.packed_len(w.cols());
        let mut elements = vec![0.0; checked_size(n, k)];
        let quantize = |i: usize| quantize_weights(level, precision, w.row(i), &mut elements[i * k..][..k]);
        let (scales, sums) = (0..n).map(quantize).unzip();
        let packed = PackedMatrix::pack(level, MatRef::new(&elements, n, k));
        let matrix = if precision == Precision::Int8 {
            Self { precision, packed, scales, sums }
        } else {
            Self { precision, packed, scales: Vec::new(), sums: Vec::new() }
        };
        // Checks the precision and K.
        matrix.view();
        matrix
    }

    /// Returns the matrix to multiply with.
    pub fn view(&self) -> QuantizedMatrix<'_> {
        QuantizedMatrix::new(self.precision, self.packed.quantized_panels(), &self.scales, &self.sums)
    }
}
