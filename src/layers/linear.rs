//! y = x Wᵀ + b.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, Layout, gemm};
use likewise_kernels::math::Activation;
use likewise_kernels::view::MatRef;

use crate::checkpoint::{Checkpoint, Tensor};
use crate::error::Result;
use crate::parallel::{Member, Pool, Shared};
use crate::weights::{Places, Weights};

/// A linear layer with K inputs and N outputs.
///
/// It is first found in a checkpoint, which is when shapes are checked and its place among the [`Weights`] is known, and
/// then packed to that place.
pub(crate) struct Linear {
    level: Level,
    layout: Layout,
    place: Range<usize>,
    bias: Vec<f32>,
    /// Where its weights are, until they are packed.
    tensors: Vec<Tensor>,
}

/// What follows the linear map, in the same pass over the output.
#[derive(Clone, Copy)]
pub(crate) enum Then<'a> {
    /// Nothing.
    Store,
    /// The activation.
    Activate(Activation),
    /// The residual connection: this matrix is added.
    Add(&'a Shared),
}

impl Linear {
    /// Finds `{module}.weight` `[N, K]` and `{module}.bias` `[N]` of each module and joins them to one map with the outputs of
    /// all: queries, keys and values are one matmul that way.
    pub(crate) fn find(
        checkpoint: &Checkpoint,
        level: Level,
        places: &mut Places,
        modules: &[String],
        outputs: usize,
        inputs: usize,
    ) -> Result<Self> {
        let tensor = |leaf: &str, shape: &[usize]| -> Result<Vec<Tensor>> {
            modules.iter().map(|module| checkpoint.tensor(&format!("{module}.{leaf}"), shape)).collect()
        };
        let tensors = tensor("weight", &[outputs, inputs])?;
        let mut bias = Vec::new();
        for part in tensor("bias", &[outputs])? {
            bias.extend(part.to_vec()?);
        }
        let layout = Layout::new(level, outputs * modules.len(), inputs);
        let place = places.take(layout.numbers());
        Ok(Self { level, layout, place, bias, tensors })
    }

    /// Bytes that its weights take in the file. To be asked before they are packed.
    pub(crate) fn bytes_in_file(&self) -> usize {
        self.tensors.iter().map(Tensor::bytes).sum()
    }

    /// Packs the rows of all tensors, one after another, with all threads, and gives the tensors' memory back.
    ///
    /// # Errors
    /// If a weight is not finite.
    pub(crate) fn pack(&mut self, pool: &Pool, weights: &mut Weights) -> Result<()> {
        let tensors = std::mem::take(&mut self.tensors);
        let (inputs, outputs) = (self.layout.k(), self.layout.n() / tensors.len().max(1));
        let panels: Vec<_> = self.layout.panels_mut(weights.at_mut(self.place.clone())).map(Mutex::new).collect();
        let results = pool.map(panels.len(), |i| {
            let mut panel = panels[i].lock().unwrap_or_else(PoisonError::into_inner);
            let numbers = panel.rows();
            let mut rows = vec![0.0; numbers.len() * inputs];
            for (row, out) in numbers.clone().zip(rows.chunks_exact_mut(inputs)) {
                let tensor = &tensors[row / outputs];
                tensor.row(row % outputs, out);
                if let Some(&value) = out.iter().find(|x| !x.is_finite()) {
                    return Err(tensor.not_finite(row % outputs, value));
                }
            }
            panel.fill(MatRef::new(&rows, numbers.len(), inputs));
            Ok(())
        });
        tensors.iter().for_each(Tensor::release);
        results.into_iter().collect()
    }

    /// A step: out `[T, N]` = then(x `[T, K]` Wᵀ + b).
    pub(crate) fn forward(&self, member: &mut Member<'_>, weights: &Weights, x: &Shared, then: Then<'_>, out: &Shared) {
        assert!(self.tensors.is_empty(), "a linear layer is packed before it is used");
        let panels = self.layout.panels(weights.at(self.place.clone()));
        member.fill_columns(out, self.level.panel_width(), |columns, view, reader| {
            let epilogue = match then {
                Then::Store => Epilogue::Store,
                Then::Activate(activation) => Epilogue::Activate(activation),
                Then::Add(residual) => Epilogue::Add(reader.read(residual).cols_in(columns.clone())),
            };
            let bias = &self.bias[columns.clone()];
            gemm(self.level, reader.read(x), panels.columns(columns), Some(bias), epilogue, view);
        });
    }
}
