//! y = x Wᵀ + b.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, Layout, Sink, WordMatrix, gemm, gemm_words};
use likewise_kernels::math::Activation;
use likewise_kernels::quant::{Precision, quantize_weights};
use likewise_kernels::view::MatRef;

use crate::checkpoint::{Checkpoint, Tensor};
use crate::encoder::activations::Activations;
use crate::encoder::arena::{ArenaLayout, WeightArena};
use crate::error::Result;
use crate::parallel::{Pool, StepReader, TeamMatrix, TeamMember};

/// How a model computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ComputeConfig {
    pub(crate) level: Level,
    pub(crate) precision: Precision,
}

/// A linear layer with K inputs and N outputs.
///
/// It is first found in a checkpoint, which is when shapes are checked and its place among the [`WeightArena`] is known, and
/// then packed to that place. In a converted model it is at its place already.
pub(crate) struct Linear {
    level: Level,
    precision: Precision,
    /// The modules whose outputs it has, one after another.
    modules: Vec<String>,
    inputs: usize,
    layout: Layout,
    place: Range<usize>,
    bias: Vec<f32>,
    /// In int8: the scale and the sum of the bytes of each output's weights `[N]`.
    scales: Vec<f32>,
    sums: Vec<i32>,
    /// Where its weights are, until they are packed.
    tensors: Vec<Tensor>,
}

/// What follows the linear map, in the same pass over the output.
#[derive(Clone, Copy)]
pub(crate) enum LinearEpilogue<'a> {
    /// Nothing.
    Store,
    /// The activation.
    Activate(Activation),
    /// The residual connection: this matrix is added.
    Add(&'a TeamMatrix),
}

impl Linear {
    /// Finds `{module}.weight` `[N, K]` and `{module}.bias` `[N]` of each module and joins them to one map with the outputs of
    /// all: queries, keys and values are one matmul that way.
    pub(crate) fn find(
        checkpoint: &Checkpoint,
        how: ComputeConfig,
        places: &mut ArenaLayout,
        modules: &[String],
        outputs: usize,
        inputs: usize,
    ) -> Result<Self> {
        let tensor = |leaf: &str, shape: &[usize]| -> Result<Vec<Tensor>> {
            modules.iter().map(|module| checkpoint.tensor(&format!("{module}.{leaf}"), shape)).collect()
        };
        let mut bias = Vec::new();
        for part in tensor("bias", &[outputs])? {
            bias.extend(part.to_vec()?);
        }
        let ComputeConfig { level, precision } = how;
        let layout = Layout::new(level, outputs * modules.len(), precision.words(inputs));
        let (scales, sums, modules) = (Vec::new(), Vec::new(), modules.to_vec());
        let mut linear = Self {
            level,
            precision,
            modules: modules.clone(),
            inputs,
            layout,
            place: 0..0,
            bias,
            scales,
            sums,
            tensors: Vec::new(),
        };
        if checkpoint.packing().is_some() {
            linear.find_packed(checkpoint)?;
        } else {
            linear.tensors = tensor("weight", &[outputs, inputs])?;
            linear.place = places.take(layout.numbers());
        }
        Ok(linear)
    }

    /// Finds it in the file of a converted model.
    fn find_packed(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let name = self.name();
        self.place = checkpoint.words(&format!("{name}.words"), &self.layout.shape())?;
        if self.precision == Precision::Int8 {
            let n = self.layout.n();
            self.scales = checkpoint.tensor(&format!("{name}.scales"), &[n])?.to_vec()?;
            self.sums = checkpoint.sums(&format!("{name}.sums"), n, 4 * self.layout.k())?;
        }
        Ok(())
    }

    /// What a converted model calls it: its modules.
    pub(crate) fn name(&self) -> String {
        self.modules.join("+")
    }

    /// The names of the tensors that are packed.
    pub(crate) fn sources(&self) -> impl Iterator<Item = String> {
        self.modules.iter().map(|module| format!("{module}.weight"))
    }

    /// The shape of the packed matrix: panels, words of K, columns of a panel.
    pub(crate) fn shape(&self) -> [usize; 3] {
        self.layout.shape()
    }

