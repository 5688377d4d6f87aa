//! Layer normalization of each token.

use likewise_kernels::Level;
use likewise_kernels::layer_norm::layer_norm;
use likewise_kernels::view::{MatMut, MatRef};

use crate::checkpoint::Checkpoint;
use crate::encoder::activations::Activations;
use crate::error::Result;
use crate::parallel::{TeamMatrix, TeamMember};

/// y = (x − mean) / √(variance + epsilon) · weight + bias over the D numbers of a token.
pub(crate) struct LayerNorm {
    level: Level,
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl LayerNorm {
    /// Loads `{module}.weight` and `{module}.bias`, both `[D]`.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        level: Level,
        module: &str,
        width: usize,
        epsilon: f32,
    ) -> Result<Self> {
        let load = |leaf: &str| checkpoint.tensor(&format!("{module}.{leaf}"), &[width])?.to_vec();
        Ok(Self { level, weight: load("weight")?, bias: load("bias")?, epsilon })
    }

    /// A step: y = LayerNorm(x), both `[T, D]`.
    pub(crate) fn forward(&self, member: &mut TeamMember<'_>, x: &TeamMatrix, y: &Activations) {
        y.fill_rows(member, self.level, |rows, view, reader| self.apply(reader.read(x).rows_in(rows), view));
    }

    /// y = LayerNorm(x), as part of a step.
    pub(crate) fn apply(&self, x: MatRef<'_>, y: MatMut<'_>) {
        layer_norm(self.level, x, &self.weight, &self.bias, self.epsilon, y);
    }
}
