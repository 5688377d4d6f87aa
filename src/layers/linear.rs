//! y = x Wᵀ + b.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, PackedMatrix, gemm};
use likewise_kernels::math::Activation;

use crate::checkpoint::{Checkpoint, Tensor};
use crate::error::{Error, Result};
use crate::parallel::{Member, Pool, Shared};

/// A linear layer with K inputs and N outputs, its weights packed for one level.
pub(crate) struct Linear {
    level: Level,
    weight: PackedMatrix,
    bias: Vec<f32>,
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
    /// Loads `{module}.weight` `[N, K]` and `{module}.bias` `[N]` of each module and joins them to one map with the outputs of
    /// all: queries, keys and values are one matmul that way.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        level: Level,
        pool: &Pool,
        modules: &[String],
        outputs: usize,
        inputs: usize,
    ) -> Result<Self> {
        let tensor = |leaf: &str, shape: &[usize]| -> Result<Vec<Tensor>> {
            modules.iter().map(|module| checkpoint.tensor(&format!("{module}.{leaf}"), shape)).collect()
        };
        let weights = tensor("weight", &[outputs, inputs])?;
        let mut bias = Vec::new();
        for part in tensor("bias", &[outputs])? {
            bias.extend(part.to_vec()?);
        }
        let weight = pack(level, pool, &weights, outputs, inputs)?;
        weights.iter().for_each(Tensor::release);
        Ok(Self { level, weight, bias })
    }

    /// A step: out `[T, N]` = then(x `[T, K]` Wᵀ + b).
    pub(crate) fn forward(&self, member: &mut Member<'_>, x: &Shared, then: Then<'_>, out: &Shared) {
        member.fill_columns(out, self.level.panel_width(), |columns, view, reader| {
            let epilogue = match then {
                Then::Store => Epilogue::Store,
                Then::Activate(activation) => Epilogue::Activate(activation),
                Then::Add(residual) => Epilogue::Add(reader.read(residual).cols_in(columns.clone())),
            };
            let bias = &self.bias[columns.clone()];
            gemm(self.level, reader.read(x), self.weight.panels().columns(columns), Some(bias), epilogue, view);
        });
    }

    /// Bytes of its weights in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.weight.bytes() + size_of_val(self.bias.as_slice())
    }
}

/// Packs the rows of all tensors, one after another, with all threads, and refuses weights that are not finite.
fn pack(level: Level, pool: &Pool, tensors: &[Tensor], outputs: usize, inputs: usize) -> Result<PackedMatrix> {
    let mut packed = PackedMatrix::zeros(level, outputs * tensors.len(), inputs);
    let panels: Vec<_> = packed.panels_mut().map(std::sync::Mutex::new).collect();
    let results = pool.map(panels.len(), |i| {
        let mut bad = None;
        let mut panel = panels[i].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut scratch = vec![0.0; panel.scratch()];
        panel.fill(&mut scratch, |row, out| {
            tensors[row / outputs].row(row % outputs, out);
            if bad.is_none()
                && let Some(&value) = out.iter().find(|x| !x.is_finite())
            {
                bad = Some((row, value));
            }
        });
        bad
    });
    drop(panels);
    match results.into_iter().flatten().next() {
        Some((row, value)) => Err(bad_row(&tensors[row / outputs], row % outputs, value)),
        None => Ok(packed),
    }
}

fn bad_row(tensor: &Tensor, row: usize, value: f32) -> Error {
    tensor.not_finite(row, value)
}