    /// The packed matrix.
    pub(crate) fn words<'a>(&self, weights: &'a WeightArena) -> &'a [f32] {
        assert!(self.tensors.is_empty(), "a linear layer is packed before it is used");
        weights.at(self.place.clone())
    }

    /// In int8 the scale of each output's weights `[N]`, else nothing.
    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// In int8 the sum of the bytes of each output's weights `[N]`, else nothing.
    pub(crate) fn sums(&self) -> &[i32] {
        &self.sums
    }

    /// Bytes that its words take in a precision, packed.
    pub(crate) fn bytes_in(&self, precision: Precision) -> usize {
        Layout::new(self.level, self.layout.n(), precision.words(self.inputs)).numbers() * size_of::<f32>()
    }

    /// Bytes that its scales and sums take in a precision.
    pub(crate) fn scale_bytes_in(&self, precision: Precision) -> usize {
        if precision == Precision::Int8 { self.layout.n() * size_of::<(f32, i32)>() } else { 0 }
    }

    /// The end of its place, in bytes.
    pub(crate) fn end(&self) -> usize {
        self.place.end * size_of::<f32>()
    }

    /// Bytes that its weights take in the file. To be asked before they are packed.
    pub(crate) fn bytes_in_file(&self) -> usize {
        self.tensors.iter().map(Tensor::bytes).sum()
    }

    /// Packs the rows of all tensors, one after another, with all threads, and gives the tensors' memory back.
    ///
    /// # Errors
    /// If a weight is not finite.
    pub(crate) fn pack(&mut self, pool: &Pool, weights: &mut WeightArena) -> Result<()> {
        let tensors = std::mem::take(&mut self.tensors);
        let outputs = self.layout.n() / tensors.len().max(1);
        let panels: Vec<_> = self.layout.panels_mut(weights.at_mut(self.place.clone())).map(Mutex::new).collect();
        let results = pool.map(panels.len(), |i| {
            let mut panel = panels[i].lock().unwrap_or_else(PoisonError::into_inner);
            let (numbers, words) = (panel.rows(), self.layout.k());
            let mut rows = vec![0.0; numbers.len() * words];
            let mut weights = vec![0.0; tensors.first().map_or(0, Tensor::width)];
            let mut scales = Vec::with_capacity(numbers.len());
            for (row, words) in numbers.clone().zip(rows.chunks_exact_mut(words)) {
                let tensor = &tensors[row / outputs];
                tensor.row(row % outputs, &mut weights);
                if let Some(&value) = weights.iter().find(|x| !x.is_finite()) {
                    return Err(tensor.not_finite(row % outputs, value));
                }
                scales.push(quantize_weights(self.level, self.precision, &weights, words));
            }
            panel.fill(MatRef::new(&rows, numbers.len(), words));
            Ok(scales)
        });
        drop(panels);
        tensors.iter().for_each(Tensor::release);
        for scales in results {
            let scales = scales?;
            if self.precision == Precision::Int8 {
                self.scales.extend(scales.iter().map(|(scale, _)| scale));
                self.sums.extend(scales.iter().map(|(_, sum)| sum));
            }
        }
        Ok(())
    }

    /// A step: out `[T, N]` = then(x `[T, K]` Wᵀ + b).
    pub(crate) fn forward(
        &self,
        member: &mut TeamMember<'_>,
        weights: &WeightArena,
        x: &Activations,
        then: LinearEpilogue<'_>,
        out: &TeamMatrix,
    ) {
        member.fill_columns(out, self.level.panel_width(), |columns, view, reader| {
            if self.precision == Precision::F32 {
                let panels = self.layout.panels(self.words(weights)).columns(columns.clone());
                let bias = Some(&self.bias[columns.clone()]);
                gemm(self.level, reader.read(&x.numbers), panels, bias, then.epilogue(columns, reader), view);
            } else {
                self.multiply_words(weights, x, then, columns, reader, Sink::F32(view));
            }
        });
    }

    /// A step: the same, rounded to words of bf16 `[T, ⌈N/2⌉]`.
    pub(crate) fn forward_rounded(
        &self,
        member: &mut TeamMember<'_>,
        weights: &WeightArena,
        x: &Activations,
        then: LinearEpilogue<'_>,
        out: &TeamMatrix<u32>,
    ) {
        let per_word = Precision::Bf16.per_word();
        member.fill_columns(out, self.level.panel_width() / per_word, |words, view, reader| {
            let columns = words.start * per_word..(words.end * per_word).min(self.layout.n());
            self.multiply_words(weights, x, then, columns, reader, Sink::Bf16(view));
        });
    }

    /// Some columns of the result.
    fn multiply_words(
        &self,
        weights: &WeightArena,
        x: &Activations,
        then: LinearEpilogue<'_>,
        columns: Range<usize>,
        reader: &StepReader,
        out: Sink<'_>,
    ) {
        let panels = self.layout.words(self.words(weights));
        let words = WordMatrix::new(self.precision, panels, &self.scales, &self.sums).columns(columns.clone());
        let bias = &self.bias[columns.clone()];
        gemm_words(self.level, x.words(reader), words, bias, then.epilogue(columns, reader), out);
    }
}

impl<'a> LinearEpilogue<'a> {
    /// As the kernel takes it, for some columns.
    fn epilogue(self, columns: Range<usize>, reader: &'a StepReader) -> Epilogue<'a> {
        match self {
            LinearEpilogue::Store => Epilogue::Store,
            LinearEpilogue::Activate(activation) => Epilogue::Activate(activation),
            LinearEpilogue::Add(residual) => Epilogue::Add(reader.read(residual).cols_in(columns)),
        }
    }
}
