//! Linear layers: y = x Wᵀ + b, with x `[T, K]`, W `[N, K]`, b `[N]` and y `[T, N]`.
//!
//! A model spends most of its time here. docs/gemm.md explains the product.

use std::ops::Range;

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, GemmOutput, PackedLayout, QuantizedMatrix, gemm, gemm_quantized};
use likewise_kernels::math::Activation;
use likewise_kernels::quant::Precision;

use crate::encoder::activations::Activations;
use crate::encoder::arena::{MatrixSlot, PackedWeights, WeightArena};
use crate::encoder::pass::PassContext;
use crate::encoder::spec::LinearSpec;
use crate::parallel::{StepReader, TeamMatrix};

/// The SIMD level and the precision of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ComputeConfig {
    pub(crate) level: Level,
    pub(crate) precision: Precision,
}

/// A linear layer with K inputs and N outputs. Its weights are in the [`WeightArena`] of the pass.
pub(crate) struct Linear {
    compute: ComputeConfig,
    layout: PackedLayout,
    slot: MatrixSlot,
    /// `[N]`.
    bias: Vec<f32>,
}

/// The operation on the outputs of a linear layer while they are in the first-level cache.
#[derive(Clone, Copy)]
pub(crate) enum LinearEpilogue<'a> {
    /// Leaves the sums unchanged.
    Store,
    /// Applies an activation to each output.
    Activate(Activation),
    /// Adds a matrix `[T, N]`: the residual connection.
    Add(&'a TeamMatrix),
}

impl Linear {
    /// Makes a layer with the weights that the arena has, or will have, in a slot.
    pub(crate) fn new(compute: ComputeConfig, layout: PackedLayout, slot: MatrixSlot, bias: Vec<f32>) -> Self {
        Self { compute, layout, slot, bias }
    }

    /// Returns the layout of the packed weights.
    pub(crate) fn layout(spec: &LinearSpec, compute: ComputeConfig) -> PackedLayout {
        PackedLayout::new(compute.level, spec.outputs(), compute.precision.packed_len(spec.inputs))
    }

    /// Returns the bytes of the packed weights.
    pub(crate) fn packed_bytes(spec: &LinearSpec, compute: ComputeConfig) -> usize {
        Self::layout(spec, compute).elements() * size_of::<f32>()
    }

    /// Returns the bytes of the scales and sums.
    pub(crate) fn scale_bytes(spec: &LinearSpec, precision: Precision) -> usize {
        if precision == Precision::Int8 { spec.outputs() * size_of::<(f32, i32)>() } else { 0 }
    }

    /// Returns the shape of the packed matrix: panels, 32-bit words of K, columns of a panel.
    pub(crate) fn packed_shape(&self) -> [usize; 3] {
        self.layout.shape()
    }

    /// Returns whether a column is the first of a panel of packed weights.
    pub(crate) fn starts_panel(&self, column: usize) -> bool {
        column.is_multiple_of(self.compute.level.panel_width())
    }

    /// Returns the packed weights.
    pub(crate) fn weights<'a>(&self, arena: &'a WeightArena) -> PackedWeights<'a> {
        arena.matrix(&self.slot)
    }

    /// Runs a step: out `[T, N]` = epilogue(x `[T, K]` Wᵀ + b).
    pub(crate) fn forward<O>(
        &self,
        cx: &mut PassContext<'_, '_, O>,
        x: &Activations,
        epilogue: LinearEpilogue<'_>,
        out: &TeamMatrix,
    ) {
        self.forward_columns(cx, x, 0..self.layout.n(), epilogue, out);
    }

    /// Runs a step: computes some columns of what [`Self::forward`] computes, to the same columns
    /// of `out`. The first must be the first of a panel ([`Self::starts_panel`]).
    pub(crate) fn forward_columns<O>(
        &self,
        cx: &mut PassContext<'_, '_, O>,
        x: &Activations,
        range: Range<usize>,
        epilogue: LinearEpilogue<'_>,
        out: &TeamMatrix,
    ) {
        let ComputeConfig { level, precision } = self.compute;
        let weights = self.weights(cx.weights);
        cx.member.fill_columns(out, range, level.panel_width(), |columns, view, reader| {
            if precision == Precision::F32 {
                let panels = self.layout.panels(weights.packed).columns(columns.clone());
                let bias = Some(&self.bias[columns.clone()]);
                gemm(level, reader.read(&x.values), panels, bias, epilogue.for_columns(columns, reader), view);
            } else {
                self.multiply_quantized(weights, x, epilogue, columns, reader, GemmOutput::F32(view));
            }
        });
    }

    /// Runs a step: computes what [`Self::forward`] computes, rounded to bf16 `[T, ⌈N/2⌉]`.
    pub(crate) fn forward_bf16<O>(
        &self,
        cx: &mut PassContext<'_, '_, O>,
        x: &Activations,
        epilogue: LinearEpilogue<'_>,
        out: &TeamMatrix<u32>,
    ) {
        let weights = self.weights(cx.weights);
        let per_word = Precision::Bf16.elements_per_word();
        cx.member.fill_columns(
            out,
            0..out.cols(),
            self.compute.level.panel_width() / per_word,
            |pairs, view, reader| {
                let columns = pairs.start * per_word..(pairs.end * per_word).min(self.layout.n());
                self.multiply_quantized(weights, x, epilogue, columns, reader, GemmOutput::Bf16(view));
            },
        );
    }

    /// Computes some columns of the result in bf16 or int8.
    fn multiply_quantized(
        &self,
        weights: PackedWeights<'_>,
        x: &Activations,
        epilogue: LinearEpilogue<'_>,
        columns: Range<usize>,
        reader: &StepReader,
        out: GemmOutput<'_>,
    ) {
        let ComputeConfig { level, precision } = self.compute;
        let panels = self.layout.quantized_panels(weights.packed);
        let matrix = QuantizedMatrix::new(precision, panels, weights.scales, weights.sums).columns(columns.clone());
        let bias = &self.bias[columns.clone()];
        gemm_quantized(level, x.quantized(reader), matrix, bias, epilogue.for_columns(columns, reader), out);
    }
}

impl<'a> LinearEpilogue<'a> {
    /// Returns the kernel's epilogue for some columns.
    fn for_columns(self, columns: Range<usize>, reader: &'a StepReader) -> Epilogue<'a> {
        match self {
            LinearEpilogue::Store => Epilogue::Store,
            LinearEpilogue::Activate(activation) => Epilogue::Activate(activation),
            LinearEpilogue::Add(residual) => Epilogue::Add(reader.read(residual).cols_in(columns)),
        }
    }
}
